"""The metrics of a node as Prometheus text, read from plain slots at the moment somebody asks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol

from attrs import field, frozen

from zatotx.metrics.slots import Histogram, ServiceSlots


class HttpCounters(Protocol):
    """What the HTTP kind counts; `answers[n]` those of status nxx."""

    accepted: int
    open: int
    requests: int
    refused: int
    gone: int
    answers: list[int]


@frozen(kw_only=True)
class Sources:
    """Where the figures are. The functions are called at each scrape, in the thread that renders."""

    services: Callable[[], Iterable[tuple[str, ServiceSlots]]]
    build: Mapping[str, str] = field(factory=dict)  # labels of zatotx_build_info: version, node, cluster …
    http: HttpCounters | None = None
    stalls: Histogram | None = None
    lines_lost: Callable[[], int] | None = None
    revision: Callable[[], int] | None = None
    redis_up: Callable[[], bool] | None = None


def render(sources: Sources) -> bytes:
    """The text. Takes milliseconds for hundreds of services: call it in a worker thread."""
    # Imported when the first scrape comes: it costs a tenth of a second, and a node starts faster without.
    from prometheus_client.exposition import generate_latest
    from prometheus_client.process_collector import ProcessCollector

    process = ProcessCollector(registry=None)
    return generate_latest(_Registry(lambda: (*_families(sources), *process.collect())))


class _Registry:
    """What generate_latest asks: something with `collect`."""

    def __init__(self, collect: Callable[[], Iterable[Any]]) -> None:
        self.collect = collect


def _families(sources: Sources) -> Iterator[Any]:
    yield from _service_families(list(sources.services()))
    if sources.http is not None:
        yield from _http_families(sources.http)
    if sources.stalls is not None:
        family = _histogram('zatotx_reactor_stall_seconds', 'How late the reactor came to its timers', ())
        _add(family, (), sources.stalls)
        yield family
    if sources.lines_lost is not None:
        yield _counter('zatotx_log_lines_lost', 'Log lines that the disk did not take', sources.lines_lost())
    if sources.revision is not None:
        yield _gauge('zatotx_config_revision', 'The revision of the configuration in force', sources.revision())
    if sources.redis_up is not None:
        yield _gauge('zatotx_redis_up', 'Whether Redis answers', int(sources.redis_up()))
    info = _gauge('zatotx_build', 'What runs here', None, tuple(sources.build))
    info.name = 'zatotx_build_info'
    info.add_metric(tuple(sources.build.values()), 1)
    yield info


def _service_families(services: list[tuple[str, ServiceSlots]]) -> Iterator[Any]:
    one = ('service',)
    calls = _counter('zatotx_service_calls', 'Calls of a service that ended, errors included', None, one)
    errors = _counter('zatotx_service_errors', 'Calls of a service that ended in an error', None, one)
    flying = _gauge('zatotx_service_in_flight', 'Calls of a service under way', None, one)
    durations = _histogram('zatotx_service_duration_seconds', 'How long calls of a service took', one)
    for name, slots in services:
        label = (name,)
        calls.add_metric(label, slots.calls)
        errors.add_metric(label, slots.errors)
        flying.add_metric(label, slots.in_flight)
        _add(durations, label, slots)
    yield from (calls, errors, flying, durations)


def _http_families(http: HttpCounters) -> Iterator[Any]:
    yield _counter('zatotx_http_connections', 'Connections that were accepted', http.accepted)
    yield _gauge('zatotx_http_connections_open', 'Connections that are open', http.open)
    yield _counter('zatotx_http_requests', 'Requests that were read', http.requests)
    yield _counter('zatotx_http_refused', 'Messages that broke the protocol or a limit', http.refused)
    yield _counter('zatotx_http_gone', 'Clients that left before their answer was out', http.gone)
    answers = _counter('zatotx_http_answers', 'Answers by class of status', None, ('status',))
    for hundreds, count in enumerate(http.answers):
        if hundreds:
            answers.add_metric((f'{hundreds}xx',), count)
    yield answers


def _add(family: Any, labels: tuple[str, ...], histogram: Histogram) -> None:
    total, buckets = 0, []
    for bound, count in zip((*histogram.bounds, None), tuple(histogram.buckets), strict=True):
        total += count
        buckets.append(('+Inf' if bound is None else f'{bound:g}', total))
    family.add_metric(labels, buckets, histogram.sum)


def _counter(name: str, text: str, value: int | None, labels: tuple[str, ...] = ()) -> Any:
    from prometheus_client.core import CounterMetricFamily

    return CounterMetricFamily(name, text, value, labels or None)


def _gauge(name: str, text: str, value: int | None, labels: tuple[str, ...] = ()) -> Any:
    from prometheus_client.core import GaugeMetricFamily

    return GaugeMetricFamily(name, text, value, labels or None)


def _histogram(name: str, text: str, labels: tuple[str, ...]) -> Any:
    from prometheus_client.core import HistogramMetricFamily

    return HistogramMetricFamily(name, text, labels=labels or None)
