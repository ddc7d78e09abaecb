"""Pauses for garbage collection, during which Python stops all threads of the process."""

from __future__ import annotations

import gc
from collections import deque
from time import monotonic
from typing import Any

from zatotx.metrics.counters import PAUSE_BUCKETS, Histogram

_LONG_PAUSE = 0.05  # seconds; the last pauses of this length are kept
_KEPT = 64


class GcPauseMonitor:
    """Measures every collection while started; any thread may read `pauses`. A collection causes two callbacks, which
    take a microsecond."""

    def __init__(self) -> None:
        self.pauses = Histogram(PAUSE_BUCKETS)
        self._started = 0.0  # the start of the collection in progress
        self._long: deque[tuple[float, float]] = deque(maxlen=_KEPT)  # (end, length)

    def start(self) -> None:
        """Start to measure."""
        gc.callbacks.append(self._on_gc)

    def stop(self) -> None:
        """Stop measuring; idempotent."""
        if self._on_gc in gc.callbacks:
            gc.callbacks.remove(self._on_gc)

    def seconds_between(self, begin: float, end: float) -> float:
        """Return the seconds that long collections took in an interval of `time.monotonic`. A collection in progress
        counts, because the caller may have waited for the GIL until its end, and runs before the end is recorded."""
        current_start = self._started
        spans = [(ended - length, ended) for ended, length in tuple(self._long)]
        if current_start and not any(abs(start - current_start) < 1e-6 for start, _ in spans):
            spans.append((current_start, end))
        return sum(max(0.0, min(ended, end) - max(start, begin)) for start, ended in spans)

    def _on_gc(self, phase: str, info: dict[str, Any]) -> None:
        now = monotonic()
        if phase == 'start':
            self._started = now
        elif self._started:
            length = now - self._started
            self.pauses.observe(length)
            if length >= _LONG_PAUSE:
                self._long.append((now, length))
            self._started = 0.0
