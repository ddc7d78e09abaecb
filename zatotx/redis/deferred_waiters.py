"""A set of Deferreds that wait for an event which can occur repeatedly."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure


class WaiterSet:
    """A set of Deferreds that fire together and can be cancelled individually."""

    def __init__(self) -> None:
        self._waiters: list[Deferred[None]] = []

    def wait(self) -> Deferred[None]:
        """Return a Deferred that fires or fails with all others."""
        waiter: Deferred[None] = Deferred(lambda d: self._waiters.remove(d))
        self._waiters.append(waiter)
        return waiter

    def fire_all(self) -> None:
        """Fire all waiting Deferreds."""
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.callback(None)

    def fail_all(self, error: BaseException | Failure) -> None:
        """Fail all waiting Deferreds."""
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.errback(error)
