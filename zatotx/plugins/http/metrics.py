"""The metrics of the HTTP server as a whole."""

from __future__ import annotations

from collections.abc import Iterator

from zatotx.interfaces.meters import COUNTER, GAUGE, MetricDefinition, MetricRow
from zatotx.plugins.http.server.counters import HttpCounters

DEFINITIONS = (
    MetricDefinition('zatotx_http_connections', COUNTER, 'Accepted connections'),
    MetricDefinition('zatotx_http_connections_open', GAUGE, 'Open connections'),
    MetricDefinition(
        'zatotx_http_connections_refused', COUNTER, 'Connections closed because their address had too many'
    ),
    MetricDefinition(
        'zatotx_http_accept_pauses', COUNTER, 'How many times accepting connections was paused at the limit'
    ),
    MetricDefinition('zatotx_http_accept_paused', GAUGE, 'Whether accepting connections is paused: 1 or 0', merge=max),
    MetricDefinition('zatotx_http_requests', COUNTER, 'Requests read'),
    MetricDefinition('zatotx_http_refused', COUNTER, 'Requests rejected for violating the protocol or a limit'),
    MetricDefinition('zatotx_http_gone', COUNTER, 'Clients that disconnected before their response was sent'),
    MetricDefinition(
        'zatotx_http_bad_forwarded',
        COUNTER,
        'Requests whose Forwarded or X-Forwarded-… fields from a trusted proxy were rejected',
    ),
    MetricDefinition('zatotx_http_answers', COUNTER, 'Responses by status class', ('status',)),
)


def metric_rows(counters: HttpCounters) -> Iterator[MetricRow]:
    """Yield the current values."""
    yield 'zatotx_http_connections', (), counters.accepted
    yield 'zatotx_http_connections_open', (), counters.open
    yield 'zatotx_http_connections_refused', (), counters.connections_refused
    yield 'zatotx_http_accept_pauses', (), counters.pauses
    yield 'zatotx_http_accept_paused', (), counters.paused
    yield 'zatotx_http_requests', (), counters.requests
    yield 'zatotx_http_refused', (), counters.refused
    yield 'zatotx_http_gone', (), counters.gone
    yield 'zatotx_http_bad_forwarded', (), counters.bad_forwarded
    for hundreds, count in enumerate(counters.answers):
        if hundreds:
            yield 'zatotx_http_answers', (f'{hundreds}xx',), count
