"""Provides the statistics of the whole load balancer. They come from this process, or from the parent process, which
collects the statistics of all workers.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from attrs import define, field
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

from zatotx.lb.statistics.statistics_snapshot import (
    HISTORY_LENGTH,
    HistoryPoint,
    StatisticsSnapshot,
    make_history_point,
)

INTERVAL = 1.0  # seconds between two points of the history

ReadSnapshot = Callable[[], StatisticsSnapshot]  # the figures of the whole load balancer, with their history


@define(eq=False, kw_only=True)
class RecordedStatistics:
    """Records the history of the statistics that `read` returns, with one point per second. `publish` is called with
    each new snapshot."""

    clock: IReactorTime
    read: ReadSnapshot
    publish: Callable[[StatisticsSnapshot], None] = lambda snapshot: None
    now: Callable[[], float] = time.time
    _history: deque[HistoryPoint] = field(factory=lambda: deque(maxlen=HISTORY_LENGTH), init=False)
    _last: StatisticsSnapshot | None = field(default=None, init=False)
    _last_time: float = field(default=0.0, init=False)
    _loop: LoopingCall = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._loop = LoopingCall(self._record)
        self._loop.clock = self.clock

    def start(self) -> None:
        """Start recording."""
        self._loop.start(INTERVAL)

    def stop(self) -> None:
        """Stop recording. Idempotent."""
        if self._loop.running:
            self._loop.stop()

    def snapshot(self) -> StatisticsSnapshot:
        """Return the present figures and the history."""
        snapshot = self.read()
        snapshot.history = list(self._history)
        return snapshot

    def _record(self) -> None:
        snapshot, seconds = self.read(), self.clock.seconds() - self._last_time
        if self._last is not None and seconds > 0:
            self._history.append(make_history_point(self.now(), seconds, self._last, snapshot))
        self._last, self._last_time = snapshot, self.clock.seconds()
        snapshot.history = list(self._history)
        self.publish(snapshot)
