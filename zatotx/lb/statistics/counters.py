"""Counts and logs the finished exchanges of one worker."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Mapping

from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from zatotx.interfaces.connector_kind import ILineSink
from zatotx.interfaces.load_balancer import ExchangeRecord, IExchangeLog
from zatotx.lb.backends.registry import BackendRegistry
from zatotx.lb.frontend import IFrontend
from zatotx.lb.statistics.log_format import LineFormatter, Loads
from zatotx.lb.statistics.snapshot import BackendFigures, FrontendFigures, StatisticsSnapshot, Traffic
from zatotx.metrics.counters import LATENCY_BUCKETS

MAX_RECENT_ERRORS = 100


class TrafficCounters:
    """Counters of exchanges, with the attributes of Traffic."""

    __slots__ = ('buckets', 'received_bytes', 'requests', 'responses', 'retries', 'seconds', 'sent_bytes')

    def __init__(self) -> None:
        self.requests = self.received_bytes = self.sent_bytes = self.retries = 0
        self.responses = [0] * 6
        self.seconds = 0.0
        self.buckets = [0] * (len(LATENCY_BUCKETS) + 1)

    def count(self, record: ExchangeRecord) -> None:
        """Count a finished exchange."""
        self.requests += 1
        self.responses[record.status // 100] += 1
        self.received_bytes += record.received_bytes
        self.sent_bytes += record.sent_bytes
        self.retries += record.retries
        self.seconds += record.total_time
        self.buckets[bisect_left(LATENCY_BUCKETS, record.total_time)] += 1

    def snapshot(self) -> Traffic:
        """Return a copy of the present figures."""
        return Traffic(
            requests=self.requests, responses=list(self.responses), received_bytes=self.received_bytes,
            sent_bytes=self.sent_bytes, retries=self.retries, seconds=self.seconds, buckets=list(self.buckets),
        )  # fmt: skip


@implementer(IExchangeLog)
class ExchangeCounters:
    """Implements IExchangeLog: counts the exchanges of this process by frontend and backend, and logs them. `frontends`
    returns the running frontends by name; `is_logged` returns whether the exchanges of a frontend are logged."""

    def __init__(
        self, clock: IReactorTime, registry: BackendRegistry, *, lines: ILineSink,
        frontends: Callable[[], Mapping[str, IFrontend]], is_logged: Callable[[str], bool],
    ) -> None:  # fmt: skip
        self._clock = clock
        self._registry = registry
        self._lines = lines
        self._frontends = frontends
        self._is_logged = is_logged
        self._by_frontend: dict[str, TrafficCounters] = {}
        self._by_backend: dict[str, TrafficCounters] = {}
        self._formatter = LineFormatter()
        self._errors: deque[str] = deque(maxlen=MAX_RECENT_ERRORS)
        self._offset = 0.0  # unix time minus the reactor's time

    def log(self, record: ExchangeRecord) -> None:
        """See IExchangeLog."""
        frontend = self._by_frontend.get(record.frontend)
        if frontend is None:
            frontend = self._by_frontend[record.frontend] = TrafficCounters()
        frontend.count(record)
        if record.backend:
            backend = self._by_backend.get(record.backend)
            if backend is None:
                backend = self._by_backend[record.backend] = TrafficCounters()
            backend.count(record)
        is_error = record.status >= 500 or record.status == 400 or record.termination[0] in 'SsP'
        is_logged = self._is_logged(record.frontend)
        if is_logged or is_error:
            line = self._format(record)
            if is_logged:
                self._lines.write_line(line)
            if is_error:
                self._errors.append(line)

    def _format(self, record: ExchangeRecord) -> str:
        offset = time.time() - self._clock.seconds()
        if abs(offset - self._offset) > 0.001:  # the wall clock was set, or this is the first line
            self._offset = offset
        return self._formatter.format_exchange(record, record.started_at + self._offset, self._loads(record))

    def _loads(self, record: ExchangeRecord) -> Loads:
        frontends = self._frontends()
        frontend = frontends.get(record.frontend)
        backend = self._registry.backends.get(record.backend)
        in_frontend = in_process = 0 if frontend is None else frontend.connections
        if len(frontends) > 1:
            in_process = sum(each.connections for each in frontends.values())
        if backend is None:
            return Loads(in_process, in_frontend)
        in_backend = 0
        for each in backend.servers.values():
            in_backend += each.in_flight
        server = backend.servers.get(record.server)
        return Loads(in_process, in_frontend, in_backend, 0 if server is None else server.in_flight,
                     backend.queue_length)

    def recent_errors(self) -> list[str]:
        """Return the log lines of the last failed exchanges, newest last."""
        return list(self._errors)

    def snapshot(self) -> StatisticsSnapshot:
        """Return all figures of this process."""
        nothing = TrafficCounters()
        return StatisticsSnapshot(
            frontends={
                name: FrontendFigures(
                    connections=frontend.connections, total_connections=frontend.total_connections,
                    rejected_connections=frontend.rejected_connections,
                    traffic=self._by_frontend.get(name, nothing).snapshot(),
                ) for name, frontend in self._frontends().items()
            },
            backends={
                name: BackendFigures(queued=backend.queue_length, rejected=backend.rejected,
                                     traffic=self._by_backend.get(name, nothing).snapshot())
                for name, backend in self._registry.backends.items()
            },
            servers=self._registry.statuses(), recent_errors=self.recent_errors(),
        )  # fmt: skip
