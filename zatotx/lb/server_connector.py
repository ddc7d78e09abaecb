"""Opens connections to backend servers, with TCP, the PROXY protocol header, and TLS."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.interfaces import IAddress, IProtocol, IProtocolFactory, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol

from zatotx.connectors.tls_client import TlsClientFactory
from zatotx.interfaces.reactor import IReactor
from zatotx.wire.http.host_names import is_address

# Connects a protocol of the factory to host and port within a time in seconds; cancelling it leaves no socket open.
Dial = Callable[[str, int, IProtocolFactory, float], Deferred[IProtocol]]


@frozen(kw_only=True)
class ServerConnectionSettings:
    """The settings with which connections to a server are opened: address, timeouts and TLS."""

    dial: Dial
    host: str
    port: int
    connect_timeout: float  # seconds
    idle_timeout: float  # seconds
    tls: TlsClientFactory | None = None
    server_name: str = ''  # the name in the server's certificate; '' = the host


def make_dialer(reactor: IReactor) -> Dial:
    """Create a Dial function. It resolves names with the reactor's resolver, and tries the addresses by RFC 8305 (happy
    eyeballs)."""

    def dial(host: str, port: int, factory: IProtocolFactory, timeout: float) -> Deferred[IProtocol]:
        endpoint: IStreamClientEndpoint
        if not is_address(host):
            endpoint = HostnameEndpoint(reactor, host, port, timeout)
        elif ':' in host:
            endpoint = TCP6ClientEndpoint(reactor, host, port, timeout)
        else:
            endpoint = TCP4ClientEndpoint(reactor, host, port, timeout)
        connecting: Deferred[IProtocol] = endpoint.connect(factory)
        return connecting

    return dial


async def open_connection(
    link: ServerConnectionSettings, protocol: Any, clock: IReactorTime, proxy_header: bytes
) -> None:
    """Connect a protocol to a server. If the connection uses TLS, this function writes the PROXY protocol header;
    otherwise the protocol must write the header. Raises errors of Twisted, and TlsHandshakeFailed.

    The connection timeout does not include the TLS handshake: the caller cancels that.
    """
    if link.tls is None:
        await link.dial(link.host, link.port, _FixedFactory(protocol), link.connect_timeout)
        protocol.transport.protocol = protocol  # not the endpoint's wrapper: that costs a call for each read
        return
    placeholder = Protocol()
    await link.dial(link.host, link.port, _FixedFactory(placeholder), link.connect_timeout)
    transport: Any = placeholder.transport
    try:
        if proxy_header:
            transport.write(proxy_header)
        tls = await link.tls.handshake(transport, link.server_name or link.host, clock).done
    except BaseException:
        transport.abortConnection()
        raise
    tls.wrappedProtocol = protocol
    protocol.makeConnection(tls)


class _FixedFactory(Factory):
    """A factory of one protocol that exists already."""

    noisy = False

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol

    def buildProtocol(self, addr: IAddress | None) -> Any:
        return self._protocol
