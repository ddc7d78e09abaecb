"""zatotx.connectors.blocking_pool: threads for drivers that block."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.reactor import as_reactor
from trial_tests.support.thread_clock import PATIENCE, ThreadClock
from zatotx.connectors.blocking_pool import BlockingPool, BlockingPoolClosed
from zatotx.connectors.call_policies import CallTimedOut


class Statement:
    """A driver's call that blocks until it is told to end, or interrupted."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.may_end = threading.Event()
        self.interrupt_may_end = threading.Event()
        self.interrupt_may_end.set()
        self.interrupts = 0

    def run(self, result: str = 'row') -> str:
        self.begun.set()
        assert self.may_end.wait(PATIENCE)
        return result

    def interrupt(self) -> None:
        self.interrupts += 1
        self.may_end.set()
        assert self.interrupt_may_end.wait(PATIENCE)

    def wait_begun(self) -> None:
        assert self.begun.wait(PATIENCE)


class BlockingPoolTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = ThreadClock()
        self.pool = BlockingPool(as_reactor(self.clock), 1, 'test-pool')
        self.addCleanup(self.end)

    def end(self) -> None:
        closed = self.pool.close()
        while not closed.called:
            self.clock.turn()

    def run_in_pool(self, function: Callable[[], Any], interrupt: Callable[[], Any] | None = None) -> Deferred[Any]:
        return self.pool.run(function, timeout=5.0, interrupt=interrupt)

    def begin(self, interrupt: bool = True) -> tuple[Statement, Deferred[Any]]:
        """A statement that is running."""
        statement = Statement()
        self.addCleanup(statement.may_end.set)
        calling = self.run_in_pool(statement.run, statement.interrupt if interrupt else None)
        statement.wait_begun()
        return statement, calling

    def test_a_result_comes_back(self) -> None:
        """The result of the function, or what it raised, ends the Deferred in the reactor; its timer is gone."""
        calling = self.pool.run(divmod, 7, 2, timeout=5.0)
        self.clock.turn()
        self.assertEqual(self.successResultOf(calling), (3, 1))
        failing = self.pool.run(divmod, 7, 0, timeout=5.0)
        self.clock.turn()
        self.failureResultOf(failing, ZeroDivisionError)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_calls_beyond_the_size_wait_in_order(self) -> None:
        """One thread runs one call at a time; the others follow in the order in which they were made."""
        statement, first = self.begin()
        order: list[int] = []
        others = [self.run_in_pool(partial(order.append, number)) for number in range(3)]
        self.assertEqual((self.pool.running, self.pool.waiting), (1, 3))
        statement.may_end.set()
        for _ in range(4):
            self.clock.turn()
        self.assertEqual(self.successResultOf(first), 'row')
        self.assertEqual(order, [0, 1, 2])
        for other in others:
            self.successResultOf(other)

    def test_the_timeout_includes_the_wait(self) -> None:
        """A call that waits for a thread longer than its timeout fails, and is never begun."""
        _, first = self.begin()
        begun: list[str] = []
        waiting = self.run_in_pool(lambda: begun.append('late'))
        first.addErrback(lambda _: None)
        self.clock.advance(5.0)
        self.assertEqual(self.failureResultOf(waiting, CallTimedOut).value.seconds, 5.0)
        self.clock.turn()
        self.clock.turn()
        self.assertEqual((begun, self.pool.running), ([], 0))

    def test_a_call_that_times_out_is_interrupted(self) -> None:
        """At its deadline the Deferred fails at once, and the driver's call is ended by its interrupt."""
        statement, calling = self.begin()
        self.clock.advance(4.9)
        self.assertNoResult(calling)
        self.clock.advance(0.1)
        self.failureResultOf(calling, CallTimedOut)
        self.assertEqual(self.pool.running, 1)  # until both threads are through
        self.clock.turn()
        self.clock.turn()
        self.assertEqual((statement.interrupts, self.pool.running), (1, 0))

    def test_an_interrupt_never_hits_the_next_call(self) -> None:
        """The slot of a call that timed out is free only when its interrupt has returned, too."""
        statement, calling = self.begin()
        statement.interrupt_may_end.clear()
        self.clock.advance(5.0)
        self.failureResultOf(calling, CallTimedOut)
        following = self.run_in_pool(lambda: 'next')
        self.clock.turn()  # the call itself has returned
        self.assertEqual((self.pool.running, self.pool.waiting), (1, 1))
        statement.interrupt_may_end.set()
        self.clock.turn()  # its interrupt has, too
        self.clock.turn()
        self.assertEqual(self.successResultOf(following), 'next')

    def test_a_cancelled_call_is_interrupted(self) -> None:
        """Whoever cancels the Deferred gets CancelledError at once; the driver's call is interrupted."""
        statement, calling = self.begin()
        calling.cancel()
        self.failureResultOf(calling, CancelledError)
        self.clock.turn()
        self.clock.turn()
        self.assertEqual((statement.interrupts, self.pool.running), (1, 0))

    def test_an_interrupt_that_fails_is_logged(self) -> None:
        """A peer that cannot be asked to cancel does not keep the slot once the call has returned."""
        statement = Statement()

        def interrupt() -> None:
            statement.may_end.set()
            raise ConnectionError('gone')

        calling = self.run_in_pool(statement.run, interrupt)
        statement.wait_begun()
        self.clock.advance(5.0)
        self.failureResultOf(calling, CallTimedOut)
        self.clock.turn()
        self.clock.turn()
        self.assertEqual(len(self.flushLoggedErrors(ConnectionError)), 1)
        self.assertEqual(self.pool.running, 0)

    def test_a_call_without_an_interrupt_keeps_its_slot(self) -> None:
        """Where a driver cannot be interrupted, the slot is in use until its call returns by itself."""
        statement, calling = self.begin(interrupt=False)
        self.clock.advance(5.0)
        self.failureResultOf(calling, CallTimedOut)
        self.assertEqual(self.pool.running, 1)
        statement.may_end.set()
        self.clock.turn()
        self.assertEqual(self.pool.running, 0)

    def test_closing(self) -> None:
        """A pool that closes fails what waits, interrupts what runs, takes nothing more, and says when it is over."""
        statement, running = self.begin()
        waiting = self.run_in_pool(lambda: 'never')
        closed = self.pool.close()
        self.failureResultOf(running, BlockingPoolClosed)
        self.failureResultOf(waiting, BlockingPoolClosed)
        self.failureResultOf(self.run_in_pool(lambda: 'late'), BlockingPoolClosed)
        self.assertNoResult(closed)
        self.clock.turn()
        self.clock.turn()
        self.successResultOf(closed)
        self.successResultOf(self.pool.close())
        self.assertEqual(statement.interrupts, 1)


class AbandonedCallTests(SynchronousTestCase):
    """Drivers that cannot be interrupted: a pool of one slot that abandons one call."""

    def setUp(self) -> None:
        self.clock = ThreadClock()
        self.pool = BlockingPool(as_reactor(self.clock), 1, 'test-pool', max_abandoned=1)

    def begin(self) -> tuple[Statement, Deferred[Any]]:
        """A statement that is running."""
        statement = Statement()
        self.addCleanup(statement.may_end.set)
        calling = self.pool.run(statement.run, timeout=5.0)
        statement.wait_begun()
        return statement, calling

    def test_the_slot_is_free_at_the_deadline(self) -> None:
        """The next call has a thread of its own, and the abandoned one is counted until it returns."""
        first, calling = self.begin()
        self.clock.advance(5.0)
        self.failureResultOf(calling, CallTimedOut)
        self.assertEqual((self.pool.running, self.pool.abandoned), (0, 1))
        second, following = self.begin()
        second.may_end.set()
        self.clock.turn()
        self.assertEqual(self.successResultOf(following), 'row')
        first.may_end.set()
        self.clock.turn()
        self.assertEqual((self.pool.running, self.pool.abandoned), (0, 0))

    def test_the_limit(self) -> None:
        """A call beyond the limit keeps its slot until it returns."""
        statements = []
        for _ in range(2):
            statement, calling = self.begin()
            statements.append(statement)
            self.clock.advance(5.0)
            self.failureResultOf(calling, CallTimedOut)
        waiting = self.pool.run(lambda: 'next', timeout=5.0)
        self.assertEqual((self.pool.running, self.pool.abandoned, self.pool.waiting), (1, 1, 1))
        statements[1].may_end.set()
        self.clock.turn()
        self.clock.turn()
        self.assertEqual(self.successResultOf(waiting), 'next')

    def test_closing(self) -> None:
        """A pool whose only call is abandoned is closed at once."""
        _, calling = self.begin()
        calling.cancel()
        self.failureResultOf(calling, CancelledError)
        self.successResultOf(self.pool.close())
