"""The state shared by all HTTP connections of a frontend."""

from __future__ import annotations

from collections.abc import Callable

from attrs import define, field
from twisted.internet.interfaces import IReactorTime

from zatotx.connectors.http.buffered_writer import WriteBatch
from zatotx.interfaces.load_balancer import IBackend, IExchangeLog, ILocalResponder
from zatotx.interfaces.timeout_sweeper import TimeoutSweeper
from zatotx.lb.connection_handle import ClientConnectionHandle
from zatotx.lb.http.http_frontend_state import HttpFrontendState
from zatotx.rules.limits.rate_buckets import SECOND, GcraRate, RateBuckets


@define(eq=False, kw_only=True)
class HttpFrontendContext:
    """The clock, counters, sweeper and current state of an HTTP frontend, which all of its connections share. `state`
    is replaced when the configuration changes."""

    name: str
    clock: IReactorTime
    seconds: Callable[[], float]
    write_batch: WriteBatch
    sweeper: TimeoutSweeper
    find_backend: Callable[[str], IBackend]
    exchange_log: IExchangeLog
    local_responder: ILocalResponder
    state: HttpFrontendState
    connections: set[ClientConnectionHandle] = field(factory=set)
    is_draining: bool = False
    on_lost: Callable[[], None]
    _request_buckets: RateBuckets = field(factory=RateBuckets)

    @property
    def limits_requests(self) -> bool:
        """Whether the rate of requests from an address is limited."""
        return self.state.settings.request_rate is not None

    def admits_request(self, address: str, now: float) -> bool:
        """Return whether the rate of requests from an address allows one more, and count it."""
        limit = self.state.settings.request_rate
        return limit is None or is_admitted_by_rate_limit(
            self._request_buckets,
            address,
            GcraRate.from_limit(limit.count, limit.seconds, limit.burst or limit.count),
            now,
        )

    def connection_lost(self, connection: ClientConnectionHandle) -> None:
        """Forget a connection that is closed."""
        self.connections.discard(connection)
        self.on_lost()


def is_admitted_by_rate_limit(buckets: RateBuckets, address: str, rate: GcraRate, now: float) -> bool:
    """Charge one call to the rate limit of an address, and return whether the call is admitted."""
    return rate.admits(buckets.charge(address, rate, int(now * SECOND)))
