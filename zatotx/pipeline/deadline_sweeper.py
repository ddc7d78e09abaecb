"""The deadlines of everything that is under way, kept by one look at all of it every 50 ms: a timer for each would cost
more than most services do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from twisted.internet.interfaces import IReactorTime

INTERVAL = 0.05  # seconds: a deadline is met at most this much late


class Expiring(Protocol):
    """What has a deadline, in seconds on the reactor's clock."""

    @property
    def deadline(self) -> float: ...

    def expire(self) -> None: ...


class DeadlineSweeper:
    """Watches runs from `watch` to `forget`, and expires those that are late. Looks only while there are any.

    `forget(run)`: it is over; harmless where it was not watched.
    """

    __slots__ = ('_clock', '_looking', '_runs', 'forget')

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._runs: set[Expiring] = set()
        self.forget: Callable[[Expiring], None] = self._runs.discard
        self._looking = False

    def watch(self, run: Expiring) -> None:
        """Expire it when its deadline passes."""
        self._runs.add(run)
        if not self._looking:
            self._looking = True
            self._clock.callLater(INTERVAL, self._look)

    def _look(self) -> None:
        now = self._clock.seconds()
        late = [run for run in self._runs if run.deadline <= now]
        for run in late:
            run.expire()
        self._looking = bool(self._runs)
        if self._looking:
            self._clock.callLater(INTERVAL, self._look)
