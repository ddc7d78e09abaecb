"""The metrics of the HTTP kind as a whole."""

from __future__ import annotations

from collections.abc import Iterator

from zatotx.interfaces.meters import COUNTER, GAUGE, MetricDefinition, MetricRow
from zatotx.plugins.http.server.counters import HttpCounters

DEFINITIONS = (
    MetricDefinition('zatotx_http_connections', COUNTER, 'Connections that were accepted'),
    MetricDefinition('zatotx_http_connections_open', GAUGE, 'Connections that are open'),
    MetricDefinition(
        'zatotx_http_connections_refused', COUNTER, 'Connections that were cut because their address had too many open'
    ),
    MetricDefinition(
        'zatotx_http_accept_pauses', COUNTER, 'How often no more connections were accepted for lack of room'
    ),
    MetricDefinition('zatotx_http_accept_paused', GAUGE, 'Whether connections are not accepted now: 1 or 0', merge=max),
    MetricDefinition('zatotx_http_requests', COUNTER, 'Requests that were read'),
    MetricDefinition('zatotx_http_refused', COUNTER, 'Messages that broke the protocol or a limit'),
    MetricDefinition('zatotx_http_gone', COUNTER, 'Clients that left before their answer was out'),
    MetricDefinition(
        'zatotx_http_bad_forwarded',
        COUNTER,
        'Requests of which a trusted proxy said something, in Forwarded or X-Forwarded-…, that was not taken',
    ),
    MetricDefinition('zatotx_http_answers', COUNTER, 'Answers by class of status', ('status',)),
)


def metric_rows(counters: HttpCounters) -> Iterator[MetricRow]:
    """The figures of now."""
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
