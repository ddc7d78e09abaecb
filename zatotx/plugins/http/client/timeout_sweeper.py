"""The deadlines of all calls under way, kept by one look at all of them every 20 ms: a timer for each would cost more
than the call. Setting one is an assignment.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

INTERVAL = 0.02  # seconds: a deadline is met at most this much late


class Expiring(Protocol):
    """What has a deadline, in seconds on the reactor's clock."""

    due: float

    def expire(self, now: float) -> None:
        """The deadline has passed. Sets a new one, or is over."""


class TimeoutSweeper:
    """Watches from `watch` to `forget`, and tells those that are late. Looks only while there are any: `looking`.

    `forget(expiring)`: it is over; harmless where it was not watched.
    """

    __slots__ = ('_clock', '_watched', 'forget', 'looking')
    _log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._watched: set[Expiring] = set()
        self.forget: Callable[[Expiring], None] = self._watched.discard
        self.looking = False

    def __len__(self) -> int:
        return len(self._watched)

    def watch(self, expiring: Expiring) -> None:
        """Tell it when its deadline passes."""
        self._watched.add(expiring)
        if not self.looking:
            self.looking = True
            self._clock.callLater(INTERVAL, self._look)

    def _look(self) -> None:
        now = self._clock.seconds()
        for expiring in [each for each in self._watched if each.due <= now]:
            if expiring not in self._watched:
                continue  # ended by another's end
            try:
                expiring.expire(now)
            except Exception:  # one broken call must not end the look at the others
                self._watched.discard(expiring)
                self._log.failure('The deadline of an outgoing call cannot be kept')
        self.looking = bool(self._watched)
        if self.looking:
            self._clock.callLater(INTERVAL, self._look)
