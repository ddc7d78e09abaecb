"""The context that all connections of a node share."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred

from zatotx.interfaces.connector_kind import ChannelContext
from zatotx.interfaces.pipeline import IDispatcher
from zatotx.plugins.http.server.accept_limiter import AcceptLimiter
from zatotx.plugins.http.server.access_log import AccessLog
from zatotx.plugins.http.server.address_limit import AddressLimit
from zatotx.plugins.http.server.client_info import ClientInfo
from zatotx.plugins.http.server.counters import HttpCounters
from zatotx.plugins.http.server.date_cache import DateCache
from zatotx.plugins.http.server.forwarded_clients import ForwardedClients
from zatotx.plugins.http.server.request_router import RequestRouter, ResolvedRequest
from zatotx.plugins.http.server.write_batch import WriteBatch
from zatotx.plugins.http.settings import HttpSettings
from zatotx.rules.http.forwarding import UNIX
from zatotx.wire.http1.request_parser import RequestHead

if TYPE_CHECKING:
    from zatotx.plugins.http.server.connection import ServerConnection


class ServerContext:
    """The HTTP server of a node, as a connection sees it: settings, clock, router, log, limits and counters."""

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
        self.reactor: Any = context.reactor
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
        self.connections: set[ServerConnection] = set()
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
        return partial(self.forwarded_clients.resolve, self.router)

    def is_limited(self, client: ClientInfo) -> bool:
        """Return whether the number of connections from the peer's address is limited. Trusted proxies connect for many
        clients, and Unix sockets have no address."""
        return client.address != UNIX and (
            self.forwarded_clients is None or not self.forwarded_clients.trusts(client.address)
        )

    def add_connection(self, connection: ServerConnection) -> None:
        self.connections.add(connection)
        self.counters.accepted += 1
        self.counters.open += 1

    def remove_connection(self, connection: ServerConnection) -> None:
        self.connections.discard(connection)
        self.counters.open -= 1
        if self.counters.paused:
            self.accept_limiter.resume_if_possible()
        if not self.connections and self.on_empty is not None:
            self.on_empty()
