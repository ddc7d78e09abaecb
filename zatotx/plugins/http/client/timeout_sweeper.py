"""Enforces the timeouts of all outgoing calls in one sweep every 20 ms: a timer per call would cost more than the call.
Setting a timeout is an assignment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

INTERVAL = 0.02  # seconds: a timeout fires at most this much late


class HasDeadline(Protocol):
    """An object with a timeout, in seconds on the reactor's clock."""

    deadline: float

    def expire(self, now: float) -> None:
        """Handle the timeout: set a new one, or end."""


class CallTimeoutSweeper:
    """Sweeps the objects between `add` and `remove`, and expires those that are late. Runs only while there are any:
    `is_running`.

    `forget(expiring)` ends it; it does nothing for an object that is not watched.
    """

    __slots__ = ('_clock', '_watched', 'is_running', 'remove')
    _log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._watched: set[HasDeadline] = set()
        self.remove: Callable[[HasDeadline], None] = self._watched.discard
        self.is_running = False

    def __len__(self) -> int:
        return len(self._watched)

    def add(self, expiring: HasDeadline) -> None:
        """Call the object's `expire` when its timeout passes."""
        self._watched.add(expiring)
        if not self.is_running:
            self.is_running = True
            self._clock.callLater(INTERVAL, self._sweep)

    def _sweep(self) -> None:
        now = self._clock.seconds()
        for expiring in [watched for watched in self._watched if watched.deadline <= now]:
            if expiring not in self._watched:
                continue  # ended by the end of another one
            try:
                expiring.expire(now)
            except Exception:  # an error in one call must not stop the sweep of the others
                self._watched.discard(expiring)
                self._log.failure('The deadline of an outgoing call cannot be kept')
        self.is_running = bool(self._watched)
        if self.is_running:
            self._clock.callLater(INTERVAL, self._sweep)
