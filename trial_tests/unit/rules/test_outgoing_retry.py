"""Tests of retries: which calls are repeated, after which delay, and how much load they add."""

from __future__ import annotations

from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.properties import holds
from zatotx.rules.resilience.outgoing_retry import (
    CallRetryBudget,
    RetryableFailure,
    RetryPolicy,
    backoff_delay,
    is_transient_status,
    outgoing_retry_delay,
    parse_retry_after,
)

THRICE = RetryPolicy(attempts=3, backoff=0.2)
NOW = 1_795_600_000.0  # 2026-11-25T09:46:40Z


def longest(
    tried: RetryableFailure, *, made: int = 1, again: bool = True, repeats: RetryPolicy = THRICE
) -> float | None:
    """Returns the longest delay that can be drawn."""
    return outgoing_retry_delay(repeats, made, tried, is_retryable=again, random=lambda: 1.0)


class PauseTests(SynchronousTestCase):
    def test_attempts(self) -> None:
        """The configured number of attempts includes the first one; the default is one."""
        refused = RetryableFailure(reached_peer=False)
        self.assertEqual([longest(refused, made=made) is None for made in (1, 2, 3, 4)], [False, False, True, True])
        self.assertIsNone(longest(refused, repeats=RetryPolicy()))

    def test_what_may_be_repeated(self) -> None:
        """Safe methods, configured methods and requests with an Idempotency-Key are repeated. Requests that never
        reached the peer are always repeated."""
        self.assertTrue(
            all(
                THRICE.is_retryable(method, has_idempotency_key=False) for method in ('GET', 'HEAD', 'OPTIONS', 'TRACE')
            )
        )
        others = ('POST', 'PUT', 'PATCH', 'DELETE', 'get', 'LOCK')
        self.assertFalse(any(THRICE.is_retryable(method, has_idempotency_key=False) for method in others))
        self.assertTrue(all(THRICE.is_retryable(method, has_idempotency_key=True) for method in others))
        self.assertTrue(RetryPolicy(methods=frozenset(('GET', 'PUT'))).is_retryable('PUT', has_idempotency_key=False))
        for tried in (RetryableFailure(), RetryableFailure(status=503)):
            self.assertIsNone(longest(tried, again=False))
            self.assertIsNotNone(longest(tried, again=True))
        self.assertIsNotNone(longest(RetryableFailure(reached_peer=False), again=False))

    def test_which_answers(self) -> None:
        """502, 503 and 504 are retried, 429 only with Retry-After, others are not."""
        again = [status for status in range(100, 600) if longest(RetryableFailure(status=status)) is not None]
        self.assertEqual(again, [502, 503, 504])
        self.assertEqual(longest(RetryableFailure(status=429, retry_after=3.0)), 3.0)
        self.assertEqual([status for status in range(100, 600) if is_transient_status(status)], [429, 502, 503, 504])

    def test_the_pause_grows(self) -> None:
        """Full jitter: the delay is between zero and the backoff, twice that before the third attempt, at most ten
        seconds."""
        many = RetryPolicy(attempts=20, backoff=0.2)
        pauses = [longest(RetryableFailure(), made=made, repeats=many) for made in (1, 2, 3, 10)]
        self.assertEqual(pauses, [0.2, 0.4, 0.8, 10.0])
        self.assertEqual(outgoing_retry_delay(many, 1, RetryableFailure(), is_retryable=True, random=lambda: 0.0), 0.0)
        self.assertEqual(longest(RetryableFailure(), repeats=RetryPolicy(attempts=2)), 0.2)
        self.assertEqual(longest(RetryableFailure(), repeats=RetryPolicy(attempts=2, backoff=20.0)), 20.0)

    def test_never_sooner_than_asked(self) -> None:
        """The delay is at least Retry-After, however long; a shorter Retry-After does not shorten it."""
        self.assertEqual(longest(RetryableFailure(status=503, retry_after=100.0)), 100.0)
        self.assertEqual(longest(RetryableFailure(status=503, retry_after=0.0)), 0.2)

    def test_retry_after(self) -> None:
        """Retry-After is a number of seconds or a date; a past date means now; invalid values are ignored."""
        for value, expected in (
            (None, None), (b'0', 0.0), (b'120', 120.0), (b'', None), (b'-1', None), (b'1.5', None), (b'soon', None),
            (b'9' * 30, None), (b'999999999', 999_999_999.0), (b'1000000000', None),
            ('\u0661'.encode(), None), (b'Wed, 25 Nov 2026 09:47:10 GMT', 30.0),
            (b'Wed, 25 Nov 2020 09:47:10 GMT', 0.0), (b'Wed, 99 Nov 2026 09:47:10 GMT', None), (b'\xff', None),
            (b'Wed, 25 Nov 2026 09:47:10 +9999', None), (b'Wed, 25 Nov 2026 09:47:10 +99999999999999', None),
        ):  # fmt: skip
            self.assertEqual(parse_retry_after(value, NOW), expected, value)


class BudgetTests(SynchronousTestCase):
    def test_a_fifth_of_the_calls(self) -> None:
        """A thousand failing calls cause two hundred retries, not two thousand."""
        budget = CallRetryBudget()
        taken = 0
        for _ in range(1000):
            budget.record_call(100.0)
            taken += budget.try_acquire(100.0) + budget.try_acquire(100.0)
        self.assertEqual(taken, 200)

    def test_few_calls(self) -> None:
        """Ten retries in ten seconds are always allowed, so that a connection with few calls can retry."""
        budget = CallRetryBudget()
        budget.record_call(100.0)
        self.assertEqual(sum(budget.try_acquire(100.0) for _ in range(30)), 10)

    def test_old_calls_do_not_count(self) -> None:
        """Old calls and retries do not count."""
        budget = CallRetryBudget()
        for _ in range(1000):
            budget.record_call(100.0)
        self.assertEqual(sum(budget.try_acquire(100.0) for _ in range(300)), 200)
        self.assertFalse(budget.try_acquire(111.0))  # of the window before
        self.assertEqual(sum(budget.try_acquire(131.0) for _ in range(30)), 10)

    def test_windows(self) -> None:
        """Windows follow each other without gaps while there are calls; retries of the previous window count too, older
        ones do not. After a pause the next call begins a window."""
        budget = CallRetryBudget(share=0.5, min_retries=2, window=10.0)
        for _ in range(10):
            budget.record_call(100.0)
        self.assertEqual([budget.try_acquire(109.9) for _ in range(6)], [True] * 5 + [False])
        budget.record_call(110.0)
        self.assertFalse(budget.try_acquire(110.0))
        budget.record_call(119.9)
        self.assertEqual([budget.try_acquire(119.9) for _ in range(2)], [True, False])
        self.assertEqual([budget.try_acquire(120.0) for _ in range(2)], [True, False])
        self.assertEqual([budget.try_acquire(moment) for moment in (129.9, 130.0, 130.0)], [False, True, False])
        self.assertEqual([budget.try_acquire(moment) for moment in (150.0, 150.0, 150.0)], [True, True, False])
        self.assertEqual([budget.try_acquire(moment) for moment in (169.9, 169.9)], [False, False])

    def test_usual_window(self) -> None:
        """A window has ten seconds."""
        budget = CallRetryBudget()
        for _ in range(100):
            budget.record_call(100.0)
        self.assertEqual(sum(budget.try_acquire(109.9) for _ in range(30)), 20)
        self.assertEqual([budget.try_acquire(moment) for moment in (119.9, 120.0)], [False, True])


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
