"""Tests of the backoff between attempts."""

from __future__ import annotations

from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.properties import holds
from zatotx.rules.resilience.backoff import backoff_delay


class BackoffTests(SynchronousTestCase):
    def test_grows(self) -> None:
        """The maximum delay doubles with each failure, up to the cap."""
        longest = [backoff_delay(attempt, lambda: 1.0, base=0.5, cap=4.0) for attempt in range(6)]
        self.assertEqual(longest, [0.5, 1.0, 2.0, 4.0, 4.0, 4.0])
        self.assertEqual([backoff_delay(attempt, lambda: 1.0) for attempt in (-1, 0, 1, 9)], [0.1, 0.1, 0.2, 5.0])

    def test_doublings_end(self) -> None:
        """After 32 doublings the delay stays as it is, even below the cap."""
        self.assertEqual([backoff_delay(attempt, lambda: 1.0, base=1.0, cap=1e30) for attempt in (31, 32, 33, 10**9)],
                         [2.0**31, 2.0**32, 2.0**32, 2.0**32])  # fmt: skip

    def test_full_jitter(self) -> None:
        """The delay is a random part of the maximum, possibly zero."""
        self.assertEqual(backoff_delay(3, lambda: 0.0), 0.0)
        self.assertEqual(backoff_delay(3, lambda: 0.25, base=1.0, cap=100.0), 2.0)

    @holds(attempt=st.integers(-5, 10**9), drawn=st.floats(0, 1, exclude_max=True))
    def test_bounds(self, attempt: int, drawn: float) -> None:
        """No number of failures gives a negative delay, or one above the cap."""
        self.assertTrue(0.0 <= backoff_delay(attempt, lambda: drawn) <= 5.0)
