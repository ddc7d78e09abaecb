"""Counts and logs the finished exchanges of one worker."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Mapping
from functools import reduce

from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from zatotx.interfaces.connector_kind import ILineSink
from zatotx.interfaces.load_balancer import ExchangeRecord, IExchangeLog, ITrafficCounters
from zatotx.lb.backends.backend_registry import BackendRegistry
from zatotx.lb.frontend_interfaces import IFrontend
from zatotx.lb.statistics.haproxy_log_format import OpenConnectionCounts, RequestLogFormatter
from zatotx.lb.statistics.statistics_snapshot import (
    STATUS_CLASSES,
    BackendFigures,
    FrontendFigures,
    StatisticsSnapshot,
    TrafficFigures,
)
from zatotx.metrics.counters import LATENCY_BUCKETS

MAX_RECENT_ERRORS = 100


@implementer(ITrafficCounters)
class TrafficCounters:
    """Counters of finished exchanges, with the same attributes as Traffic."""

    __slots__ = ('buckets', 'received_bytes', 'responses', 'retries', 'seconds', 'sent_bytes')

    def __init__(self) -> None:
        self.received_bytes = self.sent_bytes = self.retries = 0
        self.responses = [0] * STATUS_CLASSES
        self.seconds = 0.0
        self.buckets = [0] * (len(LATENCY_BUCKETS) + 1)

    def count(self, status: int, termination: str, received: int, sent: int, seconds: float) -> bool:
        """See ITrafficCounters."""
        self.responses[status // 100] += 1
        if received:
            self.received_bytes += received
        self.sent_bytes += sent
        self.seconds += seconds
        self.buckets[bisect_left(LATENCY_BUCKETS, seconds)] += 1
        return is_counted_as_error(status, termination)

    def count_retry(self) -> None:
        """See ITrafficCounters."""
        self.retries += 1

    def snapshot(self) -> TrafficFigures:
        """Return a copy of the present figures."""
        return TrafficFigures(
            requests=sum(self.responses), responses=list(self.responses), received_bytes=self.received_bytes,
            sent_bytes=self.sent_bytes, retries=self.retries, seconds=self.seconds, buckets=list(self.buckets),
        )  # fmt: skip


def is_counted_as_error(status: int, termination: str) -> bool:
    """Return whether an exchange counts as one of the errors that the statistics show."""
    return status >= 500 or status == 400 or termination[0] in 'SsP'


@implementer(IExchangeLog)
class ExchangeCounters:
    """Implements IExchangeLog. It counts the exchanges of this process by frontend and backend, and logs them.
    `frontends` returns the running frontends by name; `is_logged` returns whether the exchanges of a frontend are
    logged."""

    def __init__(
        self, clock: IReactorTime, registry: BackendRegistry, *, lines: ILineSink,
        frontends: Callable[[], Mapping[str, IFrontend]],
    ) -> None:  # fmt: skip
        self._clock = clock
        self._registry = registry
        self._lines = lines
        self._frontends = frontends
        self._counters: dict[tuple[str, str], TrafficCounters] = {}  # by frontend and backend
        self._formatter = RequestLogFormatter()
        self._errors: deque[str] = deque(maxlen=MAX_RECENT_ERRORS)
        self._offset = 0.0  # unix time minus the reactor's time

    def counters(self, frontend: str, backend: str) -> TrafficCounters:
        """See IExchangeLog."""
        return self._counters.setdefault((frontend, backend), TrafficCounters())

    def log(self, record: ExchangeRecord, *, is_written: bool) -> None:
        """See IExchangeLog."""
        line = self._format(record)
        if is_written:
            self._lines.write_line(line)
        if is_counted_as_error(record.status, record.termination):
            self._errors.append(line)

    def _format(self, record: ExchangeRecord) -> str:
        offset = time.time() - self._clock.seconds()
        if abs(offset - self._offset) > 0.001:  # the wall clock was set, or this is the first line
            self._offset = offset
        return self._formatter.format_exchange(record, record.started_at + self._offset, self._loads(record))

    def _loads(self, record: ExchangeRecord) -> OpenConnectionCounts:
        frontends = self._frontends()
        frontend = frontends.get(record.frontend)
        backend = self._registry.backends.get(record.backend)
        in_frontend = in_process = 0 if frontend is None else frontend.connections
        if len(frontends) > 1:
            in_process = sum(each.connections for each in frontends.values())
        if backend is None:
            return OpenConnectionCounts(in_process, in_frontend)
        in_backend = 0
        for each in backend.servers.values():
            in_backend += each.in_flight
        server = backend.servers.get(record.server)
        return OpenConnectionCounts(in_process, in_frontend, in_backend, 0 if server is None else server.in_flight,
                     backend.queue_length)

    def recent_errors(self) -> list[str]:
        """Return the log lines of the last failed exchanges, newest last."""
        return list(self._errors)

    def snapshot(self) -> StatisticsSnapshot:
        """Return all figures of this process."""
        return StatisticsSnapshot(
            frontends={
                name: FrontendFigures(
                    connections=frontend.connections, total_connections=frontend.total_connections,
                    rejected_connections=frontend.rejected_connections,
                    traffic=self._traffic(0, name),
                ) for name, frontend in self._frontends().items()
            },
            backends={
                name: BackendFigures(queued=backend.queue_length, rejected=backend.rejected,
                                     traffic=self._traffic(1, name))
                for name, backend in self._registry.backends.items()
            },
            servers=self._registry.statuses(), recent_errors=self.recent_errors(),
        )  # fmt: skip

    def _traffic(self, position: int, name: str) -> TrafficFigures:
        """Return the sum of the counters that have this name at this position of their key."""
        found = [counters.snapshot() for key, counters in self._counters.items() if key[position] == name]
        return reduce(TrafficFigures.plus, found, TrafficFigures())
