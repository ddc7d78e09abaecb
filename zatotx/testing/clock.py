"""Time in a test: it stands still until somebody moves it, or until a call has nothing else to wait for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Clock
from zope.interface import implementer


@implementer(IReactorTime)
class Borrowed:
    """The timers of a running reactor, as long as they are needed: what is left is cancelled when the kit is closed."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._timers: list[Any] = []

    def seconds(self) -> float:
        now: float = self._reactor.seconds()
        return now

    def callLater(self, delay: float, callable: Callable[..., Any], *args: object, **kwargs: object) -> Any:
        """As IReactorTime's."""
        self._timers = self.getDelayedCalls()
        timer = self._reactor.callLater(delay, callable, *args, **kwargs)
        self._timers.append(timer)
        return timer

    def getDelayedCalls(self) -> list[Any]:
        """Those that are still to come."""
        return [timer for timer in self._timers if timer.active()]

    def cancel(self) -> None:
        """Let go of all timers."""
        for timer in self.getDelayedCalls():
            timer.cancel()


class KitClock(Clock):
    """Twisted's Clock (`seconds`, `callLater`, `advance`), that can also go on by itself to what comes next."""

    def callFromThread(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """There is one thread: at once."""
        function(*args, **kwargs)

    def run_until(self, done: Callable[[], bool], limit: float = float('inf')) -> bool:
        """Move from event to event until `done` says so, or nothing is to come before `limit` (seconds on this clock,
        where it then stands). Whether it is done."""
        while not done():
            coming = min((call.getTime() for call in self.getDelayedCalls()), default=float('inf'))
            if coming > limit or coming == float('inf'):
                if limit != float('inf'):
                    self.advance(max(0.0, limit - self.seconds()))
                return done()
            self.advance(max(0.0, coming - self.seconds()))
        return True
