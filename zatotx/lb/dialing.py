"""Opens TCP connections to servers."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint

from zatotx.interfaces.reactor import IReactor
from zatotx.wire.http.host import is_address

# Connects a protocol of the factory to host and port within a time in seconds; cancelling it leaves no socket open.
Dial = Callable[[str, int, IProtocolFactory, float], Deferred[IProtocol]]


def make_dialer(reactor: IReactor) -> Dial:
    """Return a Dial. Names are resolved by the reactor's resolver, and their addresses are tried as RFC 8305 says."""

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
