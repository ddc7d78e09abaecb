"""The Prometheus exposition of metrics: concurrent scrapes share one text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from threading import Lock
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure

from zatotx.metrics.prometheus_text import render_sample
from zatotx.metrics.snapshot import MetricSample, MetricSource, merge_samples, take_snapshot


def no_peer_samples() -> Deferred[list[MetricSample]]:
    """Return no samples, for a node with a single worker."""
    return succeed([])


def ignore_result(sample: MetricSample) -> None:
    """Discard a sample that is not needed again."""


class MetricsExposition:
    """Renders metrics for scrapes. Requests that arrive while a text is being rendered share the next one, so that no
    value is older than its request. For the reactor's thread."""

    def __init__(self, sources: Sequence[MetricSource], offload: Callable[..., Deferred[Any]]) -> None:
        """`sources`: the metrics of this process. `offload` runs (function, *args) in a thread."""
        self.fetch_peer_samples: Callable[[], Deferred[list[MetricSample]]] = no_peer_samples
        self.store_sample: Callable[[MetricSample], None] = (
            ignore_result  # called in the thread with each sample before it is used
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
