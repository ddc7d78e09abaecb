"""The clock of a test, which moves only when the test advances it, or to the next event that a call waits for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Clock
from zope.interface import implementer


@implementer(IReactorTime)
class ReactorTimers:
    """The timers that a test sets on a running reactor; remaining ones are cancelled when the kit is closed."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._timers: list[Any] = []

    def seconds(self) -> float:
        now: float = self._reactor.seconds()
        return now

    def callLater(self, delay: float, callable: Callable[..., Any], *args: object, **kwargs: object) -> Any:
        """Schedule a call, as IReactorTime does."""
        self._timers = self.getDelayedCalls()
        timer = self._reactor.callLater(delay, callable, *args, **kwargs)
        self._timers.append(timer)
        return timer

    def getDelayedCalls(self) -> list[Any]:
        """Return the pending timers."""
        return [timer for timer in self._timers if timer.active()]

    def cancel(self) -> None:
        """Cancel all timers."""
        for timer in self.getDelayedCalls():
            timer.cancel()


class KitClock(Clock):
    """Twisted's Clock (`seconds`, `callLater`, `advance`), which can also advance to the next event by itself."""

    def callFromThread(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Call the function immediately, as there is only one thread."""
        function(*args, **kwargs)

    def advance(self, amount: float) -> None:
        """Let that many seconds pass. Each event in between sees its own time, so that a lock is renewed meanwhile."""
        end = self.rightNow + amount
        while (calls := [call for call in self.getDelayedCalls() if call.getTime() <= end]):
            super().advance(max(0.0, min(call.getTime() for call in calls) - self.rightNow))
        super().advance(max(0.0, end - self.rightNow))

    def run_until(self, done: Callable[[], bool], limit: float = float('inf')) -> bool:
        """Advance from event to event until `done` returns true; return whether it did.

        Without an event before `limit` (seconds on this clock), the clock stops at `limit`.
        """
        while not done():
            next_event = min((call.getTime() for call in self.getDelayedCalls()), default=float('inf'))
            if next_event > limit or next_event == float('inf'):
                if limit != float('inf'):
                    self.advance(max(0.0, limit - self.seconds()))
                return done()
            self.advance(max(0.0, next_event - self.seconds()))
        return True
