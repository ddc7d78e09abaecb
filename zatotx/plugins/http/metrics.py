"""The metrics of the HTTP server. The counters are plain attributes: requests increment them, and metric scrapes read
them."""

from __future__ import annotations

from collections.abc import Iterator

from zatotx.interfaces.meters import COUNTER, GAUGE, MetricDefinition, MetricRow

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


class HttpCounters:
    """Counters of the HTTP server since the start of the node. `open` and `paused` are current values.

    `answers[n]` counts responses of status nxx; `refused` counts messages that violated the protocol or a limit, which
    `answers` includes; `gone` counts clients that disconnected before their response was complete; `pauses` counts how
    often accepting was paused, `paused` is 1 while it is; `connections_refused` counts connections that were aborted
    because their address had too many; `bad_forwarded` counts requests whose forwarding fields, set by a trusted proxy,
    were invalid.
    """

    __slots__ = ('accepted', 'answers', 'bad_forwarded', 'connections_refused', 'gone', 'open', 'paused', 'pauses',
                 'refused', 'requests')  # fmt: skip

    def __init__(self) -> None:
        self.accepted = 0
        self.open = 0
        self.requests = 0
        self.refused = 0
        self.gone = 0
        self.answers = [0] * 6
        self.pauses = 0
        self.paused = 0
        self.connections_refused = 0
        self.bad_forwarded = 0


def metric_rows(counters: HttpCounters) -> Iterator[MetricRow]:
    """Yield the current values of the HTTP server's metrics."""
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
