"""Those who wait for one thing that comes, goes, and comes again."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure


class Waiters:
    """Each has a Deferred that may be cancelled."""

    def __init__(self) -> None:
        self._waiting: list[Deferred[None]] = []

    def wait(self) -> Deferred[None]:
        """Fires, or fails, with all others."""
        waiter: Deferred[None] = Deferred(lambda d: self._waiting.remove(d))
        self._waiting.append(waiter)
        return waiter

    def fire(self) -> None:
        """It is there."""
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.callback(None)

    def fail(self, error: BaseException | Failure) -> None:
        """It will not come."""
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.errback(error)
