"""Long work that gives other events of the reactor their turn."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.iterations import run_iteration
from zatotx.system.time_slices import SLICE, TimeSlices


class TimeSlicesTests(SynchronousTestCase):
    def test_work_is_interrupted_when_its_slice_is_over(self) -> None:
        """With steps of a tenth of a slice no slice has more than 64 steps, between two looks at the clock; the rest of
        the work is done in the next iterations of the reactor."""
        clock, done = Clock(), list[int]()

        async def work() -> None:
            slices = TimeSlices(clock)
            for number in range(300):
                if slices.is_over():
                    await slices.next()
                clock.rightNow += SLICE / 10
                done.append(number)

        finished = Deferred.fromCoroutine(work())
        counts = [len(done)]
        while run_iteration(clock):
            counts.append(len(done))
        self.successResultOf(finished)
        self.assertEqual([after - before for before, after in zip([0, *counts], counts, strict=False)],
                         [63, 64, 64, 64, 45])  # fmt: skip

    def test_short_work_is_not_interrupted(self) -> None:
        """A thousand steps within one slice."""
        slices = TimeSlices(Clock())
        self.assertFalse(any(slices.is_over() for _ in range(1000)))
