"""Tests of the comparison of secrets alone: who waits, how many may, and what is counted."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from zatotx.model.errors import ServiceUnavailable, TooManyRequests, Unauthorized
from zatotx.model.message import Message, Principal
from zatotx.pipeline.security import secret_comparison
from zatotx.pipeline.security.secret_comparison import SecretComparison, caller_address, caller_network, equal_secrets
from zatotx.testing.pipeline_doubles import make_message

JOE = Principal('joe', kind='basic_auth')


def message(peer: str = '192.0.2.1') -> Message:
    made = make_message()
    assert made.http is not None
    made.http.peer = peer
    return made


class ComparisonTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.comparison = SecretComparison(self.clock)
        self.attempts = self.comparison.attempts_for('basic_auth joe')

    def fail_often(self, times: int, network: str = '192.0.2.1') -> None:
        for _ in range(times):
            self.attempts.count_failure(network)

    def test_how_many_wait(self) -> None:
        """Thirty-two attempts of a network may wait, and a thousand in all; each that leaves makes room for one."""
        for _ in range(32):
            self.comparison.enter_waiting('a', 1.5)
        many = self.assertRaises(TooManyRequests, self.comparison.enter_waiting, 'a', 1.5)
        self.assertEqual(many.retry_after, 2)
        for number in range(1_000 - 32):
            self.comparison.enter_waiting(f'b{number}', 1.0)
        full = self.assertRaises(ServiceUnavailable, self.comparison.enter_waiting, 'c', 2.5)
        self.assertEqual(full.retry_after, 3)
        self.comparison.leave_waiting('a')
        self.comparison.enter_waiting('c', 1.0)
        self.assertRaises(ServiceUnavailable, self.comparison.enter_waiting, 'd', 1.0)
        self.comparison.leave_waiting('c')
        self.comparison.enter_waiting('a', 1.0)
        self.assertRaises(TooManyRequests, self.comparison.enter_waiting, 'a', 1.0)
        for _ in range(32):
            self.comparison.leave_waiting('a')
        self.assertNotIn('a', self.comparison._waiting)
        self.assertNotIn('c', self.comparison._waiting)

    def test_digests(self) -> None:
        """Digests tell parts apart, are repeatable, and differ from process to process."""
        digest = self.comparison.digest
        self.assertEqual((digest(b'a', b'b'), len(digest(b'a'))), (digest(b'a', b'b'), 16))
        elsewhere = SecretComparison(self.clock).digest(b'a')
        self.assertEqual(len({digest(b'a', b'b'), digest(b'ab'), digest(b'a'), elsewhere}), 4)
        self.assertTrue(equal_secrets(b'a', b'a'))
        self.assertFalse(equal_secrets(b'a', b'b'))
        self.assertIs(self.comparison.attempts_for('basic_auth joe'), self.attempts)
        self.assertIsNot(self.comparison.attempts_for('basic_auth jim'), self.attempts)

    def test_delays(self) -> None:
        """An address beyond the limit waits; one that was admitted before does not, up to the limit of the secret."""
        self.assertEqual(self.attempts.delay(message()), 0.0)
        self.fail_often(20)
        self.assertEqual(self.attempts.delay(message()), 0.0)
        self.fail_often(1)
        self.assertEqual(self.attempts.delay(message()), 0.5)
        self.assertEqual(self.attempts.delay(message('192.0.2.2')), 0.0)
        other = self.comparison.attempts_for('basic_auth jim')
        other.record_success(message())
        self.assertEqual((other.delay(message()), self.attempts.delay(message())), (0.0, 0.5))
        self.attempts.record_success(message())
        self.assertEqual(self.attempts.delay(message()), 0.5)
        waited = message()
        waited.was_throttled = True
        self.assertEqual(self.attempts.delay(waited), 0.0)

    def test_an_attempt_that_waits(self) -> None:
        """It counts as a failure at once, is compared after its delay, and is forgiven if it was right."""
        self.fail_often(21)
        for result, left in ((JOE, 0.5), (Unauthorized(None, None, ''), 1.0)):
            sent = message()

            def then(result: Any = result) -> Principal:
                if isinstance(result, Principal):
                    return result
                raise result

            waiting = Deferred.fromCoroutine(self.attempts.wait(sent, 0.5, then))
            self.assertEqual(self.attempts.delay(message()), 1.0)
            self.assertTrue(sent.was_throttled)
            self.assertEqual(self.comparison._waiting, {'192.0.2.1': 1})
            self.clock.pump([0.25] * 2)
            if isinstance(result, Principal):
                self.assertIs(self.successResultOf(waiting), result)
            else:
                self.assertIs(self.failureResultOf(waiting).value, self.attempts.record_failure(sent, result))
            self.assertEqual((self.attempts.delay(message()), self.comparison._waiting), (left, {}))

    def test_a_result_that_takes_time(self) -> None:
        """The comparison itself may take time; who cancels is not forgiven."""
        self.fail_often(21)
        found: Deferred[Principal] = Deferred()
        waiting = Deferred.fromCoroutine(self.attempts.wait(message(), 0.5, lambda: found))
        self.clock.advance(0.5)
        self.assertNoResult(waiting)
        found.callback(JOE)
        self.assertIs(self.successResultOf(waiting), JOE)
        gone = Deferred.fromCoroutine(self.attempts.wait(message(), 0.5, lambda: JOE))
        gone.addErrback(lambda _: None).cancel()
        self.assertEqual((self.comparison._waiting, self.attempts.delay(message())), ({}, 1.0))

    def test_refusals(self) -> None:
        """A failed attempt counts once: when it waited it was counted before."""
        error, sent = Unauthorized(None, None, ''), message()
        for _ in range(21):
            self.assertIs(self.attempts.record_failure(sent, error), error)
        self.assertEqual(self.attempts.delay(message()), 0.5)
        sent.was_throttled = True
        self.attempts.record_failure(sent, error)
        self.assertEqual(self.attempts.delay(message()), 0.5)
        self.attempts.uncount_failure('192.0.2.1')
        self.assertEqual(self.attempts.delay(message()), 0.0)

    def test_addresses(self) -> None:
        """The addresses of callers are kept in order, up to a maximum; the connection remembers who admitted it."""
        self.patch(secret_comparison, 'MAX_ADDRESSES', 2)
        check = object()
        for peer in ('192.0.2.1', '192.0.2.2', '192.0.2.1', '192.0.2.3'):
            sent = message(peer)
            self.attempts.record_success(sent, check)
            assert sent.http is not None
            self.assertIs(sent.http.authenticated_by, check)
        self.assertEqual([*self.attempts.admitted_addresses], ['192.0.2.2', '192.0.2.3'])
        sent = message()
        self.attempts.record_success(sent)
        assert sent.http is not None
        self.assertIsNone(sent.http.authenticated_by)
        sent.http = None
        self.attempts.record_success(sent, check)
        self.assertEqual((caller_address(sent), caller_network(sent)), ('', ''))
        self.assertEqual(caller_network(message('2001:db8::1')), '2001:db8:0:0')
