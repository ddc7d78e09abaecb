"""Properties of delays and deadlines."""

from __future__ import annotations

from attrs import define
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.properties import holds
from zatotx.interfaces.timeout_sweeper import TimeoutSweeper
from zatotx.rules.resilience.outgoing_retry import backoff_delay

INTERVAL = 0.05  # seconds
SECONDS = st.floats(0.001, 1000)


@define(eq=False)
class Run:
    """Records when it expired."""

    clock: Clock
    deadlines: TimeoutSweeper
    deadline: float
    at: float = -1.0

    def expire(self, now: float) -> None:
        assert self.at < 0
        self.at = self.clock.seconds()
        self.deadlines.remove(self)


class BackoffTests(SynchronousTestCase):
    @holds(attempt=st.integers(-5, 10**9), chance=st.floats(0, 1, exclude_max=True), base=SECONDS, cap=SECONDS)
    def test_within_bounds(self, attempt: int, chance: float, base: float, cap: float) -> None:
        """A delay is never negative, never above the cap, and never longer than the next maximum."""
        delay = backoff_delay(attempt, lambda: chance, base=base, cap=cap)
        self.assertTrue(0 <= delay <= cap)
        self.assertLessEqual(delay, backoff_delay(attempt + 1, lambda: chance, base=base, cap=cap))


class DeadlineTests(SynchronousTestCase):
    @holds(runs=st.lists(st.tuples(st.floats(0, 3), st.floats(0, 3), st.booleans()), max_size=8),
           steps=st.lists(st.floats(0.001, 0.5), min_size=1, max_size=30))  # fmt: skip
    def test_each_in_its_time(self, runs: list[tuple[float, float, bool]], steps: list[float]) -> None:
        """Every pending run expires once, not before its deadline, and at the first check after it, depending on the
        clock's steps."""
        clock = Clock()
        deadlines = TimeoutSweeper(clock, INTERVAL)
        made: list[tuple[Run, bool]] = []
        for begins, lasts, ends in runs:
            run = Run(clock, deadlines, begins + lasts)
            made.append((run, ends))
            clock.callLater(begins, deadlines.add, run)
            if ends:
                clock.callLater(begins + lasts / 2, deadlines.remove, run)
        for step in (*steps, *[INTERVAL / 2] * 300):
            clock.advance(step)
        longest = max((*steps, INTERVAL))
        for run, ends in made:
            if run.at >= 0:
                self.assertTrue(run.deadline <= run.at <= run.deadline + INTERVAL + 2 * longest + 1e-9, run)
            else:
                self.assertTrue(ends, run)
        self.assertEqual(clock.getDelayedCalls(), [])
