"""A clock for models of processes that are frozen for a while."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define
from twisted.internet.task import Clock


@define
class _Timer:
    later: Any
    rung: bool = False

    def active(self) -> bool:
        return not self.rung and bool(self.later.active())

    def cancel(self) -> None:
        self.later.cancel()


class PausableClock:
    """The clock of a process that can be paused: its timers stop until then, but time continues."""

    def __init__(self, time: Clock) -> None:
        self._time = time
        self.until = 0.0

    def seconds(self) -> float:
        return self._time.seconds()

    def callLater(self, delay: float, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        def ring() -> None:
            left = self.until - self._time.seconds()
            if left > 0:
                box.later = self._time.callLater(left, ring)
            else:
                box.rung = True
                call(*args, **kwargs)

        box = _Timer(self._time.callLater(delay, ring))
        return box
