"""How long Python's garbage collector holds everything: it stops all threads of a process while it looks for cycles."""

from __future__ import annotations

import gc
from collections import deque
from time import monotonic
from typing import Any

from zatotx.metrics.counters import PAUSES, Histogram

_LONG = 0.05  # seconds; pauses that long are remembered for a while
_KEPT = 64


class GcPauses:
    """Counts every collection while it is started; `pauses` may be read anywhere. A collection tells us twice, which
    costs a microsecond."""

    def __init__(self) -> None:
        self.pauses = Histogram(PAUSES)
        self._began = 0.0  # of the one that is under way
        self._long: deque[tuple[float, float]] = deque(maxlen=_KEPT)  # (when it ended, its length)

    def start(self) -> None:
        """Begin to count."""
        gc.callbacks.append(self._told)

    def stop(self) -> None:
        """Count no more; idempotent."""
        if self._told in gc.callbacks:
            gc.callbacks.remove(self._told)

    def between(self, begin: float, end: float) -> float:
        """Seconds that long collections took within that time, both on `time.monotonic`. One that is under way counts:
        who asks may have waited for the interpreter all the while, and gets it before its end is written down."""
        began = self._began
        spans = [(ended - length, ended) for ended, length in tuple(self._long)]
        if began and not any(abs(start - began) < 1e-6 for start, _ in spans):
            spans.append((began, end))
        return sum(max(0.0, min(ended, end) - max(start, begin)) for start, ended in spans)

    def _told(self, phase: str, info: dict[str, Any]) -> None:
        now = monotonic()
        if phase == 'start':
            self._began = now
        elif self._began:
            length = now - self._began
            self.pauses.observe(length)
            if length >= _LONG:
                self._long.append((now, length))
            self._began = 0.0
