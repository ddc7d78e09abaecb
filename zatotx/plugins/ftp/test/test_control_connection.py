"""The control connection, time limits and the pool, in memory."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.scripted_ftp import ControlTransport, lines
from zatotx.plugins.ftp.client.control_connection import ControlConnection
from zatotx.plugins.ftp.client.errors import ConnectionClosed, Unreachable
from zatotx.plugins.ftp.client.pool import SessionPool
from zatotx.plugins.ftp.client.progress import NoProgress, ProgressLimit
from zatotx.plugins.ftp.wire import FtpReply, InvalidReply


class ControlTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.lost: list[None] = []
        self.control = ControlConnection(lost=lambda: self.lost.append(None))
        self.server = ControlTransport()
        self.control.makeConnection(self.server)

    def connected(self) -> None:
        """The greeting has come."""
        greeting = self.control.reply()
        self.control.dataReceived(b'220 ready\r\n')
        self.assertEqual(self.successResultOf(greeting), FtpReply(220, ('ready',)))

    def test_commands(self) -> None:
        """A command is sent when it is its turn, and fires with the reply to it; a preliminary one is followed by
        another."""
        self.assertFalse(self.control.is_synchronized)
        self.connected()
        self.assertTrue(self.control.is_synchronized)
        first = self.control.send('RETR', 'ö')
        self.assertEqual(lines(self.server), ['RETR ö'.encode()])
        self.control.dataReceived(b'150 here\r\n226 done\r\n')
        self.assertEqual(self.successResultOf(first).code, 150)
        self.assertFalse(self.control.is_synchronized)
        self.assertEqual(self.successResultOf(self.control.reply()).code, 226)
        self.assertTrue(self.control.is_synchronized)

    def test_unasked_reply(self) -> None:
        """A reply that nothing asked for is taken for none to the next command. That of a server that closes is
        shown."""
        self.connected()
        self.control.dataReceived(b'421 idle for too long\r\n')
        self.assertFalse(self.control.is_synchronized)
        error = self.failureResultOf(self.control.send('NOOP'), ConnectionClosed).value
        self.assertIn('421 idle for too long', str(error))
        self.assertEqual(lines(self.server), [])
        other = ControlConnection()
        other.makeConnection(ControlTransport())
        other.dataReceived(b'220 ready\r\n230 what?\r\n')
        self.assertEqual(self.successResultOf(other.reply()).code, 220)
        self.failureResultOf(other.send('NOOP'), InvalidReply)

    def test_lost(self) -> None:
        """A lost connection fails the command under way and those after it."""
        self.connected()
        sending = self.control.send('NOOP')
        self.control.connectionLost()
        self.failureResultOf(sending, ConnectionClosed)
        self.failureResultOf(self.control.send('NOOP'), ConnectionClosed)
        self.assertEqual(self.lost, [None])

    def test_last_words(self) -> None:
        """A reply that came before the connection was lost is still read."""
        self.connected()
        self.successResultOf(succeed(None))
        sending = self.control.send('NOOP')
        self.control.dataReceived(b'150 x\r\n426 cut\r\n')
        self.control.connectionLost()
        self.assertEqual(self.successResultOf(sending).code, 150)
        self.assertEqual(self.successResultOf(self.control.reply()).code, 426)
        self.failureResultOf(self.control.reply(), ConnectionClosed)

    def test_nonsense(self) -> None:
        """A server that does not speak FTP is cut off."""
        greeting = self.control.reply()
        self.control.dataReceived(b'HTTP/1.1 400 Bad Request\r\n')
        self.failureResultOf(greeting, InvalidReply)
        self.assertTrue(self.server.aborted)

    def test_cancelled(self) -> None:
        """After a command that was cancelled the connection is out of step, and takes no other one."""
        self.connected()
        sending = self.control.send('NOOP')
        sending.cancel()
        self.failureResultOf(sending, CancelledError)
        self.assertFalse(self.control.is_synchronized)
        self.failureResultOf(self.control.send('NOOP'), InvalidReply)

    def test_injected_command(self) -> None:
        """A path with a line end is not sent."""
        self.connected()
        self.assertRaises(ValueError, self.control.send, 'RETR', 'a\r\nDELE b')
        self.assertEqual(lines(self.server), [])
        self.assertTrue(self.control.is_synchronized)

    def test_quit(self) -> None:
        """Closing says goodbye, unless a reply is outstanding."""
        self.connected()
        self.control.quit()
        self.assertEqual(lines(self.server), [b'QUIT'])
        self.assertTrue(self.server.disconnecting)


class ProgressTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.limit = ProgressLimit(self.clock, 10.0)
        self.moved = 0

    def waiting(self, deferred: Deferred[Any], **measure: Any) -> Deferred[Any]:
        return Deferred.fromCoroutine(self.limit.wait(deferred, **measure))

    def test_result(self) -> None:
        """The result is passed on, and no timer is left."""
        deferred: Deferred[int] = Deferred()
        waiting = self.waiting(deferred)
        deferred.callback(5)
        self.assertEqual(self.successResultOf(waiting), 5)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_no_progress(self) -> None:
        """A wait without progress ends after the timeout."""
        waiting = self.waiting(Deferred())
        self.clock.advance(9.9)
        self.assertNoResult(waiting)
        self.clock.advance(0.2)
        self.failureResultOf(waiting, NoProgress)

    def test_progress(self) -> None:
        """Progress extends the wait; its end is noticed within a tenth of the timeout."""
        waiting = self.waiting(Deferred(), measure=lambda: self.moved)
        for _ in range(50):
            self.moved += 1
            self.clock.advance(9.0)
            self.assertNoResult(waiting)
        self.clock.pump([0.1] * 105)
        self.failureResultOf(waiting, NoProgress)

    def test_cancelled(self) -> None:
        """Cancelling the wait is not a timeout."""
        waiting = self.waiting(Deferred())
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class FakeSession:
    """A session that is usable until a test says otherwise."""

    def __init__(self, lost: Any) -> None:
        self.lost = lost
        self.is_usable = True
        self.state = ''

    def resume(self) -> None:
        self.state = 'resumed'

    def close(self) -> None:
        self.state = 'closed'
        self.lost()

    def abort(self) -> None:
        self.state = 'aborted'


class PoolTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.made: list[FakeSession] = []
        self.error: Exception | None = None
        self.pool = SessionPool(self.clock, self.connect, size=2, idle_timeout=30.0)

    async def connect(self, lost: Any) -> Any:
        if self.error is not None:
            raise self.error
        self.made.append(FakeSession(lost))
        return self.made[-1]

    def acquire(self, **options: bool) -> Deferred[Any]:
        return Deferred.fromCoroutine(self.pool.acquire(**options))

    def test_reuse(self) -> None:
        """A session that was released serves the next operation, unless it cannot be used again."""
        first: Any = self.successResultOf(self.acquire())
        self.pool.release(first)
        self.assertIs(self.successResultOf(self.acquire()), first)
        self.assertEqual(first.state, 'resumed')
        first.is_usable = False
        self.pool.release(first)
        self.assertEqual(first.state, 'aborted')
        self.assertIsNot(self.successResultOf(self.acquire()), first)

    def test_limit(self) -> None:
        """Operations beyond the size wait in order, and may give up."""
        one, two = self.successResultOf(self.acquire()), self.successResultOf(self.acquire())
        third, fourth, fifth = self.acquire(), self.acquire(), self.acquire()
        third.cancel()
        self.failureResultOf(third, CancelledError)
        self.pool.release(one)
        self.assertIs(self.successResultOf(fourth), one)
        self.assertNoResult(fifth)
        self.pool.release(two)
        self.assertIs(self.successResultOf(fifth), two)
        self.assertEqual(len(self.made), 2)

    def test_idle(self) -> None:
        """A session that is idle for too long is closed; one that the server closes is dropped."""
        for _ in range(2):
            session = self.successResultOf(self.acquire())
            self.pool.release(session)
        self.assertEqual(self.pool.idle_count, 1)
        self.clock.advance(30.0)
        self.assertEqual((self.pool.idle_count, self.made[0].state), (0, 'closed'))
        session = self.successResultOf(self.acquire())
        self.pool.release(session)
        session.lost()
        self.assertEqual(self.pool.idle_count, 0)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_new(self) -> None:
        """After a stale session the other idle ones are not tried one by one."""
        one, two = self.successResultOf(self.acquire()), self.successResultOf(self.acquire())
        self.pool.release(one)
        self.pool.release(two)
        self.assertNotIn(self.successResultOf(self.acquire(is_new=True)), (one, two))
        self.assertEqual(self.pool.idle_count, 0)

    def test_failed_login(self) -> None:
        """A session that cannot be made leaves its place to the next operation."""
        self.error = Unreachable('no')
        for _ in range(5):
            self.failureResultOf(self.acquire(), Unreachable)
        self.error = None
        self.successResultOf(self.acquire())

    def test_retired(self) -> None:
        """A retired pool keeps no session, and serves on."""
        one, two = self.successResultOf(self.acquire()), self.successResultOf(self.acquire())
        self.pool.release(one)
        self.pool.retire()
        self.assertEqual(one.state, 'closed')
        self.pool.release(two)
        self.assertEqual(two.state, 'closed')
        self.successResultOf(self.acquire())

    def test_closed(self) -> None:
        """A closed pool waits for the operations under way, and takes no other; cancelling cuts them."""
        session = self.successResultOf(self.acquire())
        closing = self.pool.close()
        self.failureResultOf(self.acquire(), Unreachable)
        self.assertNoResult(closing)
        self.pool.release(session)
        self.successResultOf(closing)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.successResultOf(self.pool.close())
