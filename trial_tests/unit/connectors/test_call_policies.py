"""zatotx.connectors.call_policies: what is wrapped around outgoing calls."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from zatotx.connectors.call_policies import (
    Bulkhead,
    BulkheadFull,
    CallTimedOut,
    CircuitBreaking,
    CircuitOpen,
    Retrying,
    TimeLimit,
)
from zatotx.interfaces.meters import NullMeter
from zatotx.rules.resilience.circuit_breaker import CircuitBreaker
from zatotx.rules.resilience.outgoing_retry import CallRetryBudget


class PeerDownError(Exception):
    """The peer is not well."""


class OtherError(Exception):
    """An error that says nothing about the peer."""


class Peer:
    """Answers calls with Deferreds that the test fires."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Deferred[str]]] = []

    def send(self, request: str) -> Awaitable[str]:
        calling: Deferred[str] = Deferred()
        self.calls.append((request, calling))
        return calling

    def answer(self, response: str) -> None:
        self.calls[-1][1].callback(response)

    def fail_all(self, error: Exception) -> None:
        self.calls[-1][1].errback(error)


class PolicyCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.peer = Peer()
        self.meter = NullMeter()

    def call(self, send: Callable[[str], Awaitable[str]], request: str = 'request') -> Deferred[str]:
        async def calling() -> str:
            return await send(request)

        return Deferred.fromCoroutine(calling())


class CircuitBreakingTests(PolicyCase):
    def setUp(self) -> None:
        super().setUp()
        self.send = CircuitBreaking[str, str](
            self.peer.send, CircuitBreaker(2, 10.0), self.clock.seconds, self.meter,
            is_failed_response=lambda response: response == 'unwell',
            is_failure=lambda error: isinstance(error, PeerDownError),
        ).send  # fmt: skip

    def test_failures_open_it(self) -> None:
        """Two failures in a row, an error or a response, and nothing more is sent until a call is let through."""
        first = self.call(self.send)
        self.peer.fail_all(PeerDownError())
        self.failureResultOf(first, PeerDownError)
        second = self.call(self.send)
        self.peer.answer('unwell')
        self.assertEqual(self.successResultOf(second), 'unwell')
        self.assertTrue(self.meter.circuit_open)
        self.assertEqual(self.meter.circuits_opened, 1)
        self.assertEqual(self.failureResultOf(self.call(self.send), CircuitOpen).value.wait, 10.0)
        self.assertEqual(len(self.peer.calls), 2)
        self.clock.advance(10.0)
        probe = self.call(self.send)
        self.assertTrue(self.meter.circuit_half_open)
        self.peer.answer('well')
        self.successResultOf(probe)
        self.assertFalse(self.meter.circuit_open)

    def test_what_says_nothing_about_the_peer(self) -> None:
        """Other errors, and callers who give up, do not open it; a probe that ends so is followed by another."""
        for _ in range(3):
            calling = self.call(self.send)
            self.peer.fail_all(OtherError())
            self.failureResultOf(calling, OtherError)
            calling = self.call(self.send)
            calling.cancel()
            self.failureResultOf(calling, CancelledError)
        self.assertFalse(self.meter.circuit_open)
        for _ in range(2):
            calling = self.call(self.send)
            self.peer.fail_all(PeerDownError())
            self.failureResultOf(calling, PeerDownError)
        self.clock.advance(10.0)
        probe = self.call(self.send)
        probe.cancel()
        self.failureResultOf(probe, CancelledError)
        self.call(self.send)
        self.peer.answer('well')
        self.assertFalse(self.meter.circuit_open)


class TwoAttempts:
    """Repeats once, a second later, what PeerDownError or 'unwell' ended."""

    def __init__(self) -> None:
        self.discarded: list[str] = []

    def after_error(self, request: str, attempts: int, error: Exception) -> float | None:
        return 1.0 if attempts == 1 and isinstance(error, PeerDownError) else None

    def after_response(self, request: str, attempts: int, response: str) -> float | None:
        return 1.0 if attempts == 1 and response == 'unwell' else None

    def discard(self, response: str) -> None:
        self.discarded.append(response)

    def ends_retries(self, request: str, error: Exception) -> bool:
        return isinstance(error, CircuitOpen)


class RetryingTests(PolicyCase):
    def setUp(self) -> None:
        super().setUp()
        self.decision = TwoAttempts()
        self.send = Retrying[str, str](self.peer.send, self.decision, self.clock, self.meter,
                                       CallRetryBudget(share=0.0, min_retries=1)).send  # fmt: skip

    def test_an_error_is_repeated(self) -> None:
        """After the pause that the decision gives, the request is sent again; its response is the call's."""
        calling = self.call(self.send)
        self.peer.fail_all(PeerDownError())
        self.clock.advance(0.9)
        self.assertEqual(len(self.peer.calls), 1)
        self.clock.advance(0.1)
        self.peer.answer('well')
        self.assertEqual((self.successResultOf(calling), self.meter.retries), ('well', 1))

    def test_a_response_is_repeated(self) -> None:
        """A response that is not wanted is discarded; the error of the last attempt is the call's."""
        calling = self.call(self.send)
        self.peer.answer('unwell')
        self.clock.advance(1.0)
        self.peer.fail_all(PeerDownError())
        self.failureResultOf(calling, PeerDownError)
        self.assertEqual(self.decision.discarded, ['unwell'])

    def test_a_further_attempt_that_is_not_made(self) -> None:
        """Where the circuit breaker opened meanwhile, the outcome of the attempt before is the call's."""
        calling = self.call(self.send)
        self.peer.fail_all(PeerDownError())
        self.clock.advance(1.0)
        self.peer.fail_all(CircuitOpen(5.0))
        self.failureResultOf(calling, PeerDownError)

    def test_the_budget(self) -> None:
        """A connection whose retry budget is used up repeats nothing."""
        first = self.call(self.send)
        self.peer.fail_all(PeerDownError())
        self.clock.advance(1.0)
        self.peer.answer('well')
        self.successResultOf(first)
        second = self.call(self.send)
        self.peer.fail_all(PeerDownError())
        self.failureResultOf(second, PeerDownError)

    def test_a_caller_who_gives_up(self) -> None:
        """Cancelling ends the attempt or the pause, and no attempt follows."""
        calling = self.call(self.send)
        self.peer.fail_all(PeerDownError())
        calling.cancel()
        self.failureResultOf(calling, CancelledError)
        self.clock.advance(2.0)
        self.assertEqual(len(self.peer.calls), 1)


class BulkheadTests(PolicyCase):
    def test_a_full_one_rejects(self) -> None:
        """Calls beyond the limit fail at once; a call that ends makes room for another."""
        send = Bulkhead[str, str](self.peer.send, 1).send
        first = self.call(send)
        self.failureResultOf(self.call(send), BulkheadFull)
        self.peer.answer('well')
        self.successResultOf(first)
        self.call(send)
        self.assertEqual(len(self.peer.calls), 2)


class TimeLimitTests(PolicyCase):
    def test_a_late_call(self) -> None:
        """A call that takes longer than its request may is cancelled and fails with the limit."""
        send = TimeLimit[str, str](self.peer.send, self.clock, lambda request: 3.0).send
        calling = self.call(send)
        self.clock.advance(3.0)
        self.assertEqual(self.failureResultOf(calling, CallTimedOut).value.seconds, 3.0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_caller_who_gives_up(self) -> None:
        """Being cancelled by the caller is not a timeout, and leaves no timer."""
        send = TimeLimit[str, str](self.peer.send, self.clock, lambda request: 3.0).send
        calling = self.call(send)
        calling.cancel()
        self.failureResultOf(calling, CancelledError)
        self.assertEqual(self.clock.getDelayedCalls(), [])
