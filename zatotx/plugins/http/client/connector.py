"""Opens client connections: DNS lookup, TCP to the first address that accepts, the proxy's tunnel if there is a proxy,
and TLS for https; all within one deadline. The error says how far it got."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import define, field, frozen
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.internet.error import ConnectBindError, ConnectError, ConnectionRefusedError, NoRouteError
from twisted.internet.error import TimeoutError as AttemptTimeout
from twisted.internet.interfaces import IProtocol, IProtocolFactory
from twisted.python.failure import Failure

from zatotx.connectors.tls_client import TlsClientFactory, TlsHandshakeFailed
from zatotx.plugins.http.client.call import Origin
from zatotx.plugins.http.client.connect_tunnel import ConnectTunnel
from zatotx.plugins.http.client.errors import (
    BadRedirect,
    ConnectRefused,
    ConnectTimeout,
    NotReached,
    ProxyFailed,
    TlsFailed,
)
from zatotx.plugins.http.client.happy_eyeballs import connect_first
from zatotx.plugins.http.client.resolver import AddressResolver
from zatotx.rules.http.address_scope import AddressScope, address_scope
from zatotx.rules.http.proxy_selection import Proxy, ProxySelector, UnusableProxy
from zatotx.wire.http.host import is_address, is_loopback

_MAX_TIMEOUT = 600.0  # upper limit in seconds, whatever the deadline


@frozen
class Connector:
    """Opens connections; its `connect` is a Dial."""

    reactor: Any
    resolver: AddressResolver
    tls: TlsClientFactory
    proxies: ProxySelector
    own_scopes: set[AddressScope] = field(factory=set)  # scopes of the addresses that calls were for, redirects aside

    def connect(self, origin: Origin, factory: IProtocolFactory, deadline: float) -> Deferred[IProtocol]:
        """Return a protocol of the factory, connected to an origin by `deadline` (seconds on the reactor's clock).
        Fails with NotReached. Cancelling it leaves no socket open."""
        timeout = min(_MAX_TIMEOUT, max(0.0, deadline - self.reactor.seconds()))
        attempt = _ConnectAttempt(self, origin)
        connection: Deferred[IProtocol] = ensureDeferred(attempt.connect(factory))
        connection.addTimeout(timeout, self.reactor, lambda cancelled, _: cancelled)
        return connection.addErrback(attempt.translate_timeout, timeout)


@define
class _ConnectAttempt:
    """One attempt to connect. `pending_step`: the step that is not finished yet, for the error message."""

    connector: Connector
    origin: Origin
    pending_step: str = 'no connection'
    transport: Any = None  # the TCP transport, once connected

    async def connect(self, factory: IProtocolFactory) -> IProtocol:
        try:
            return self._attach_protocol(await self._open_transport(), factory)
        except BaseException:
            if self.transport is not None:
                self.transport.abortConnection()
            raise

    def translate_timeout(self, failure: Failure, timeout: float) -> Failure:
        """Translate a timeout, whoever noticed it first, into an error that names the unfinished step."""
        if failure.check(CancelledError) is None:
            return failure
        return Failure(ConnectTimeout(f'{self.pending_step} within {timeout:.3g} s'))

    async def _open_transport(self) -> Any:
        """Return the transport for HTTP."""
        connector, origin = self.connector, self.origin
        secure = origin.scheme == 'https'
        proxy = self._proxy()
        if proxy is not None:
            self._check_name()
        self.transport = await self._tcp(proxy or origin)
        if proxy is not None and secure:
            self.pending_step = f'{proxy} made no tunnel to {origin.host}:{origin.port}'
            await ConnectTunnel(proxy, _with_port(origin)).request_tunnel(self.transport)
        if not secure:
            return self.transport
        self.pending_step = f'{origin.host}:{origin.port} did not finish the TLS handshake'
        try:
            return await connector.tls.handshake(self.transport, origin.host, connector.reactor).done
        except TlsHandshakeFailed as error:
            raise TlsFailed(str(error)) from error

    async def _tcp(self, there: Origin | Proxy) -> Any:
        address = str(there) if isinstance(there, Proxy) else f'{there.host}:{there.port}'
        self.pending_step = f'no address for the name {there.host} was found'
        addresses = await self.connector.resolver.resolve(there.host)
        if isinstance(there, Origin) and there.redirected:
            addresses = self._permitted_addresses(addresses)
        self.pending_step = f'{address} did not accept a connection'
        try:
            transport = await connect_first(self.connector.reactor, addresses, there.port)
        except ConnectError as error:
            raise _translate_error(error, address) from error
        if isinstance(there, Origin) and not there.redirected:
            self.connector.own_scopes.add(address_scope(transport.getPeer().host))
        return transport

    def _permitted_addresses(self, addresses: Sequence[str]) -> tuple[str, ...]:
        """Return the addresses that a redirect may lead to. The connection uses exactly these: the name cannot resolve
        to something else a moment later. Raises BadRedirect if there are none."""
        own = self.connector.own_scopes
        scopes = {address: address_scope(address) for address in addresses}
        permitted = tuple(address for address, scope in scopes.items() if scope is AddressScope.PUBLIC or scope in own)
        if not permitted:
            raise BadRedirect(f'a redirection leads to {self.origin.host}, an address ({scopes[addresses[0]].value}) '
                              'to which only calls that are meant for it go')  # fmt: skip
        return permitted

    def _check_name(self) -> None:
        """Check the scope of a host that is an IP address, or localhost: other names are resolved by the proxy."""
        origin = self.origin
        address = origin.host if is_address(origin.host) else '127.0.0.1' if is_loopback(origin.host) else ''
        if not address:
            return
        if origin.redirected:
            self._permitted_addresses((address,))
        else:
            self.connector.own_scopes.add(address_scope(address))

    def _proxy(self) -> Proxy | None:
        origin = self.origin
        try:
            return self.connector.proxies.select(secure=origin.scheme == 'https', host=origin.host, port=origin.port)
        except UnusableProxy as error:
            raise ProxyFailed(f'the proxy for {origin.host} cannot be used: {error}') from None

    def _attach_protocol(self, transport: Any, factory: IProtocolFactory) -> IProtocol:
        """Attach the protocol to the transport. No byte was sent or received yet, so none is lost."""
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
    """Return host and port as CONNECT names them: always with the port."""
    host = f'[{origin.host}]' if ':' in origin.host else origin.host
    return f'{host}:{origin.port}'.encode('ascii')


def _translate_error(error: ConnectError, address: str) -> NotReached:
    """Translate Twisted's connect errors."""
    if isinstance(error, ConnectionRefusedError):
        return ConnectRefused(f'nobody listens at {address}')
    if isinstance(error, NoRouteError):
        return ConnectRefused(f'the network does not lead to {address}')
    if isinstance(error, AttemptTimeout):
        return ConnectTimeout(f'{address} did not accept a connection')
    if isinstance(error, ConnectBindError):
        return ConnectRefused(f'no socket could be made for {address}: {error}')
    return ConnectRefused(f'{address} cannot be connected to: {error.osError or error}')
