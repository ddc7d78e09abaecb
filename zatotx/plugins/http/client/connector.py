"""How the client comes by a connection: the name looked up, the first address that answers, a proxy's consent where
there is one, TLS where it is wanted; all of it within one deadline, and an error that says how far it got.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import define, field, frozen
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.internet.error import ConnectBindError, ConnectError, ConnectionRefusedError, NoRouteError
from twisted.internet.error import TimeoutError as AttemptTimeout
from twisted.internet.interfaces import IProtocol, IProtocolFactory
from twisted.python.failure import Failure

from zatotx.plugins.http.client.call import Origin
from zatotx.plugins.http.client.connect_tunnel import ConnectTunnel
from zatotx.plugins.http.client.errors import BadRedirect, ConnectRefused, ConnectTimeout, NotReached, ProxyFailed
from zatotx.plugins.http.client.happy_eyeballs import race
from zatotx.plugins.http.client.resolver import AddressResolver
from zatotx.plugins.http.client.tls import TlsClientFactory
from zatotx.rules.http.address_scope import Scope, scope_of
from zatotx.rules.http.proxy_selection import Proxy, ProxySelector, UnusableProxy
from zatotx.wire.http.host import is_address, is_loopback

_LONGEST = 600.0  # seconds, whoever asks for more


@frozen
class Connector:
    """Gives connections; its `dial` is a Dial."""

    reactor: Any
    resolver: AddressResolver
    tls: TlsClientFactory
    proxies: ProxySelector
    own_scopes: set[Scope] = field(factory=set)  # of the addresses that calls were for, redirections aside

    def dial(self, origin: Origin, factory: IProtocolFactory, deadline: float) -> Deferred[IProtocol]:
        """A protocol of the factory, connected to an origin by `deadline` (seconds on the reactor's clock). Fails with
        NotReached. Cancelling it leaves nothing open."""
        patience = min(_LONGEST, max(0.0, deadline - self.reactor.seconds()))
        dialing = _Dialing(self, origin)
        dialed: Deferred[IProtocol] = ensureDeferred(dialing.connect(factory))
        dialed.addTimeout(patience, self.reactor, lambda cancelled, _: cancelled)
        return dialed.addErrback(dialing.ended, patience)


@define
class _Dialing:
    """One of them. `missing`: what there is not yet, in words."""

    dialer: Connector
    origin: Origin
    missing: str = 'no connection'
    transport: Any = None  # of TCP, once there is one

    async def connect(self, factory: IProtocolFactory) -> IProtocol:
        try:
            return self._hand_over(await self._way(), factory)
        except BaseException:
            if self.transport is not None:
                self.transport.abortConnection()
            raise

    def ended(self, failure: Failure, patience: float) -> Failure:
        """Whoever noticed first that the time is over: what was missing is said."""
        if failure.check(CancelledError) is None:
            return failure
        return Failure(ConnectTimeout(f'{self.missing} within {patience:.3g} s'))

    async def _way(self) -> Any:
        """The transport to speak HTTP over."""
        dialer, origin = self.dialer, self.origin
        secure = origin.scheme == 'https'
        proxy = self._proxy()
        if proxy is not None:
            self._look_at_name()
        self.transport = await self._tcp(proxy or origin)
        if proxy is not None and secure:
            self.missing = f'{proxy} made no tunnel to {origin.host}:{origin.port}'
            await ConnectTunnel(proxy, _with_port(origin)).ask(self.transport)
        if not secure:
            return self.transport
        self.missing = f'{origin.host}:{origin.port} did not finish the TLS handshake'
        return await dialer.tls.handshake(self.transport, origin.host, dialer.reactor).done

    async def _tcp(self, there: Origin | Proxy) -> Any:
        place = str(there) if isinstance(there, Proxy) else f'{there.host}:{there.port}'
        self.missing = f'no address for the name {there.host} was found'
        addresses = await self.dialer.resolver.addresses(there.host)
        if isinstance(there, Origin) and there.redirected:
            addresses = self._permitted(addresses)
        self.missing = f'{place} did not accept a connection'
        try:
            transport = await race(self.dialer.reactor, addresses, there.port)
        except ConnectError as error:
            raise _translated(error, place) from error
        if isinstance(there, Origin) and not there.redirected:
            self.dialer.own_scopes.add(scope_of(transport.getPeer().host))
        return transport

    def _permitted(self, addresses: Sequence[str]) -> tuple[str, ...]:
        """Those to which a peer may send us. It is these that are connected to: a name cannot mean something else a
        moment later. Raises BadRedirect where there is none."""
        own = self.dialer.own_scopes
        scopes = {address: scope_of(address) for address in addresses}
        permitted = tuple(address for address, scope in scopes.items() if scope is Scope.PUBLIC or scope in own)
        if not permitted:
            raise BadRedirect(f'a redirection leads to {self.origin.host}, an address ({scopes[addresses[0]].value}) '
                              'to which only calls that are meant for it go')  # fmt: skip
        return permitted

    def _look_at_name(self) -> None:
        """The proxy looks up the name, so all that can be judged here is one that is an address, or localhost."""
        origin = self.origin
        address = origin.host if is_address(origin.host) else '127.0.0.1' if is_loopback(origin.host) else ''
        if not address:
            return
        if origin.redirected:
            self._permitted((address,))
        else:
            self.dialer.own_scopes.add(scope_of(address))

    def _proxy(self) -> Proxy | None:
        origin = self.origin
        try:
            return self.dialer.proxies.proxy(secure=origin.scheme == 'https', host=origin.host, port=origin.port)
        except UnusableProxy as unusable:
            raise ProxyFailed(f'the proxy for {origin.host} cannot be used: {unusable}') from None

    def _hand_over(self, transport: Any, factory: IProtocolFactory) -> IProtocol:
        """Nobody spoke yet, so nothing is lost: from now on the connection is its protocol's."""
        protocol = factory.buildProtocol(transport.getPeer())
        assert protocol is not None
        if transport is self.transport:
            transport.protocol = protocol
        else:
            transport.wrappedProtocol = protocol
        self.transport = None
        protocol.makeConnection(transport)
        return protocol


def _with_port(origin: Origin) -> bytes:
    """As CONNECT names it: always with its port."""
    host = f'[{origin.host}]' if ':' in origin.host else origin.host
    return f'{host}:{origin.port}'.encode('ascii')


def _translated(error: ConnectError, place: str) -> NotReached:
    """Twisted's errors of connecting in our words."""
    if isinstance(error, ConnectionRefusedError):
        return ConnectRefused(f'nobody listens at {place}')
    if isinstance(error, NoRouteError):
        return ConnectRefused(f'the network does not lead to {place}')
    if isinstance(error, AttemptTimeout):
        return ConnectTimeout(f'{place} did not accept a connection')
    if isinstance(error, ConnectBindError):
        return ConnectRefused(f'no socket could be made for {place}: {error}')
    return ConnectRefused(f'{place} cannot be connected to: {error.osError or error}')
