"""The exposition of metrics in the Prometheus text format. Concurrent scrapes share one rendered text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import reduce
from threading import Lock
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from zatotx.metrics.definitions import COUNTER, DEFINITIONS, HISTOGRAM, INFO, MetricDefinition
from zatotx.metrics.snapshot import MetricSample, MetricSource, merge_samples, take_snapshot


def render_sample(sample: MetricSample) -> bytes:
    """Render a sample in the Prometheus text format. This takes tens of milliseconds with hundreds of services, so it
    must be called in a worker thread."""
    # Imported by the first scrape: the import takes a tenth of a second, which would delay the start.
    from prometheus_client.exposition import generate_latest

    return generate_latest(_Collector(sample))


class _Collector:
    """The collector that generate_latest calls."""

    def __init__(self, sample: MetricSample) -> None:
        self._sample = sample

    def collect(self) -> Iterator[Any]:
        for name, family in DEFINITIONS.items():  # in a stable order
            if name in self._sample:
                yield _make_family(family, self._sample[name])


def _make_family(family: MetricDefinition, rows: Iterable[Any]) -> Any:
    result = _make_empty_family(family)
    for labels, figure in rows:
        if family.kind == HISTOGRAM:
            result.add_metric(labels, _cumulative(family.bounds, figure[1]), figure[0])
        else:
            result.add_metric(labels, figure)
    return result


def _make_empty_family(family: MetricDefinition) -> Any:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

    if family.kind == HISTOGRAM:
        return HistogramMetricFamily(family.name, family.help, labels=family.labels)
    if family.kind == COUNTER:
        return CounterMetricFamily(family.name, family.help, labels=family.labels)
    assert not (family.kind == INFO and not family.labels)  # an info is a gauge of 1 with labels
    return GaugeMetricFamily(family.name, family.help, labels=family.labels)


def _cumulative(bounds: tuple[float, ...], buckets: Iterable[int]) -> list[tuple[str, float]]:
    total, result = 0, []
    for bound, count in zip((*bounds, None), buckets, strict=True):
        total += count
        result.append(('+Inf' if bound is None else f'{bound:g}', float(total)))
    return result


def no_peer_samples() -> Deferred[list[MetricSample]]:
    """Return an empty list of samples, for a node with a single worker."""
    return succeed([])


def ignore_sample(sample: MetricSample) -> None:
    """Ignore a sample, for a node that does not store its samples."""


class MetricsExposition:
    """Renders metrics for scrapes. Requests that arrive while a text is being rendered share the next text, so that no
    value is older than the request. The object is used in the reactor's thread only."""

    def __init__(self, sources: Sequence[MetricSource], offload: Callable[..., Deferred[Any]]) -> None:
        """`sources`: the metrics of this process. `offload` runs (function, *args) in a thread."""
        self.fetch_peer_samples: Callable[[], Deferred[list[MetricSample]]] = no_peer_samples
        self.store_sample: Callable[[MetricSample], None] = (
            ignore_sample  # called in the thread with each sample before it is used
        )
        self._sources = sources
        self._offload = offload
        self._is_rendering = False
        self._snapshot_lock = Lock()
        self._waiting: list[Deferred[bytes]] = []

    def take_sample(self) -> Deferred[MetricSample]:
        """Fires with the present metrics of this process."""
        return self._offload(self._sample)

    def _sample(self) -> MetricSample:
        # a scrape and another worker may ask concurrently: the kept sample must not become older
        with self._snapshot_lock:
            sample = take_snapshot(self._sources)
            self.store_sample(sample)
        return sample

    def render_text(self) -> Deferred[bytes]:
        """Fires with the metrics of all workers in the Prometheus text format."""
        waiting: Deferred[bytes] = Deferred(self._forget)
        self._waiting.append(waiting)
        if not self._is_rendering:
            self._start()
        return waiting

    def _start(self) -> None:
        self._is_rendering = True
        waiting, self._waiting = self._waiting, []
        made = Deferred.fromCoroutine(self._render())
        made.addBoth(self._deliver, waiting)

    async def _render(self) -> bytes:
        others = self.fetch_peer_samples()  # other workers take their samples at the same time
        own = await self.take_sample()
        text: bytes = await self._offload(_render_merged, [own, *await others])
        return text

    async def merged_sample(self) -> MetricSample:
        """Return the present metrics of all workers, which costs a fraction of their text."""
        others = self.fetch_peer_samples()
        own = await self.take_sample()
        merged: MetricSample = await self._offload(reduce, merge_samples, [own, *await others])
        return merged

    def _deliver(self, result: bytes | Failure, waiting: list[Deferred[bytes]]) -> None:
        self._is_rendering = False
        if self._waiting:
            self._start()
        for waiter in waiting:
            if not waiter.called:  # otherwise it was cancelled
                waiter.callback(result) if isinstance(result, bytes) else waiter.errback(result)

    def _forget(self, waiting: Deferred[bytes]) -> None:
        if waiting in self._waiting:
            self._waiting.remove(waiting)


def _render_merged(samples: Sequence[MetricSample]) -> bytes:
    return render_sample(reduce(merge_samples, samples))
