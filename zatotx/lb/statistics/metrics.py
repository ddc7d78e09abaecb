"""The Prometheus metrics of a load balancer. The module defines the metrics, and reads their values from a statistics
snapshot."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from zatotx.lb.statistics.statistics_snapshot import StatisticsSnapshot, TrafficFigures
from zatotx.metrics.counters import LATENCY_BUCKETS
from zatotx.metrics.definitions import COUNTER, GAUGE, HISTOGRAM, MetricDefinition

_FRONTEND, _BACKEND, _SERVER = ('frontend',), ('backend',), ('backend', 'server')


def _traffic_metrics(prefix: str, place: str, labels: tuple[str, ...]) -> tuple[MetricDefinition, ...]:
    return (
        MetricDefinition(f'{prefix}_requests', COUNTER, f'Requests or TCP connections of a {place}', labels),
        MetricDefinition(f'{prefix}_responses', COUNTER, f'Responses of a {place} by status class; none if the client '
                         'went away before one began', (*labels, 'status')),
        MetricDefinition(f'{prefix}_received_bytes', COUNTER, f'Bytes that clients of a {place} sent', labels),
        MetricDefinition(f'{prefix}_sent_bytes', COUNTER, f'Bytes sent to clients of a {place}', labels),
        MetricDefinition(f'{prefix}_retries', COUNTER, f'Requests of a {place} that were sent again', labels),
        MetricDefinition(f'{prefix}_duration_seconds', HISTOGRAM, f'Total time of requests of a {place}', labels,
                         bounds=LATENCY_BUCKETS),
    )  # fmt: skip


DEFINITIONS = (
    MetricDefinition('zatotx_lb_frontend_connections', GAUGE, 'Open connections of a frontend', _FRONTEND),
    MetricDefinition('zatotx_lb_frontend_accepted', COUNTER, 'Connections that a frontend accepted', _FRONTEND),
    MetricDefinition('zatotx_lb_frontend_rejected', COUNTER, 'Connections that a frontend closed at once', _FRONTEND),
    *_traffic_metrics('zatotx_lb_frontend', 'frontend', _FRONTEND),
    MetricDefinition('zatotx_lb_backend_queue_length', GAUGE, 'Requests that wait for a server', _BACKEND),
    MetricDefinition('zatotx_lb_backend_rejected', COUNTER, 'Requests for which no server was available', _BACKEND),
    *_traffic_metrics('zatotx_lb_backend', 'backend', _BACKEND),
    MetricDefinition('zatotx_lb_server_up', GAUGE, 'Whether a server takes new requests: 1 or 0', _SERVER),
    MetricDefinition('zatotx_lb_server_sessions', GAUGE, 'Requests or connections that a server processes', _SERVER),
    MetricDefinition('zatotx_lb_server_requests', COUNTER, 'Requests or connections sent to a server', _SERVER),
    MetricDefinition('zatotx_lb_server_errors', COUNTER, 'Requests that failed by an error of the connection to a '
                     'server', _SERVER),
    MetricDefinition('zatotx_lb_server_weight', GAUGE, 'The configured weight of a server', _SERVER),
    MetricDefinition('zatotx_lb_workers', GAUGE, 'Worker processes whose figures are included'),
)  # fmt: skip

_CLASSES = ('none', '1xx', '2xx', '3xx', '4xx', '5xx')
Row = tuple[str, tuple[str, ...], Any]


def sample_metrics(snapshot: StatisticsSnapshot) -> dict[str, list[Any]]:
    """Convert a snapshot to a metrics sample, which zatotx.metrics.exposition renders."""
    sample: dict[str, list[Any]] = {}
    for name, labels, figure in _rows(snapshot):
        sample.setdefault(f'zatotx_lb_{name}', []).append([list(labels), figure])
    return sample


def _rows(snapshot: StatisticsSnapshot) -> Iterator[Row]:
    yield 'workers', (), snapshot.workers
    for name, frontend in snapshot.frontends.items():
        yield 'frontend_connections', (name,), frontend.connections
        yield 'frontend_accepted', (name,), frontend.total_connections
        yield 'frontend_rejected', (name,), frontend.rejected_connections
        yield from _traffic_rows('frontend', name, frontend.traffic)
    for name, backend in snapshot.backends.items():
        yield 'backend_queue_length', (name,), backend.queued
        yield 'backend_rejected', (name,), backend.rejected
        yield from _traffic_rows('backend', name, backend.traffic)
    for status in snapshot.servers:
        labels = (status.backend, status.name)
        yield 'server_up', labels, int(status.state == 'UP')
        yield 'server_sessions', labels, status.current_sessions
        yield 'server_requests', labels, status.total_requests
        yield 'server_errors', labels, status.errors
        yield 'server_weight', labels, status.weight


def _traffic_rows(prefix: str, name: str, traffic: TrafficFigures) -> Iterator[Row]:
    yield f'{prefix}_requests', (name,), traffic.requests
    for status_class, count in zip(_CLASSES, traffic.responses, strict=True):
        yield f'{prefix}_responses', (name, status_class), count
    yield f'{prefix}_received_bytes', (name,), traffic.received_bytes
    yield f'{prefix}_sent_bytes', (name,), traffic.sent_bytes
    yield f'{prefix}_retries', (name,), traffic.retries
    if traffic.buckets:
        yield f'{prefix}_duration_seconds', (name,), [traffic.seconds, traffic.buckets]
