"""The context that all connections of a node's HTTP server share."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import inf
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from zatotx.connectors.http.buffered_writer import WriteBatch
from zatotx.connectors.http.connection_poller import make_poller
from zatotx.interfaces.connector_kind import ChannelContext
from zatotx.interfaces.pipeline import IDispatcher
from zatotx.interfaces.timeout_sweeper import TimeoutSweeper
from zatotx.plugins.http.metrics import HttpCounters
from zatotx.plugins.http.server.access_log import AccessLog, DateCache
from zatotx.plugins.http.server.client_info import ClientInfo, ForwardedClients
from zatotx.plugins.http.server.connection_limits import AcceptLimiter, AddressLimit
from zatotx.plugins.http.server.request_context import ResolvedRequest
from zatotx.plugins.http.server.request_router import RequestRouter
from zatotx.plugins.http.settings import HttpSettings
from zatotx.rules.http.trusted_proxies import UNIX
from zatotx.wire.http1.request_parser import RequestHead

SWEEP_INTERVAL = 0.5  # seconds
_MAX_RELIEVED = 200  # connections whose bodies are moved out of memory in one sweep, when memory is scarce


class OpenConnection(Protocol):
    """The interface of a connection, which the node uses to shut it down and the sweeper uses to check its timeouts."""

    transport: Any  # ITCPTransport, or of TLS or a Unix socket

    def enforce_timeouts(self, now: float) -> None:
        """Enforce the timeouts of the connection."""

    def close_if_drained(self) -> None:
        """Close the connection if the node is draining and no request is in progress."""


class ServerContext:
    """The state and settings of a node's HTTP server that its connections share: clock, router, log, limits and
    counters."""

    __slots__ = (
        'accept_limiter',
        'access_log',
        'address_limit',
        'byte_budget',
        'connections',
        'counters',
        'date_cache',
        'dispatcher',
        'draining',
        'forwarded_clients',
        'limits',
        'offload',
        'on_empty',
        'poller',
        'reactor',
        'router',
        'seconds',
        'settings',
        'spool_quota',
        'work_dir',
        'write_batch',
    )  # fmt: skip

    def __init__(self, context: ChannelContext, settings: HttpSettings, dispatcher: IDispatcher, router: RequestRouter,
                 counters: HttpCounters) -> None:
        self.reactor: IReactorTime = context.reactor
        self.seconds: Callable[[], float] = context.reactor.seconds
        self.offload: Callable[..., Deferred[Any]] = context.run_in_thread
        self.work_dir = context.work_dir
        self.byte_budget = context.memory_budget
        self.spool_quota = 0  # connections whose bodies may still be moved out of memory in this sweep
        self.settings = settings
        self.limits = settings.limits
        self.dispatcher = dispatcher
        self.router = router
        self.date_cache = DateCache()
        self.access_log = AccessLog(context.line_sink('http_access.log'), self.date_cache, router.key_names)
        self.counters = counters
        self.write_batch = WriteBatch(context.reactor)
        self.poller = make_poller(context.reactor, self.write_batch.set_in_round)
        self.connections: set[OpenConnection] = set()
        self.draining = False
        self.on_empty: Callable[[], None] | None = None
        self.accept_limiter = AcceptLimiter(settings.max_connections, counters, self.seconds)
        self.address_limit = AddressLimit(settings.max_connections_per_address, counters, self.seconds)
        self.forwarded_clients = ForwardedClients(settings, counters) if settings.trusted_proxies else None

    def resolver_for(
        self, client: ClientInfo
    ) -> Callable[[RequestHead, ClientInfo, ResolvedRequest | None], ResolvedRequest]:
        """Return the function that resolves the heads of a connection. It checks the peer once, so that requests of
        peers other than trusted proxies have no extra cost."""
        if self.forwarded_clients is None or not self.forwarded_clients.trusts(client.address):
            return self.router.resolve
        return partial(self.router.place_forwarded, self.forwarded_clients)

    def is_limited(self, client: ClientInfo) -> bool:
        """Return whether the number of connections from the peer's address is limited. Trusted proxies connect for many
        clients, and Unix sockets have no address."""
        return client.address != UNIX and (
            self.forwarded_clients is None or not self.forwarded_clients.trusts(client.address)
        )

    def add_connection(self, connection: OpenConnection) -> None:
        self.connections.add(connection)
        self.counters.accepted += 1
        self.counters.open += 1

    def remove_connection(self, connection: OpenConnection) -> None:
        self.connections.discard(connection)
        self.counters.open -= 1
        if self.counters.paused:
            self.accept_limiter.resume_if_possible()
        if not self.connections and self.on_empty is not None:
            self.on_empty()


class ConnectionChecks:
    """Checks the timeouts of all connections, and the connection limit, twice a second."""

    deadline = -inf  # in every sweep
    _log = Logger()

    def __init__(self, context: ServerContext) -> None:
        self._context = context
        self._sweeper = TimeoutSweeper(context.reactor, SWEEP_INTERVAL)

    def start(self) -> None:
        """Start checking."""
        self._sweeper.add(self)

    def stop(self) -> None:
        """Stop checking. Does nothing if that is not started."""
        self._sweeper.stop()

    def expire(self, now: float) -> None:
        """Check all connections."""
        context = self._context
        context.accept_limiter.resume_if_possible()
        context.spool_quota = _MAX_RELIEVED if context.byte_budget.is_under_pressure else 0
        for connection in list(context.connections):
            try:
                connection.enforce_timeouts(now)
            except Exception:  # an error in one connection must not stop the check of the others
                self._log.failure('The deadlines of a connection cannot be kept')
                connection.transport.abortConnection()
