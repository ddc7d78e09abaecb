"""`haproxy:` endpoints: the PROXY protocol header of a connection is read before its protocol is made.

So the protocol sees the client's address from the beginning. Twisted's own wrapper connects the protocol first, which
then takes the proxy for its client. It also expects the header within TLS, where no proxy sends it, and does not take
one that comes in two segments.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from zatotx.interfaces.listener import IListenerOptions
from zatotx.wire.http.proxy_protocol import Endpoint, ProxyHeader, read_proxy_header
from zatotx.wire.malformed import Malformed

HEADER_TIMEOUT = 10.0  # seconds that a proxy has for its header, which it sends at once


class ProxyProtocolFactory(Factory):
    """Wraps a protocol factory: it gets connections whose header is read and taken off."""

    noisy = False

    def __init__(self, clock: Any, wrapped: Any, options: IListenerOptions | None) -> None:
        """`clock`: IReactorTime. `options` say whose headers are believed; without them, everybody's are."""
        self.clock = clock
        self.wrapped = wrapped
        self.options = options

    def doStart(self) -> None:
        self.wrapped.doStart()

    def doStop(self) -> None:
        self.wrapped.doStop()

    def logPrefix(self) -> str:
        """What Twisted calls the listener in its log."""
        return f'{self.wrapped.logPrefix()} (PROXY)'

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """What reads the header."""
        return ProxyProtocol(self)


class ProxyProtocol(Protocol):
    """A connection until its header is whole."""

    transport: Any
    _log = Logger()

    def __init__(self, factory: ProxyProtocolFactory) -> None:
        self._server = factory
        self._received = b''
        self._timeout: Any = None

    def connectionMade(self) -> None:
        """Begin to wait, unless nobody believes this proxy."""
        options, peer = self._server.options, self.transport.getPeer()
        if options is not None and not options.trusts_proxy(peer):
            self._refuse('[http] trusted_proxies does not name it')
            return
        self._timeout = self._server.clock.callLater(HEADER_TIMEOUT, self._refuse, 'it sent no header in time')

    def dataReceived(self, data: bytes) -> None:
        """Bytes of the proxy, and perhaps of the client behind them."""
        if self.transport.disconnecting:
            return
        self._received += data
        try:
            header = read_proxy_header(self._received)
        except Malformed as wrong:
            self._refuse(str(wrong))
            return
        if header is not None:
            self._stop_waiting()
            self._hand_over(header, self._received[header.size:])

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The proxy left before its header was whole."""
        self._stop_waiting()

    def _hand_over(self, header: ProxyHeader, rest: bytes) -> None:
        """From now on the connection is the client's: its transport gives the addresses of the header."""
        transport = self.transport
        if isinstance(transport.getPeer(), UNIXAddress):  # whose socket has nothing of TCP, whatever the header says
            transport.setTcpNoDelay = _nothing_to_set
        if header.source is not None:
            transport.getPeer = _given(header.source)
        if header.destination is not None:
            transport.getHost = _given(header.destination)
        transport.proxied_over_tls = header.secure
        protocol = self._server.wrapped.buildProtocol(transport.getPeer())
        transport.protocol = protocol
        protocol.makeConnection(transport)
        if rest:
            protocol.dataReceived(rest)

    def _refuse(self, why: str) -> None:
        self._stop_waiting()
        self._log.warn('A connection of {peer} to a haproxy: endpoint is closed: {why}', peer=self.transport.getPeer(),
                       why=why)  # fmt: skip
        self.transport.abortConnection()

    def _stop_waiting(self) -> None:
        if self._timeout is not None and self._timeout.active():
            self._timeout.cancel()


def _nothing_to_set(enabled: bool) -> None:
    """A Unix socket does not delay."""


def _given(endpoint: Endpoint) -> Callable[[], IAddress]:
    host, port = endpoint
    address = IPv6Address('TCP', host, port) if ':' in host else IPv4Address('TCP', host, port)
    return lambda: address
