"""Implements `self.metrics`, the metrics that services define. They are updated without a lock, in the reactor and in
threads.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import TypeVar

from zope.interface import implementer

from zatotx.interfaces.meters import IUserMetrics
from zatotx.metrics.counters import Histogram
from zatotx.metrics.definitions import OVERFLOW_LABEL
from zatotx.metrics.meters import MAX_NAMES
from zatotx.metrics.snapshot import MetricRow

MAX_NAME_LENGTH = 200  # maximum number of characters of a name

_T = TypeVar('_T')


class _ThreadCells(threading.local):
    """The counts of one thread. `x += 1` in two threads on the same number would lose updates."""

    counts: dict[str, float]
    timings: dict[str, Histogram]


@implementer(IUserMetrics)
class UserMetrics:
    """Stores the metrics that services define. It accepts at most `max_names` names per metric type; further names
    share one series."""

    def __init__(self, max_names: int = MAX_NAMES) -> None:
        self._max_names = max_names
        self._thread_cells = _ThreadCells()
        self._lock = threading.Lock()  # for new threads and new names only
        self._counts: list[dict[str, float]] = []  # per thread, including ended ones
        self._timings: list[dict[str, Histogram]] = []
        self._gauges: dict[str, float] = {}
        self._names: dict[str, set[str]] = {'counts': set(), 'gauges': set(), 'timings': set()}

    def incr(self, name: str, by: float = 1) -> None:
        """Increment a counter. Raises ValueError for a negative amount or an invalid name."""
        if by < 0:
            raise ValueError(f'a counter cannot decrease: {name!r} cannot be raised by {by} (use gauge)')
        counts = self._thread_counts()
        if name not in counts:
            name = self._limit_name('counts', name)
        counts[name] = counts.get(name, 0) + by

    def gauge(self, name: str, value: float) -> None:
        """Set a gauge. Raises ValueError for an invalid name."""
        if name not in self._gauges:
            name = self._limit_name('gauges', name)
        self._gauges[name] = float(value)

    def timing(self, name: str, seconds: float) -> None:
        """Observe a duration. Raises ValueError for an invalid name."""
        timings = self._thread_timings()
        if name not in timings:
            name = self._limit_name('timings', name)
        histogram = timings.get(name)
        if histogram is None:
            histogram = timings[name] = Histogram()
        histogram.observe(seconds)

    def rows(self) -> Iterator[MetricRow]:
        """Yield the metrics, as a source."""
        counts: dict[str, float] = {}
        for cell in tuple(self._counts):
            for name, count in cell.copy().items():
                counts[name] = counts.get(name, 0) + count
        for name, count in counts.items():
            yield 'zatotx_user_counter', (name,), count
        for name, value in self._gauges.copy().items():
            yield 'zatotx_user_gauge', (name,), value
        for name, histogram in self._sum_timings().items():
            yield 'zatotx_user_timing_seconds', (name,), histogram

    def _sum_timings(self) -> dict[str, Histogram]:
        totals: dict[str, Histogram] = {}
        for cell in tuple(self._timings):
            for name, histogram in cell.copy().items():
                total = totals.setdefault(name, Histogram())
                total.sum += histogram.sum
                total.buckets = [a + b for a, b in zip(total.buckets, tuple(histogram.buckets), strict=True)]
        return totals

    def _thread_counts(self) -> dict[str, float]:
        try:
            return self._thread_cells.counts
        except AttributeError:
            self._thread_cells.counts = self._register(self._counts, {})
            return self._thread_cells.counts

    def _thread_timings(self) -> dict[str, Histogram]:
        try:
            return self._thread_cells.timings
        except AttributeError:
            self._thread_cells.timings = self._register(self._timings, {})
            return self._thread_cells.timings

    def _register(self, cells: list[dict[str, _T]], cell: dict[str, _T]) -> dict[str, _T]:
        with self._lock:
            cells.append(cell)
        return cell

    def _limit_name(self, metric_type: str, name: str) -> str:
        """Return the name, or OTHERS if the maximum number of names is reached. Raises ValueError for an invalid
        name."""
        if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME_LENGTH:
            raise ValueError(f'the name of a metric is a string of 1 to {MAX_NAME_LENGTH} characters, not {name!r:.80}')
        names = self._names[metric_type]
        with self._lock:
            if name not in names and len(names) < self._max_names:
                names.add(name)
            return name if name in names else OVERFLOW_LABEL
