"""`self.metrics`: what services count of their own, on the reactor and in threads, without a lock between them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import TypeVar

from zope.interface import implementer

from zatotx.interfaces.meters import IUserMetrics
from zatotx.metrics.counters import Histogram
from zatotx.metrics.definitions import OTHERS
from zatotx.metrics.meters import MOST
from zatotx.metrics.snapshot import Row

LONGEST = 200  # characters of a name

_T = TypeVar('_T')


class _Cell(threading.local):
    """What one thread counted. `x += 1` of two threads on one number would lose some."""

    counts: dict[str, float]
    timings: dict[str, Histogram]


@implementer(IUserMetrics)
class UserMetrics:
    """At most `most` names of each sort have a figure of their own; what comes later shares one."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._own = _Cell()
        self._lock = threading.Lock()  # for new threads and new names only
        self._counts: list[dict[str, float]] = []  # of each thread, those that have ended too
        self._timings: list[dict[str, Histogram]] = []
        self._gauges: dict[str, float] = {}
        self._names: dict[str, set[str]] = {'counts': set(), 'gauges': set(), 'timings': set()}

    def incr(self, name: str, by: float = 1) -> None:
        if by < 0:
            raise ValueError(f'a counter only grows: {name!r} cannot be raised by {by} (use gauge)')
        counts = self._counts_here()
        if name not in counts:
            name = self._room('counts', name)
        counts[name] = counts.get(name, 0) + by

    def gauge(self, name: str, value: float) -> None:
        if name not in self._gauges:
            name = self._room('gauges', name)
        self._gauges[name] = float(value)

    def timing(self, name: str, seconds: float) -> None:
        timings = self._timings_here()
        if name not in timings:
            name = self._room('timings', name)
        histogram = timings.get(name)
        if histogram is None:
            histogram = timings[name] = Histogram()
        histogram.observe(seconds)

    def rows(self) -> Iterator[Row]:
        """The figures, as a source of metrics."""
        counts: dict[str, float] = {}
        for cell in tuple(self._counts):
            for name, count in cell.copy().items():
                counts[name] = counts.get(name, 0) + count
        for name, count in counts.items():
            yield 'zatotx_user_counter', (name,), count
        for name, value in self._gauges.copy().items():
            yield 'zatotx_user_gauge', (name,), value
        for name, histogram in self._summed().items():
            yield 'zatotx_user_timing_seconds', (name,), histogram

    def _summed(self) -> dict[str, Histogram]:
        summed: dict[str, Histogram] = {}
        for cell in tuple(self._timings):
            for name, histogram in cell.copy().items():
                whole = summed.setdefault(name, Histogram())
                whole.sum += histogram.sum
                whole.buckets = [a + b for a, b in zip(whole.buckets, tuple(histogram.buckets), strict=True)]
        return summed

    def _counts_here(self) -> dict[str, float]:
        try:
            return self._own.counts
        except AttributeError:
            self._own.counts = self._joined(self._counts, {})
            return self._own.counts

    def _timings_here(self) -> dict[str, Histogram]:
        try:
            return self._own.timings
        except AttributeError:
            self._own.timings = self._joined(self._timings, {})
            return self._own.timings

    def _joined(self, cells: list[dict[str, _T]], cell: dict[str, _T]) -> dict[str, _T]:
        with self._lock:
            cells.append(cell)
        return cell

    def _room(self, sort: str, name: str) -> str:
        """The name, or OTHERS where there is no room for it. Raises ValueError for what is no name."""
        if not isinstance(name, str) or not 0 < len(name) <= LONGEST:
            raise ValueError(f'the name of a metric is a text of 1 to {LONGEST} characters, not {name!r:.80}')
        names = self._names[sort]
        with self._lock:
            if name not in names and len(names) < self._most:
                names.add(name)
            return name if name in names else OTHERS
