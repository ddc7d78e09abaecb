"""The result of one Deferred for several that wait for it."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred

T = TypeVar('T')


class SharedResult(Generic[T]):
    """Several may wait for the result, each with a Deferred of its own, which may be cancelled. A failure that nobody
    waits for is not reported."""

    def __init__(self, source: Deferred[T]) -> None:
        self._waiting: list[Deferred[T]] = []
        self._result: Any = None
        self.is_known = False
        source.addBoth(self._fire)

    def wait(self) -> Deferred[T]:
        """Fires with the result, now or later."""
        if self.is_known:
            done: Deferred[T] = Deferred()
            done.callback(self._result)
            return done
        waiter: Deferred[T] = Deferred(self._waiting.remove)
        self._waiting.append(waiter)
        return waiter

    def _fire(self, result: Any) -> None:
        self._result, self.is_known = result, True
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.callback(result)
