"""Divides long tasks in the reactor's thread into slices, so that other events are handled in between."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

SLICE = 0.005  # seconds
_CHECK_EVERY = 64  # steps between two looks at the clock


class TimeSlices:
    """The slices of one long task.

        slices = TimeSlices(clock)
        for each in many:
            ...
            if slices.is_over():
                await slices.next()
    """

    __slots__ = ('_clock', '_deadline', '_seconds', '_steps')

    def __init__(self, clock: IReactorTime, seconds: float = SLICE) -> None:
        self._clock = clock
        self._seconds = seconds
        self._steps = 0
        self._deadline = clock.seconds() + seconds

    def is_over(self) -> bool:
        """Count a step of the work, and return whether the rest has to wait for the next slice."""
        self._steps += 1
        return self._steps % _CHECK_EVERY == 0 and self._clock.seconds() > self._deadline

    async def next(self) -> None:
        """Wait for the next slice, which begins in the next iteration of the reactor."""
        waiting: Deferred[None] = deferLater(self._clock, 0)
        await waiting
        self._deadline = self._clock.seconds() + self._seconds
