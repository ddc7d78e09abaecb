"""Implements a frontend, which accepts client connections and forwards their requests or bytes to backends."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import frozen
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IAddress, IDelayedCall
from twisted.internet.protocol import Factory, Protocol
from zope.interface import implementer

from zatotx.connectors.http.buffered_writer import WriteBatch
from zatotx.connectors.tls_client import TlsClientFactory
from zatotx.interfaces.listener_options_provider import IListenerOptionsProvider
from zatotx.interfaces.timeout_sweeper import TimeoutSweeper
from zatotx.lb.backends.server_tls import make_server_tls
from zatotx.lb.config.model import Backend, Configuration, Frontend, ServerTls
from zatotx.lb.connection_handle import ClientConnectionHandle
from zatotx.lb.frontend_interfaces import FrontendContext, IFrontend, IFrontendUpdate
from zatotx.lb.http.frontend_connection import FrontendConnection
from zatotx.lb.http.http_frontend_context import HttpFrontendContext, is_admitted_by_rate_limit
from zatotx.lb.http.http_frontend_state import HttpFrontendState, is_address_allowed, make_http_frontend_state
from zatotx.lb.http.server_connection_pool import ServerConnectionPool
from zatotx.lb.server_connector import Dial, ServerConnectionSettings, make_dialer
from zatotx.lb.tcp.tcp_connection import TcpFrontendConnection
from zatotx.lb.tcp.tcp_frontend_context import TcpFrontendContext, TcpTarget
from zatotx.lb.tls.tls_listener import TlsListener
from zatotx.processes.proxy_protocol_endpoint import ProxyProtocolFactory
from zatotx.rules.http.trusted_proxies import UNIX
from zatotx.rules.limits.rate_buckets import GcraRate, RateBuckets

SWEEP_INTERVAL = 0.25  # seconds: a timeout fires at most this much late
ALPN = (b'http/1.1',)


@frozen(eq=False, kw_only=True)
class FrontendState:
    """The part of a frontend's state that is replaced when the configuration changes."""

    settings: Frontend
    http: HttpFrontendState
    tcp: TcpTarget | None
    tls: TlsListener | None
    proxy_factory: ProxyProtocolFactory | None


@implementer(IFrontend)
class RunningFrontend:
    """Implements IFrontend in HTTP or TCP mode. It accepts connections as soon as the first configuration is active."""

    def __init__(self, context: FrontendContext, *, dial: Dial | None = None) -> None:
        self._context = context
        self._dial = dial or make_dialer(context.reactor)
        self._state: FrontendState | None = None
        self._http: HttpFrontendContext | None = None
        self._is_draining = False
        self._idle_close: IDelayedCall | None = None  # closes idle connections while draining
        self._write_batch = WriteBatch(context.reactor)
        self._sweeper = TimeoutSweeper(context.reactor, SWEEP_INTERVAL)
        self._connections: set[ClientConnectionHandle] = set()
        self._connection_buckets = RateBuckets()
        self._waiting: list[Deferred[None]] = []
        self._tcp = TcpFrontendContext(
            name=context.name, clock=context.reactor, seconds=context.reactor.seconds, write_batch=self._write_batch,
            sweeper=self._sweeper, find_backend=context.find_backend, exchange_log=context.exchange_log,
            connections=self._connections, on_lost=self._connection_lost,
        )  # fmt: skip
        self.factory = _FrontendFactory(self.build_protocol)
        self.total_connections = 0
        self.rejected_connections = 0

    @property
    def connections(self) -> int:
        """See IFrontend."""
        return len(self._connections)

    # Configuration.

    def prepare(self, configuration: Configuration) -> PreparedFrontend:
        """See IFrontend."""
        context, state = self._context, self._state
        settings = configuration.frontends[context.name]
        tls, errors = None, []
        if settings.tls is not None:
            if state is not None and state.tls is not None and state.settings.tls == settings.tls:
                tls = state.tls
            else:
                try:
                    alpn = ALPN if settings.mode == 'http' else ()
                    tls = TlsListener(context.name, settings.tls, context.directory, context.reactor, alpn=alpn)
                except ValueError as error:
                    errors += [f'frontend {context.name}: {line}' for line in str(error).splitlines()]
        client_tls = self._load_client_tls(configuration, errors)
        if errors:
            raise ValueError('\n'.join(errors))
        link = _LinkMaker(self._dial, client_tls)
        http = make_http_frontend_state(
            context.name, configuration, find_backend=context.find_backend, is_alive=lambda: not self._is_draining,
            make_pool=lambda name, backend, server, host, port: ServerConnectionPool(
                link.make(name, backend, server, host, port), context.reactor, self._write_batch, self._sweeper,
                label=f'the server {server} of the backend {name}',
            ),
            find_counters=lambda name: context.exchange_log.counters(context.name, name),
            previous=state.http if state is not None else None,
        )  # fmt: skip
        return PreparedFrontend(self._commit, FrontendState(
            settings=settings, http=http, tcp=self._tcp_target(configuration, settings, link), tls=tls,
            proxy_factory=self._make_proxy_factory(settings, http),
        ))  # fmt: skip

    def _tcp_target(self, configuration: Configuration, settings: Frontend, link: _LinkMaker) -> TcpTarget | None:
        name, context = settings.default_backend, self._context
        backend = configuration.backends.get(name)
        if settings.mode != 'tcp' or backend is None:
            return None
        return TcpTarget(
            name=name, settings=backend, link=lambda server, host, port: link.make(name, backend, server, host, port),
            counters=context.exchange_log.counters(context.name, name), is_logged=settings.log,
        )  # fmt: skip

    def _load_client_tls(self, configuration: Configuration, errors: list[str]) -> dict[ServerTls, TlsClientFactory]:
        """Load the files of the TLS settings of all servers."""
        factories: dict[ServerTls, TlsClientFactory] = {}
        for backend_name, backend in configuration.backends.items():
            for name, server in backend.servers.items():
                if server.tls is None or server.tls in factories:
                    continue
                try:
                    factories[server.tls] = make_server_tls(server.tls, Path(self._context.directory))
                except ValueError as error:
                    errors.append(f'backend {backend_name}, server {name}: {error}')
        return factories

    def _make_proxy_factory(self, settings: Frontend, http: HttpFrontendState) -> ProxyProtocolFactory | None:
        if not settings.proxy_protocol:
            return None
        options = _TrustedPeers(http) if settings.trusted_proxies else None
        return ProxyProtocolFactory(self._context.reactor, _FrontendFactory(self._build_inner), options)

    def _commit(self, state: FrontendState) -> None:
        old, self._state = self._state, state
        if old is not None:
            for name, target in old.http.targets.items():
                successor = state.http.targets.get(name)
                if successor is not target:
                    target.hand_over(successor)
            if old.tls is not None and old.tls is not state.tls:
                old.tls.stop()
        if state.tls is not None:
            state.tls.start()
        if self._http is not None:
            self._http.state = state.http
            return
        context = self._context
        self._http = HttpFrontendContext(
            name=context.name, clock=context.reactor, seconds=context.reactor.seconds, write_batch=self._write_batch,
            sweeper=self._sweeper, find_backend=context.find_backend, exchange_log=context.exchange_log,
            local_responder=context.local_responder, state=state.http, connections=self._connections,
            on_lost=self._connection_lost,
        )  # fmt: skip

    # Connections.

    def build_protocol(self, address: IAddress | None) -> Any:
        """Return the protocol of a new connection."""
        self.total_connections += 1
        state = self._state
        if state is None or self._is_draining or len(self._connections) >= state.settings.max_connections:
            return self._reject()
        if state.proxy_factory is not None:
            return state.proxy_factory.buildProtocol(address)
        return self._build_inner(address)

    def _build_inner(self, address: IAddress | None) -> Any:
        """Return the protocol of a connection whose peer is known."""
        state = self._state
        assert state is not None
        host = address.host if isinstance(address, IPv4Address | IPv6Address) else UNIX
        settings, http = state.settings, state.http
        rate = settings.connection_rate
        if rate is not None and not is_admitted_by_rate_limit(
            self._connection_buckets, host, GcraRate.from_limit(rate.count, rate.seconds, rate.burst or rate.count),
            self._context.reactor.seconds(),
        ):  # fmt: skip
            return self._reject()
        protocol: Any
        if settings.mode == 'http':
            assert self._http is not None
            protocol = FrontendConnection(self._http)
        elif state.tcp is None or not is_address_allowed(host, http.allow, http.deny):
            return self._reject()
        else:
            timeout = settings.timeouts.request if state.tls is not None else 0.0
            protocol = TcpFrontendConnection(self._tcp, state.tcp, handshake_timeout=timeout)
        return protocol if state.tls is None else state.tls.wrap(protocol)

    def _reject(self) -> Any:
        self.rejected_connections += 1
        return _RejectedConnection()

    def _connection_lost(self) -> None:
        if not self._connections:
            waiting, self._waiting = self._waiting, []
            for waiter in waiting:
                waiter.callback(None)

    def server_down(self, backend: str, server: str) -> None:
        """See IFrontend."""
        for connection in list(self._connections):
            connection.server_down(backend, server)

    # The end.

    def drain(self, idle_grace: float = 0.0) -> None:
        """See IFrontend."""
        self._is_draining = True
        if self._http is not None:
            self._http.is_draining = True
        if idle_grace > 0 and self._connections:
            self._idle_close = self._context.reactor.callLater(idle_grace, self._close_idle)
        else:
            self._close_idle()

    def _close_idle(self) -> None:
        if self._idle_close is not None and self._idle_close.active():
            self._idle_close.cancel()
        for connection in list(self._connections):
            connection.close_if_idle()

    def wait_idle(self) -> Deferred[None]:
        """See IFrontend."""
        if not self._connections:
            return succeed(None)
        waiter: Deferred[None] = Deferred(self._waiting.remove)
        self._waiting.append(waiter)
        return waiter

    def stop(self) -> None:
        """See IFrontend."""
        self.drain()
        for connection in list(self._connections):
            connection.abort()
        if self._state is not None:
            for target in self._state.http.targets.values():
                target.close()
            if self._state.tls is not None:
                self._state.tls.stop()
        self._sweeper.stop()


@implementer(IFrontendUpdate)
@frozen
class PreparedFrontend:
    """Implements IFrontendUpdate. It holds a new configuration of a frontend that was prepared and has not been applied
    yet."""

    _put_into_force: Callable[[FrontendState], None]
    _state: FrontendState

    def commit(self) -> None:
        """See IFrontendUpdate."""
        self._put_into_force(self._state)


def make_frontend(context: FrontendContext) -> RunningFrontend:
    """Create a frontend. This function has the type MakeFrontend."""
    return RunningFrontend(context)


@frozen
class _LinkMaker:
    """Describes connections to servers."""

    dial: Dial
    tls: dict[ServerTls, TlsClientFactory]

    def make(self, name: str, backend: Backend, server: str, host: str, port: int) -> ServerConnectionSettings:
        """Return the link to a server of a backend."""
        settings = backend.servers.get(server)
        tls = settings.tls if settings is not None else None
        return ServerConnectionSettings(
            dial=self.dial, host=host, port=port, connect_timeout=backend.timeouts.connect,
            idle_timeout=backend.timeouts.idle, tls=self.tls[tls] if tls is not None else None,
            server_name=tls.server_name if tls is not None else '',
        )  # fmt: skip


@implementer(IListenerOptionsProvider)
class _TrustedPeers:
    """Who may send PROXY protocol headers."""

    application_protocols = ALPN
    tls_ciphers = ''

    def __init__(self, state: HttpFrontendState) -> None:
        self._state = state

    def trusts_proxy(self, address: IAddress) -> bool:
        """Return whether a peer is a trusted proxy."""
        host = address.host if isinstance(address, IPv4Address | IPv6Address) else UNIX
        return self._state.trusted_proxies.trusts(host)


class _FrontendFactory(Factory):
    """The protocol factory of the listeners of a frontend."""

    noisy = False

    def __init__(self, build: Callable[[IAddress | None], Any]) -> None:
        self._build = build

    def buildProtocol(self, addr: IAddress | None) -> Any:
        return self._build(addr)


class _RejectedConnection(Protocol):
    """Closes its connection at once."""

    def connectionMade(self) -> None:
        transport: Any = self.transport
        transport.abortConnection()
