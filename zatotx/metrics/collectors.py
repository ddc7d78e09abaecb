"""Sources of metrics: each function returns a callable that yields the current rows, called for each scrape in the
thread that takes the snapshot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol

from zatotx.metrics.counters import CallSlots, Histogram
from zatotx.metrics.definitions import OTHERS
from zatotx.metrics.meters import call_rows
from zatotx.metrics.snapshot import Row, Source


class HttpCounters(Protocol):
    """The counters of the HTTP server; `answers[n]` counts responses with status nxx."""

    accepted: int
    open: int
    requests: int
    refused: int
    gone: int
    answers: list[int]
    pauses: int
    paused: int
    connections_refused: int
    bad_forwarded: int


def services(current: Callable[[], Iterable[tuple[str, CallSlots]]], others: CallSlots | None = None) -> Source:
    """Return the source of the services' metrics by name; services that share `others` are one series."""

    def rows() -> Iterator[Row]:
        has_others = False
        for name, slots in current():
            if slots is others:
                has_others = True
            else:
                yield from call_rows('zatotx_service', (name,), slots)
        if has_others and others is not None:
            yield from call_rows('zatotx_service', (OTHERS,), others)

    return rows


def http(counters: HttpCounters) -> Source:
    """Return the source of the metrics of a node's HTTP server."""

    def rows() -> Iterator[Row]:
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

    return rows


def figure(name: str, read: Callable[[], float | Histogram]) -> Source:
    """Return the source of a metric without labels."""
    return lambda: [(name, (), read())]


def build(facts: Mapping[str, str]) -> Source:
    """Return the source of the build information: version, python, node, cluster."""
    labels = tuple(facts[name] for name in ('version', 'python', 'node', 'cluster'))
    return lambda: [('zatotx_build_info', labels, 1), ('zatotx_workers', (), 1)]


def process() -> Source:
    """Return the source of this process's memory, CPU time and file descriptors."""
    collectors: list[Any] = []

    def rows() -> Iterator[Row]:
        if not collectors:
            # Imported by the first scrape: the import takes a tenth of a second, which would delay the start.
            from prometheus_client.process_collector import ProcessCollector

            collectors.append(ProcessCollector(registry=None))
        for family in collectors[0].collect():
            for sample in family.samples:
                yield family.name, (), sample.value

    return rows
