"""`haproxy:` endpoints, which read the PROXY protocol header of a connection before its protocol is created.

The protocol therefore sees the client's address from the start. Twisted's own wrapper connects the protocol first,
which then takes the proxy for its client. It also expects the header inside TLS, where no proxy sends it, and does not
accept one that arrives in two segments.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from zatotx.interfaces.listener_options_provider import IListenerOptionsProvider
from zatotx.wire.http.proxy_protocol import AddressAndPort, ProxyHeader, parse_proxy_header
from zatotx.wire.malformed import Malformed

HEADER_TIMEOUT = 10.0  # seconds; proxies send the header immediately


class ProxyProtocolFactory(Factory):
    """Wraps a protocol factory so that the PROXY protocol header of each connection is read and removed."""

    noisy = False

    def __init__(self, clock: IReactorTime, wrapped: Any, options: IListenerOptionsProvider | None) -> None:
        """`clock`: IReactorTime. `options` decide which proxies are trusted; without them, all are."""
        self.clock = clock
        self.wrapped = wrapped
        self.options = options

    def doStart(self) -> None:
        self.wrapped.doStart()

    def doStop(self) -> None:
        self.wrapped.doStop()

    def logPrefix(self) -> str:
        """Return the listener's name in Twisted's log."""
        return f'{self.wrapped.logPrefix()} (PROXY)'

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """Return the protocol that reads the header."""
        return ProxyProtocol(self)


class ProxyProtocol(Protocol):
    """Reads the PROXY protocol header of a connection, then replaces itself with the wrapped protocol."""

    transport: Any
    _log = Logger()

    def __init__(self, factory: ProxyProtocolFactory) -> None:
        self._server = factory
        self._received = b''
        self._timeout: Any = None

    def connectionMade(self) -> None:
        """Start the timeout for the header, or close the connection if the proxy is not trusted."""
        options, peer = self._server.options, self.transport.getPeer()
        if options is not None and not options.trusts_proxy(peer):
            self._reject('the proxy is not in [http] trusted_proxies')
            return
        self._timeout = self._server.clock.callLater(HEADER_TIMEOUT, self._reject, 'it sent no header in time')

    def dataReceived(self, data: bytes) -> None:
        """Process bytes of the header, and pass on what follows it."""
        if self.transport.disconnecting:
            return
        self._received += data
        try:
            header = parse_proxy_header(self._received)
        except Malformed as wrong:
            self._reject(str(wrong))
            return
        if header is not None:
            self._cancel_timeout()
            self._hand_over(header, self._received[header.size:])

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Cancel the timeout: the proxy closed the connection before its header was complete."""
        self._cancel_timeout()

    def _hand_over(self, header: ProxyHeader, rest: bytes) -> None:
        """Connect the wrapped protocol; the transport now returns the addresses of the header."""
        transport = self.transport
        if isinstance(transport.getPeer(), UNIXAddress):  # a Unix socket has no TCP options, whatever the header says
            transport.setTcpNoDelay = _ignore_no_delay
        if header.source is not None:
            transport.getPeer = _constant_address(header.source)
        if header.destination is not None:
            transport.getHost = _constant_address(header.destination)
        transport.proxied_over_tls = header.secure
        protocol = self._server.wrapped.buildProtocol(transport.getPeer())
        transport.protocol = protocol
        protocol.makeConnection(transport)
        if rest:
            protocol.dataReceived(rest)

    def _reject(self, reason: str) -> None:
        self._cancel_timeout()
        self._log.warn('Closing a connection from {peer} to a haproxy: endpoint: {why}', peer=self.transport.getPeer(),
                       why=reason)  # fmt: skip
        self.transport.abortConnection()

    def _cancel_timeout(self) -> None:
        if self._timeout is not None and self._timeout.active():
            self._timeout.cancel()


def _ignore_no_delay(enabled: bool) -> None:
    """Do nothing: Unix sockets have no Nagle algorithm."""


def _constant_address(endpoint: AddressAndPort) -> Callable[[], IAddress]:
    host, port = endpoint
    address = IPv6Address('TCP', host, port) if ':' in host else IPv4Address('TCP', host, port)
    return lambda: address
