"""zatotx.connectors.connection_supervisor: a long-lived connection is kept up."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from zatotx.connectors.connection_supervisor import (
    BACKOFF,
    CONNECT_TIMEOUT,
    DEMAND_INTERVAL,
    STABLE,
    ConnectionState,
    ConnectionSupervisor,
)
from zatotx.connectors.failure_log import FailureLogGroup


class SupervisorTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.attempts: list[Deferred[str]] = []
        self.events: list[str] = []
        self.closing: Deferred[None] | None = None
        self.supervisor = ConnectionSupervisor[str](
            'Definition rabbit (amqp)', self.connect, self.close, clock=self.clock,
            up=lambda connection: self.events.append(f'up {connection}'), down=lambda: self.events.append('down'),
            random=lambda: 1.0,
        )  # fmt: skip

    def connect(self) -> Deferred[str]:
        attempt: Deferred[str] = Deferred()
        self.attempts.append(attempt)
        return attempt

    def close(self, connection: str) -> Deferred[None]:
        self.events.append(f'close {connection}')
        self.closing = Deferred()
        return self.closing

    def bring_up(self, connection: str = 'first') -> None:
        if self.supervisor.state is ConnectionState.STOPPED:
            self.supervisor.start()
        self.attempts[-1].callback(connection)

    def test_it_comes_up(self) -> None:
        """A started supervisor connects, hands over the connection, and answers whoever waits for it."""
        waiting = self.supervisor.when_up()
        self.supervisor.start()
        self.supervisor.start()
        self.assertEqual((self.supervisor.state, len(self.attempts)), (ConnectionState.CONNECTING, 1))
        self.bring_up()
        self.assertEqual(self.supervisor.state, ConnectionState.UP)
        self.assertEqual(self.events, ['up first'])
        self.assertEqual(self.successResultOf(waiting), 'first')
        self.assertEqual(self.successResultOf(self.supervisor.when_up()), 'first')
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_lost_connection_is_replaced(self) -> None:
        """The loss is announced at once; the next attempt follows after the backoff."""
        self.bring_up()
        self.supervisor.lost('connection reset')
        self.assertEqual((self.supervisor.state, self.supervisor.connection), (ConnectionState.WAITING, None))
        self.assertEqual(list(self.supervisor.findings()),
                         ['Definition rabbit (amqp) is not connected: connection reset'])  # fmt: skip
        self.clock.advance(BACKOFF)
        self.bring_up('second')
        self.assertEqual(self.events, ['up first', 'down', 'up second'])
        self.assertEqual(list(self.supervisor.findings()), [])

    def test_the_backoff_grows_until_it_is_stable(self) -> None:
        """Each failure doubles the pause; a connection that stays up for a while begins with the first pause again."""
        self.supervisor.start()
        for doubled in (1, 2, 4):
            self.attempts[-1].errback(ConnectionRefusedError('refused'))
            self.clock.advance(BACKOFF * doubled - 0.01)
            before = len(self.attempts)
            self.clock.advance(0.01)
            self.assertEqual(len(self.attempts), before + 1)
        self.bring_up()
        self.clock.advance(STABLE)
        self.supervisor.lost('gone')
        self.clock.advance(BACKOFF)
        self.assertEqual(len(self.attempts), 5)

    def test_a_call_ends_the_backoff(self) -> None:
        """A call that needs the connection causes an attempt at once, but not right after one that failed."""
        self.supervisor.start()
        for _ in range(6):  # a long backoff
            self.attempts[-1].errback(OSError('refused'))
            self.clock.advance(BACKOFF * 64)
        self.attempts[-1].errback(OSError('refused'))
        count = len(self.attempts)
        self.assertFalse(self.supervisor.connect_now())
        self.clock.advance(DEMAND_INTERVAL)
        self.assertTrue(self.supervisor.connect_now())
        self.assertTrue(self.supervisor.connect_now())  # it is under way
        self.assertEqual(len(self.attempts), count + 1)
        self.bring_up()
        self.assertFalse(self.supervisor.connect_now())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_one_line_a_change(self) -> None:
        """The log says once that a peer is unavailable, however many attempts fail, and once that it works again."""
        with capturedLogs() as events:
            self.supervisor.start()
            for _ in range(4):
                self.attempts[-1].errback(ConnectionRefusedError('refused'))
                self.clock.advance(60.0)
            self.bring_up()
        self.assertEqual([formatEvent(event) for event in events],
                         ['Definition rabbit (amqp): refused', 'Definition rabbit (amqp) works again'])  # fmt: skip

    def test_one_line_for_a_group(self) -> None:
        """Of connections that share a log, one line says that they fail, and one that all of them work again."""
        group = FailureLogGroup('Channel in (jms-wmq)', self.clock.seconds)
        attempts: list[Deferred[str]] = []

        def connect() -> Deferred[str]:
            attempts.append(Deferred())
            return attempts[-1]

        members = [ConnectionSupervisor('x', connect, self.close, clock=self.clock, up=str, down=list,
                                        failures=group.make_log()) for _ in range(100)]  # fmt: skip
        with capturedLogs() as events:
            for member in members:
                member.start()
            for _ in range(3):
                failing, attempts = attempts, []
                for attempt in failing:
                    attempt.errback(ConnectionRefusedError('refused'))
                self.clock.advance(60.0)
            self.assertTrue(all('refused' in next(member.findings()) for member in members))
            for attempt in attempts:
                self.assertEqual(len(events), 1)
                attempt.callback('up')
        self.assertEqual([formatEvent(event) for event in events],
                         ['Channel in (jms-wmq): refused', 'Channel in (jms-wmq) works again'])  # fmt: skip

    def test_an_attempt_that_takes_too_long(self) -> None:
        """A peer that accepts and then says nothing is given up after the timeout."""
        self.supervisor.start()
        self.clock.advance(CONNECT_TIMEOUT)
        self.assertEqual(self.supervisor.state, ConnectionState.WAITING)
        self.assertIn('no connection within 10 s', self.supervisor.failures.cause)

    def test_stop_closes(self) -> None:
        """Stopping closes the connection, tells who used it, and connects no more."""
        self.bring_up()
        stopped = self.supervisor.stop()
        self.assertEqual(self.events, ['up first', 'down', 'close first'])
        self.assertNoResult(stopped)
        assert self.closing is not None
        self.closing.callback(None)
        self.successResultOf(stopped)
        self.supervisor.lost('late')
        self.clock.advance(100.0)
        self.assertEqual((self.supervisor.state, len(self.attempts)), (ConnectionState.STOPPED, 1))

    def test_stop_while_connecting_or_waiting(self) -> None:
        """An attempt under way is cancelled, a pause ends, and whoever waits is released."""
        waiting = self.supervisor.when_up()
        self.supervisor.start()
        self.successResultOf(self.supervisor.stop())
        self.failureResultOf(waiting, CancelledError)
        self.supervisor.start()
        self.attempts[-1].errback(ConnectionRefusedError('refused'))
        self.successResultOf(self.supervisor.stop())
        self.assertEqual((self.clock.getDelayedCalls(), len(self.attempts)), ([], 2))

    def test_a_connection_that_does_not_answer_is_dropped(self) -> None:
        """`drop` closes it and connects anew; a failure of closing is logged."""
        self.bring_up()
        self.supervisor.drop('no heartbeat')
        assert self.closing is not None
        self.closing.errback(OSError('broken pipe'))
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)
        self.clock.advance(BACKOFF)
        self.bring_up('second')
        self.assertEqual(self.events, ['up first', 'down', 'close first', 'up second'])

    def test_waiting_may_be_cancelled(self) -> None:
        """Whoever gives up waiting is forgotten."""
        waiting = self.supervisor.when_up()
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.bring_up()
