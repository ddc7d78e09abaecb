"""The context that all connections of a node share."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import inf
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

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
from zatotx.plugins.http.transport.buffered_writer import WriteBatch
from zatotx.rules.http.forwarding import UNIX
from zatotx.wire.http1.request_parser import RequestHead

SWEEP_INTERVAL = 0.5  # seconds
_MAX_RELIEVED = 200  # connections whose bodies are moved out of memory in one sweep, when memory is scarce


class OpenConnection(Protocol):
    """A connection of the server, as the node shuts it down and the sweeper checks it."""

    transport: Any  # ITCPTransport, or of TLS or a Unix socket

    def check(self, now: float) -> None:
        """Enforce the timeouts of the connection."""

    def drain(self) -> None:
        """Close the connection if the node is draining and no request is in progress."""


class ServerContext:
    """The HTTP server of a node, as a connection sees it: settings, clock, router, log, limits and counters."""

    __slots__ = (
        'address_limit',
        'burst',
        'connections',
        'counters',
        'doorman',
        'draining',
        'exchange',
        'forwarded',
        'limits',
        'log',
        'memory',
        'offload',
        'reactor',
        'reception',
        'reliefs',
        'seconds',
        'settings',
        'stamps',
        'when_empty',
        'work_dir',
    )  # fmt: skip

    def __init__(self, context: ChannelContext, settings: HttpSettings, dispatcher: IDispatcher, router: RequestRouter,
                 counters: HttpCounters) -> None:
        self.reactor: IReactorTime = context.reactor
        self.seconds: Callable[[], float] = context.reactor.seconds
        self.offload: Callable[..., Deferred[Any]] = context.offload
        self.work_dir = context.work_dir
        self.memory = context.memory
        self.reliefs = 0  # connections whose bodies may still be moved out of memory in this sweep
        self.settings = settings
        self.limits = settings.limits
        self.exchange = dispatcher
        self.reception = router
        self.stamps = DateCache()
        self.log = AccessLog(context.lines('http_access.log'), self.stamps, router.keys)
        self.counters = counters
        self.burst = WriteBatch(context.reactor)
        self.connections: set[OpenConnection] = set()
        self.draining = False
        self.when_empty: Callable[[], None] | None = None
        self.doorman = AcceptLimiter(settings.max_connections, counters, self.seconds)
        self.address_limit = AddressLimit(settings.max_connections_per_address, counters, self.seconds)
        self.forwarded = ForwardedClients(settings, counters) if settings.trusted_proxies else None

    def locator(
        self, client: ClientInfo
    ) -> Callable[[RequestHead, ClientInfo, ResolvedRequest | None], ResolvedRequest]:
        """Return the function that resolves the heads of a connection. It checks the peer once, so that requests of
        peers other than trusted proxies have no extra cost."""
        if self.forwarded is None or not self.forwarded.trusts(client.address):
            return self.reception.place
        return partial(self.reception.place_forwarded, self.forwarded)

    def is_limited(self, client: ClientInfo) -> bool:
        """Return whether the number of connections from the peer's address is limited. Trusted proxies connect for many
        clients, and Unix sockets have no address."""
        return client.address != UNIX and (self.forwarded is None or not self.forwarded.trusts(client.address))

    def opened(self, connection: OpenConnection) -> None:
        self.connections.add(connection)
        self.counters.accepted += 1
        self.counters.open += 1

    def closed(self, connection: OpenConnection) -> None:
        self.connections.discard(connection)
        self.counters.open -= 1
        if self.counters.paused:
            self.doorman.look()
        if not self.connections and self.when_empty is not None:
            self.when_empty()


class ConnectionChecks:
    """Checks every connection twice a second, and the limit of the connections."""

    due = -inf  # in every sweep
    _log = Logger()

    def __init__(self, context: ServerContext) -> None:
        self._context = context
        self._sweeper = TimeoutSweeper(context.reactor, SWEEP_INTERVAL)

    def start(self) -> None:
        """Start checking."""
        self._sweeper.watch(self)

    def stop(self) -> None:
        """Stop checking. Does nothing if that is not started."""
        self._sweeper.stop()

    def expire(self, now: float) -> None:
        """Check all connections."""
        context = self._context
        context.doorman.look()
        context.reliefs = _MAX_RELIEVED if context.memory.pressed else 0
        for connection in list(context.connections):
            try:
                connection.check(now)
            except Exception:  # an error in one connection must not stop the check of the others
                self._log.failure('The deadlines of a connection cannot be kept')
                connection.transport.abortConnection()
