"""Retries of the work stream, and which nodes are dead."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from zatotx.model.work_message import WorkMessage
from zatotx.rules.resilience.dead_node_detection import NodeLiveness, NodeObservation
from zatotx.rules.resilience.process_supervision import DEATH_WINDOW, MAX_DEATHS
from zatotx.rules.resilience.work_retry import (
    CRASHED,
    delay_after_crash,
    is_exhausted,
    is_expired,
    record_crashed_runs,
    record_failed_run,
    work_retry_delay,
)

MESSAGE = WorkMessage(id='i', cid='c', service='s')


class RetryTests(SynchronousTestCase):
    def test_default_attempts(self) -> None:
        """Five attempts with growing delays that end within 40 seconds, whatever the jitter is."""
        for random in (0.0, 0.999):
            message, delays = MESSAGE, []
            while True:
                message = record_failed_run(message, 'x', 10.0 + message.attempts)
                delay = work_retry_delay(message, 500, lambda: random)  # noqa: B023
                if delay is None:
                    break
                delays.append(delay)
            self.assertEqual((message.attempts, message.first_failed, message.last_failed), (5, 10.0, 14.0))
            self.assertEqual(len(delays), 4)
            self.assertEqual(delays, sorted(delays))
            self.assertLess(sum(delays), 35)

    def test_permanent_errors(self) -> None:
        """Errors that say that the message is wrong are not retried, except too many requests."""
        failed = record_failed_run(MESSAGE, 'x', 1.0)
        for status, retried in ((400, False), (404, False), (429, True), (500, True), (503, True)):
            self.assertEqual(work_retry_delay(failed, status, lambda: 0.0) is not None, retried, status)

    def test_crashes(self) -> None:
        """A message whose process died runs again at once, then after growing delays, so that it does not end the
        processes of a server faster than the server gives up."""
        first = record_crashed_runs(MESSAGE, 1, 5.0)
        self.assertEqual((first.attempts, first.cause, delay_after_crash(first, lambda: 0.0)), (1, CRASHED, 0.0))
        moments = [0.0]
        for crashes in range(1, MAX_DEATHS):
            moments.append(moments[-1] + delay_after_crash(record_crashed_runs(MESSAGE, crashes, 5.0), lambda: 0.999))
        self.assertFalse(is_exhausted(record_crashed_runs(MESSAGE, 4, 5.0)))
        self.assertTrue(is_exhausted(record_crashed_runs(MESSAGE, 5, 5.0)))
        # Each new process takes a second to start before it can crash.
        self.assertGreater(moments[-1] + MAX_DEATHS - 1, DEATH_WINDOW)

    def test_expiration(self) -> None:
        """Only a message with an expiration expires."""
        self.assertFalse(is_expired(MESSAGE, 1e12))
        message = WorkMessage(id='i', cid='c', service='s', expires_at=5.0)
        self.assertEqual([is_expired(message, now) for now in (4.9, 5.0)], [False, True])


def rows(**seen: float) -> dict[int, NodeObservation]:
    return {int(name[1:]): NodeObservation(at, True) for name, at in seen.items()}


class NodeSilenceTests(SynchronousTestCase):
    def test_silent_node(self) -> None:
        """A node is dead after three heartbeats of the observer without one of its own, and lives again after one."""
        silences = NodeLiveness().after(rows(n1=1.0, n2=1.0), 0.0)
        dead = []
        for beat in range(1, 5):
            silences = silences.after(rows(n1=1.0 + beat, n2=1.0), 2.0 * beat)
            dead.append(silences.is_dead(2))
        self.assertEqual(dead, [False, False, True, True])
        self.assertFalse(silences.is_dead(1))
        self.assertFalse(silences.after(rows(n1=9.0, n2=2.0), 10.0).is_dead(2))

    def test_after_an_outage(self) -> None:
        """Time during which the observer did not run, or could not write, counts for nobody."""
        silences = NodeLiveness().after(rows(n2=1.0), 0.0).after(rows(n2=1.0), 2.0)
        self.assertFalse(silences.after(rows(n2=1.0), 1000.0).is_dead(2))
        self.assertFalse(NodeLiveness().after(rows(n2=1.0), 1002.0).is_dead(2))

    def test_stopped(self) -> None:
        """A node that was stopped is dead at once."""
        self.assertTrue(NodeLiveness().after({2: NodeObservation(1.0, False)}, 0.0).is_dead(2))

    def test_without_a_row(self) -> None:
        """A node without a row is dead after a while only: it may have registered after the rows were read."""
        silences = NodeLiveness().after(rows(n1=1.0), 0.0)
        self.assertFalse(silences.is_dead(7))
        for beat in range(1, 5):
            silences = silences.after(rows(n1=1.0 + beat), 2.0 * beat, [7])
        self.assertTrue(silences.is_dead(7))
