"""Enforces the timeouts of many objects with a single timer, because a timer for each object would cost more than most
calls.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger


class ObjectWithTimeout(Protocol):
    """An object with a deadline, which TimeoutSweeper can watch."""

    @property
    def deadline(self) -> float:
        """When the timeout passes, in seconds on the reactor's clock."""

    def expire(self, now: float) -> None:
        """Handle the timeout: set a new one, or end."""


class TimeoutSweeper:
    """Checks the deadlines of objects every `interval` seconds, as long as objects are watched. An object whose
    deadline has passed is expired.

    A timeout fires at most one interval late; setting one is an assignment. `forget(expiring)` stops watching an
    object; it does nothing if the object is not watched.
    """

    __slots__ = ('_call', '_clock', '_interval', '_watched', 'remove')
    _log = Logger()

    def __init__(self, clock: IReactorTime, interval: float) -> None:
        self._clock = clock
        self._interval = interval
        self._call: IDelayedCall | None = None
        self._watched: set[ObjectWithTimeout] = set()
        self.remove: Callable[[ObjectWithTimeout], None] = self._watched.discard

    def __len__(self) -> int:
        return len(self._watched)

    @property
    def running(self) -> bool:
        """Whether the next sweep is scheduled."""
        return self._call is not None

    def add(self, expiring: ObjectWithTimeout) -> None:
        """Call the object's `expire` when its timeout passes."""
        self._watched.add(expiring)
        if self._call is None:
            self._call = self._clock.callLater(self._interval, self._sweep)

    def stop(self) -> None:
        """Watch nothing any more."""
        self._watched.clear()
        call, self._call = self._call, None
        if call is not None:
            call.cancel()

    def _sweep(self) -> None:
        self._call = None
        now = self._clock.seconds()
        for expiring in [watched for watched in self._watched if watched.deadline <= now]:
            if expiring not in self._watched:
                continue  # ended by the end of another one
            try:
                expiring.expire(now)
            except Exception:  # an error of one object must not stop the sweep of the others
                self._watched.discard(expiring)
                self._log.failure('A timeout of {what} cannot be enforced', what=type(expiring).__name__)
        if self._watched and self._call is None:
            self._call = self._clock.callLater(self._interval, self._sweep)
