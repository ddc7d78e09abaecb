"""Opens client connections within one timeout. The stages are the DNS lookup, TCP to the first address that accepts,
the proxy's tunnel if there is a proxy, and TLS for https. An error names the stage that failed.

Host names are resolved by the system (getaddrinfo: /etc/hosts, DNS and whatever else it is configured for). getaddrinfo
blocks without a time limit, so each lookup runs in a thread of its own, with a limit on their number: the node's worker
threads must not wait for name servers. Concurrent requests for a name share one lookup, so that a name whose servers do
not respond occupies one thread. Callers wait until their own deadline, not for the thread.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from threading import Thread
from typing import Any

from attrs import define, field, frozen
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred, fail, succeed
from twisted.internet.error import ConnectBindError, ConnectError, ConnectionRefusedError, NoRouteError
from twisted.internet.error import TimeoutError as AttemptTimeout
from twisted.internet.interfaces import IAddress, IConnector, IProtocol, IProtocolFactory
from twisted.internet.protocol import ClientFactory, Protocol
from twisted.python.failure import Failure

from zatotx.connectors.tls_client import TlsClientFactory, TlsHandshakeFailed
from zatotx.interfaces.reactor import IReactor
from zatotx.plugins.http.client.errors import (
    BadRedirect,
    ConnectRefused,
    ConnectTimeout,
    NoSuchHost,
    NotReached,
    ProxyFailed,
    TlsFailed,
)
from zatotx.plugins.http.client.forward_proxy import ConnectTunnel
from zatotx.plugins.http.client.http_messages import Origin
from zatotx.rules.http.dns_cache import AddressScope, DnsCache, LookupResult, address_scope, interleave_families
from zatotx.rules.http.proxy_selection import Proxy, ProxySelector, UnusableProxy
from zatotx.wire.http.host_names import is_address, is_loopback

Lookup = Callable[[str], Sequence[str]]
MAX_CONCURRENT_LOOKUPS = 16  # concurrent lookups; further ones are queued
ATTEMPT_DELAY = 0.25  # seconds after which the next address is tried concurrently (RFC 8305 §5)
_MAX_TIMEOUT = 600.0  # upper limit in seconds, whatever the deadline


def resolve_with_system(name: str) -> Sequence[str]:
    """Return the addresses of a host name, with the preferred address first (RFC 6724). Blocking. Raises OSError."""
    return [str(info[4][0]) for info in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)]


class AddressResolver:
    """Resolves host names for a process, with a cache of recent results."""

    def __init__(
        self, reactor: IReactor, lookup: Lookup = resolve_with_system, *, max_concurrent: int = MAX_CONCURRENT_LOOKUPS
    ) -> None:
        """`reactor`: IReactorTime and IReactorFromThreads. `lookup` is called in threads."""
        self._reactor = reactor
        self._lookup = lookup
        self._at_once = max_concurrent
        self._cache = DnsCache()
        self._waiting: dict[str, list[Deferred[tuple[str, ...]]]] = {}  # the callers that wait for a name
        self._queue: deque[str] = deque()  # names that wait for a thread
        self._running = 0

    @property
    def running(self) -> int:
        """Number of lookups that have a thread now."""
        return self._running

    def resolve(self, host: str) -> Deferred[tuple[str, ...]]:
        """Return the addresses of a host (as `ascii_host` returns it) in the order to try them; at once if they are
        cached. Fails with NoSuchHost. May be cancelled at any time."""
        if is_address(host):
            return succeed((host,))
        result = self._cache.get(host, self._reactor.seconds())
        return self._enqueue(host) if result is None else _as_deferred(host, result)

    def _enqueue(self, name: str) -> Deferred[tuple[str, ...]]:
        waiter: Deferred[tuple[str, ...]] = Deferred(lambda cancelled: self._leave(name, cancelled))
        if name in self._waiting:
            self._waiting[name].append(waiter)
        else:
            self._waiting[name] = [waiter]
            self._queue.append(name)
            self._start()
        return waiter

    def _leave(self, name: str, cancelled: Deferred[tuple[str, ...]]) -> None:
        """Remove a caller. A lookup that has a thread continues and fills the cache; a queued one without callers is
        dropped."""
        waiters = self._waiting[name]
        waiters.remove(cancelled)
        if not waiters and name in self._queue:
            self._queue.remove(name)
            del self._waiting[name]

    def _start(self) -> None:
        while self._queue and self._running < self._at_once:
            self._running += 1
            Thread(target=self._run_lookup, args=(self._queue.popleft(),), name='resolver', daemon=True).start()

    def _run_lookup(self, name: str) -> None:
        """Look up a name; runs in a thread."""
        try:
            result = LookupResult(interleave_families(self._lookup(name)))
        except (OSError, UnicodeError) as error:
            result = LookupResult((), getattr(error, 'strerror', None) or 'the name is not one that can be looked up')
        self._reactor.callFromThread(self._finish, name, result)

    def _finish(self, name: str, result: LookupResult) -> None:
        self._running -= 1
        self._cache.put(name, result, self._reactor.seconds())
        for waiter in self._waiting.pop(name):
            _as_deferred(name, result).chainDeferred(waiter)
        self._start()


def _as_deferred(name: str, result: LookupResult) -> Deferred[tuple[str, ...]]:
    if result.addresses:
        return succeed(result.addresses)
    return fail(NoSuchHost(f'no address was found for the name {name}: {result.error or "it has none"}'))


class PlaceholderProtocol(Protocol):
    """A placeholder protocol of a connection, which is replaced when the final protocol is known. It exchanges no
    data."""

    def connectionMade(self) -> None:
        assert isinstance(self.factory, _Attempt)
        self.factory.connected(self)


def connect_to_first_address(reactor: IReactor, addresses: Sequence[str], port: int) -> Deferred[Any]:
    """Return the transport of a TCP connection to one of the addresses (happy eyeballs). The addresses are tried in
    order: the next attempt starts as soon as one has failed, or HEAD_START seconds after the last one has started. The
    protocol must be replaced before data is read.

    Fails, when the last has failed, with the most informative ConnectError. The timeout is the caller's: cancelling
    leaves no socket open.
    """
    return _ConnectRace(reactor, addresses, port).result


class _ConnectRace:
    def __init__(self, reactor: IReactor, addresses: Sequence[str], port: int) -> None:
        self._reactor = reactor
        self._remaining: Iterator[str] = iter(addresses)
        self._port = port
        self._attempts: list[_Attempt] = []
        self._failures: list[Failure] = []
        self._timer: Any = None
        self.is_finished = False
        self.result: Deferred[Any] = Deferred(self._cancel)
        self._next()

    def _next(self) -> None:
        """Try the next address, if there is one."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        address = next(self._remaining, None)
        if address is not None:
            self._timer = self._reactor.callLater(ATTEMPT_DELAY, self._next)
            attempt = _Attempt(self)
            self._attempts.append(attempt)
            attempt.connector = self._reactor.connectTCP(
                address, self._port, attempt, None,  # type: ignore[arg-type]  # None: the kernel's timeout
            )  # fmt: skip
        elif not self._attempts and not self.is_finished:
            self._end().errback(_most_informative(self._failures))

    def attempt_connected(self, attempt: _Attempt, transport: Any) -> None:
        self._attempts.remove(attempt)
        self._end().callback(transport)

    def attempt_failed(self, attempt: _Attempt, reason: Failure) -> None:
        self._attempts.remove(attempt)
        self._failures.append(reason)
        if not self.is_finished:
            self._next()

    def _cancel(self, result: Deferred[Any]) -> None:
        self._end().errback(CancelledError())

    def _end(self) -> Deferred[Any]:
        """Stop: cancel the other attempts."""
        self.is_finished = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        for attempt in self._attempts[:]:
            attempt.cancel()
        return self.result


class _Attempt(ClientFactory):
    """The attempt to connect to one address."""

    noisy = False

    def __init__(self, race: _ConnectRace) -> None:
        self._race = race
        self.connector: IConnector | None = None

    def buildProtocol(self, addr: IAddress | None) -> PlaceholderProtocol | None:
        """Return None, so that Twisted closes the connection, if another attempt has won."""
        if self._race.is_finished:
            return None
        protocol = PlaceholderProtocol()
        protocol.factory = self
        return protocol

    def connected(self, protocol: PlaceholderProtocol) -> None:
        self._race.attempt_connected(self, protocol.transport)

    def clientConnectionFailed(self, connector: IConnector, reason: Failure) -> None:
        self._race.attempt_failed(self, reason)

    def cancel(self) -> None:
        if self.connector is not None:
            self.connector.stopConnecting()


def _most_informative(failures: Sequence[Failure]) -> Failure:
    """Return a refusal if there is one, because it shows that the machine exists; the other errors may be caused by
    missing IPv6 on this machine."""
    return next((failure for failure in failures if failure.check(ConnectionRefusedError)), failures[0])


@frozen
class Connector:
    """Opens connections for the HTTP client. The method `connect` implements the interface Dial."""

    reactor: IReactor
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
            transport = await connect_to_first_address(self.connector.reactor, addresses, there.port)
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
