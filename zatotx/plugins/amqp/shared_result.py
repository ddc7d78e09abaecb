"""Shares the result of one Deferred among several waiting callers."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from twisted.internet.defer import Deferred

T = TypeVar('T')


class SharedResult(Generic[T]):
    """The result of one operation for which several callers wait. Each caller has its own Deferred, which can be
    canceled. A failure is not reported if no caller waits for it."""

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
