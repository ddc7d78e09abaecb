"""Deadlines of all pending requests, checked together every 50 ms: one timer per request would cost more than most
services take.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from twisted.internet.interfaces import IReactorTime

SWEEP_INTERVAL = 0.05  # seconds: a deadline may be met this much late


class HasDeadline(Protocol):
    """An object with a deadline, in seconds on the reactor's clock."""

    @property
    def deadline(self) -> float: ...

    def expire(self) -> None: ...


class DeadlineSweeper:
    """Expires watched objects whose deadline has passed. The timer runs only while something is watched.

    `forget(run)` stops watching an object; it does nothing if the object is not watched.
    """

    __slots__ = ('_clock', '_scheduled', '_watched', 'forget')

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._watched: set[HasDeadline] = set()
        self.forget: Callable[[HasDeadline], None] = self._watched.discard
        self._scheduled = False

    def watch(self, pending: HasDeadline) -> None:
        """Call `run.expire()` when its deadline passes."""
        self._watched.add(pending)
        if not self._scheduled:
            self._scheduled = True
            self._clock.callLater(SWEEP_INTERVAL, self._sweep)

    def _sweep(self) -> None:
        now = self._clock.seconds()
        expired = [run for run in self._watched if run.deadline <= now]
        for run in expired:
            run.expire()
        self._scheduled = bool(self._watched)
        if self._scheduled:
            self._clock.callLater(SWEEP_INTERVAL, self._sweep)
