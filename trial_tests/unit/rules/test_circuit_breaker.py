"""Tests of the circuit breaker."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from zatotx.rules.resilience.circuit_breaker import CLOSED, HALF_OPEN, OPEN, CircuitBreaker


def opened(failures: int = 3, reset: float = 10.0, at: float = 100.0) -> CircuitBreaker:
    """Returns a circuit breaker that has just opened."""
    breaker = CircuitBreaker(failures, reset)
    for _ in range(failures):
        fail(breaker, at)
    return breaker


def fail(breaker: CircuitBreaker, now: float) -> None:
    """Makes a call that fails."""
    ticket = breaker.acquire(now)
    assert ticket is not None
    breaker.record_failure(ticket, now)


def succeed(breaker: CircuitBreaker, now: float) -> None:
    """Makes a call that succeeds."""
    ticket = breaker.acquire(now)
    assert ticket is not None
    breaker.record_success(ticket)


class BreakerTests(SynchronousTestCase):
    def test_opens_after_failures_in_a_row(self) -> None:
        """The third of three consecutive failures opens it: all calls are rejected for the reset time."""
        breaker = CircuitBreaker(3, 10.0)
        fail(breaker, 100.0)
        fail(breaker, 100.0)
        self.assertEqual((breaker.state, breaker.times_opened), (CLOSED, 0))
        fail(breaker, 100.0)
        self.assertEqual((breaker.state, breaker.times_opened), (OPEN, 1))
        self.assertEqual([breaker.acquire(now) for now in (100.0, 105.0, 109.9)], [None] * 3)
        self.assertEqual([breaker.wait_time(now) for now in (100.0, 104.0, 111.0)], [10.0, 6.0, 0.0])
        self.assertEqual(CircuitBreaker(3, 10.0).wait_time(-1.0), 0.0)

    def test_one_success_forgets_failures(self) -> None:
        """Occasional failures never open it."""
        breaker = CircuitBreaker(3, 10.0)
        for _ in range(50):
            fail(breaker, 100.0)
            fail(breaker, 100.0)
            succeed(breaker, 100.0)
        self.assertEqual((breaker.state, breaker.times_opened), (CLOSED, 0))

    def test_calls_beside_each_other(self) -> None:
        """While it is closed, a successful or abandoned call does not affect the results of concurrent calls."""
        breaker = CircuitBreaker(2, 10.0)
        first, second, third, fourth = (ticket for _ in range(4) if (ticket := breaker.acquire(100.0)) is not None)
        breaker.record_success(first)
        breaker.record_abandoned(second)
        breaker.record_failure(third, 100.0)
        self.assertEqual(breaker.state, CLOSED)
        breaker.record_failure(fourth, 100.0)
        self.assertEqual(breaker.state, OPEN)

    def test_one_probe_at_a_time(self) -> None:
        """After the reset time one call is admitted; others are rejected while it is in progress."""
        breaker = opened()
        self.assertIsNotNone(breaker.acquire(110.0))
        self.assertEqual(breaker.state, HALF_OPEN)
        self.assertEqual([breaker.acquire(now) for now in (110.0, 500.0)], [None, None])

    def test_a_probe_that_succeeds(self) -> None:
        """A successful trial call closes it and resets the failure count."""
        breaker = opened()
        succeed(breaker, 110.0)
        self.assertEqual((breaker.state, breaker.wait_time(110.0)), (CLOSED, 0.0))
        fail(breaker, 110.0)
        fail(breaker, 110.0)
        self.assertEqual(breaker.state, CLOSED)

    def test_a_probe_that_fails(self) -> None:
        """A failed trial call reopens it for the whole reset time, without counting as another opening."""
        breaker = opened()
        fail(breaker, 115.0)
        self.assertEqual((breaker.state, breaker.acquire(124.9), breaker.times_opened), (OPEN, None, 1))
        self.assertIsNotNone(breaker.acquire(125.0))

    def test_a_probe_whose_caller_gave_up(self) -> None:
        """After an abandoned trial call, the next call is the trial."""
        breaker = opened()
        ticket = breaker.acquire(110.0)
        assert ticket is not None
        breaker.record_abandoned(ticket)
        self.assertEqual(breaker.state, OPEN)
        self.assertIsNotNone(breaker.acquire(110.0))

    def test_calls_of_an_earlier_time(self) -> None:
        """A call that began before it opened neither closes nor reopens it, however it ends."""
        breaker = CircuitBreaker(2, 10.0)
        early = [breaker.acquire(100.0) for _ in range(5)]
        first, second, third, fourth, fifth = (ticket for ticket in early if ticket is not None)
        breaker.record_failure(first, 100.0)
        breaker.record_failure(second, 100.0)
        breaker.record_success(third)
        self.assertEqual((breaker.state, breaker.acquire(101.0)), (OPEN, None))
        probe = breaker.acquire(110.0)
        assert probe is not None
        breaker.record_failure(fourth, 110.0)
        breaker.record_abandoned(fifth)
        self.assertEqual(breaker.state, HALF_OPEN)
        breaker.record_success(probe)
        self.assertEqual(breaker.state, CLOSED)
