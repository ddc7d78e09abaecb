"""A snapshot of all statistics of a load balancer, and the sum of the snapshots of all workers. The values are
JSON-compatible. Pure functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import reduce
from typing import TypeVar

import msgspec

from zatotx.interfaces.load_balancer import ServerStatus

STATUS_CLASSES = 6  # responses[n] counts those with status nxx; [0] counts requests that got none
HISTORY_LENGTH = 300  # points: five minutes

Key = TypeVar('Key')
Figures = TypeVar('Figures')


class TrafficFigures(msgspec.Struct, kw_only=True):
    """The counters of requests, connections and bytes of a frontend or backend."""

    requests: int = 0  # or TCP connections
    responses: list[int] = msgspec.field(default_factory=lambda: [0] * STATUS_CLASSES)
    received_bytes: int = 0
    sent_bytes: int = 0
    retries: int = 0
    seconds: float = 0.0  # sum of the total times
    buckets: list[int] = msgspec.field(default_factory=list)  # of the total times, by LATENCY_BUCKETS

    def plus(self, other: TrafficFigures) -> TrafficFigures:
        """Return the sum of two workers' figures."""
        longest = max(len(self.buckets), len(other.buckets))
        return TrafficFigures(
            requests=self.requests + other.requests,
            responses=[a + b for a, b in zip(self.responses, other.responses, strict=True)],
            received_bytes=self.received_bytes + other.received_bytes,
            sent_bytes=self.sent_bytes + other.sent_bytes,
            retries=self.retries + other.retries,
            seconds=self.seconds + other.seconds,
            buckets=[a + b for a, b in zip(_padded(self.buckets, longest), _padded(other.buckets, longest),
                                           strict=True)],
        )  # fmt: skip


class FrontendFigures(msgspec.Struct, kw_only=True):
    """The statistics of one frontend."""

    connections: int = 0
    total_connections: int = 0
    rejected_connections: int = 0
    traffic: TrafficFigures = msgspec.field(default_factory=TrafficFigures)

    def plus(self, other: FrontendFigures) -> FrontendFigures:
        """Return the sum of two workers' figures."""
        return FrontendFigures(
            connections=self.connections + other.connections,
            total_connections=self.total_connections + other.total_connections,
            rejected_connections=self.rejected_connections + other.rejected_connections,
            traffic=self.traffic.plus(other.traffic),
        )  # fmt: skip

    def ended(self) -> FrontendFigures:
        """Return what remains valid after the worker has ended."""
        return msgspec.structs.replace(self, connections=0)


class BackendFigures(msgspec.Struct, kw_only=True):
    """The statistics of one backend."""

    queued: int = 0
    rejected: int = 0  # requests for which no server was available
    traffic: TrafficFigures = msgspec.field(default_factory=TrafficFigures)

    def plus(self, other: BackendFigures) -> BackendFigures:
        """Return the sum of two workers' figures."""
        return BackendFigures(queued=self.queued + other.queued, rejected=self.rejected + other.rejected,
                              traffic=self.traffic.plus(other.traffic))

    def ended(self) -> BackendFigures:
        """Return what remains valid after the worker has ended."""
        return msgspec.structs.replace(self, queued=0)


class HistoryPoint(msgspec.Struct, frozen=True):
    """The values that the charts show for one second."""

    time: float  # unix time
    requests: float  # per second
    errors: float  # responses with 5xx per second
    connections: int
    mean_time: float  # seconds of an exchange; 0 = there was none


class StatisticsSnapshot(msgspec.Struct, kw_only=True):
    """All statistics of a worker, or of the whole load balancer."""

    frontends: dict[str, FrontendFigures] = msgspec.field(default_factory=dict)
    backends: dict[str, BackendFigures] = msgspec.field(default_factory=dict)
    servers: list[ServerStatus] = msgspec.field(default_factory=list)
    history: list[HistoryPoint] = msgspec.field(default_factory=list)
    recent_errors: list[str] = msgspec.field(default_factory=list)
    workers: int = 1

    @property
    def connections(self) -> int:
        """The open connections of all frontends."""
        return sum(figures.connections for figures in self.frontends.values())

    @property
    def total_requests(self) -> int:
        """The requests of all frontends."""
        return sum(figures.traffic.requests for figures in self.frontends.values())

    def ended(self) -> StatisticsSnapshot:
        """Return what remains valid after the worker has ended."""
        return StatisticsSnapshot(
            frontends={name: figures.ended() for name, figures in self.frontends.items()},
            backends={name: figures.ended() for name, figures in self.backends.items()},
            servers=[status._replace(current_sessions=0, queued=0) for status in self.servers],
            workers=0,
        )


def merge_snapshots(snapshots: Iterable[StatisticsSnapshot]) -> StatisticsSnapshot:
    """Merge the statistics of several workers. The state of a server is taken from the first snapshot that contains the
    server."""
    return reduce(_merge_two, snapshots, StatisticsSnapshot(workers=0))


def _merge_two(first: StatisticsSnapshot, second: StatisticsSnapshot) -> StatisticsSnapshot:
    return StatisticsSnapshot(
        frontends=_merge_by_key(first.frontends, second.frontends, FrontendFigures.plus),
        backends=_merge_by_key(first.backends, second.backends, BackendFigures.plus),
        servers=list(_merge_by_key(_by_name(first.servers), _by_name(second.servers), _add_status).values()),
        recent_errors=[*first.recent_errors, *second.recent_errors],
        workers=first.workers + second.workers,
    )


def _merge_by_key(
    first: dict[Key, Figures], second: dict[Key, Figures], plus: Callable[[Figures, Figures], Figures]
) -> dict[Key, Figures]:
    return {
        key: plus(first[key], second[key]) if key in first and key in second else (first.get(key) or second[key])
        for key in (*first, *(key for key in second if key not in first))
    }


def _by_name(statuses: Iterable[ServerStatus]) -> dict[tuple[str, str], ServerStatus]:
    return {(status.backend, status.name): status for status in statuses}


def _add_status(first: ServerStatus, second: ServerStatus) -> ServerStatus:
    return first._replace(
        current_sessions=first.current_sessions + second.current_sessions, queued=first.queued + second.queued,
        total_requests=first.total_requests + second.total_requests, errors=first.errors + second.errors,
    )  # fmt: skip


def _padded(buckets: list[int], length: int) -> list[int]:
    return buckets + [0] * (length - len(buckets))


def make_history_point(now: float, seconds: float, before: StatisticsSnapshot, after: StatisticsSnapshot
                       ) -> HistoryPoint:
    """Return the chart values for the time between two snapshots. `seconds` is the length of that time."""
    old, new = _total(before), _total(after)
    requests = max(0, new.requests - old.requests)
    return HistoryPoint(
        time=now, requests=requests / seconds, errors=max(0, new.responses[5] - old.responses[5]) / seconds,
        connections=after.connections, mean_time=max(0.0, new.seconds - old.seconds) / requests if requests else 0.0,
    )  # fmt: skip


def _total(snapshot: StatisticsSnapshot) -> TrafficFigures:
    return reduce(TrafficFigures.plus, (figures.traffic for figures in snapshot.frontends.values()), TrafficFigures())
