"""The thread pool of `def` services."""

from __future__ import annotations

from threading import Barrier, Event, current_thread
from typing import Any, cast

from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.reactor import as_reactor
from zatotx.service.thread_calls import ServiceThreadCalls
from zatotx.system.thread_pool import DaemonThreadPool


class PoolTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.pool = DaemonThreadPool('service', 3)
        self.addCleanup(self.pool.stop)

    def test_threads_are_made_when_needed(self) -> None:
        """Threads start on demand, up to the size of the pool."""
        self.pool.start()
        self.assertEqual(self.pool.threads, [])
        release, together = Event(), Barrier(4)

        def busy() -> None:
            together.wait(60)
            release.wait(60)

        for _ in range(3):
            self.pool.callInThread(busy)
        together.wait(60)
        done: list[str] = []
        for _ in range(5):
            self.pool.callInThread(lambda: done.append(current_thread().name))
        self.assertEqual((len(self.pool.threads), done), (3, []))
        release.set()
        self.pool.stop()
        self.assertEqual(len(done), 5)
        self.assertTrue(all(name.startswith('service-') for name in done))

    def test_work_given_before_the_start(self) -> None:
        """Jobs queued before the start run once the pool starts."""
        done = Event()
        self.pool.callInThread(done.set)
        self.assertEqual(self.pool.threads, [])
        self.pool.start()
        self.assertTrue(done.wait(60))

    def test_a_job_that_fails_costs_no_thread(self) -> None:
        """A failing job is logged, and its thread runs the next one."""
        self.pool.start()
        done = Event()
        for job in (lambda: 1 / 0, done.set):
            self.pool.callInThread(job)
        self.assertTrue(done.wait(60))
        self.pool.stop()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_threads_do_not_hold_the_process(self) -> None:
        """The threads are daemons, so a stuck service does not keep the server from exiting."""
        self.pool.start()
        seen: list[bool] = []
        self.pool.callInThread(lambda: seen.append(current_thread().daemon))
        self.pool.stop()
        self.assertEqual(seen, [True])

    def test_stopping_twice(self) -> None:
        """Stopping twice has no effect."""
        self.pool.start()
        self.pool.stop()
        self.pool.stop()
        self.assertFalse(self.pool.started)


class WakingReactor:
    """Counts how often it is woken."""

    def __init__(self) -> None:
        self.woken: list[Any] = []

    def callFromThread(self, function: Any, *args: Any) -> None:
        self.woken.append((function, args))

    def turn(self) -> None:
        """Run one iteration of the reactor."""
        woken, self.woken = self.woken, []
        for function, args in woken:
            function(*args)


class WakingTests(SynchronousTestCase):
    def test_many_calls_wake_the_reactor_once(self) -> None:
        """Several queued calls wake the reactor once; calls added while they run wake it again."""
        reactor = WakingReactor()
        threads = ServiceThreadCalls(as_reactor(reactor), cast('Any', None))
        seen: list[int] = []

        def first() -> None:
            seen.append(1)
            threads.call_on_reactor(seen.append, 3)

        threads.call_on_reactor(first)
        threads.call_on_reactor(seen.append, 2)
        self.assertEqual(len(reactor.woken), 1)
        reactor.turn()
        self.assertEqual((seen, len(reactor.woken)), ([1, 2], 1))
        reactor.turn()
        self.assertEqual(seen, [1, 2, 3])

    def test_a_call_that_fails_harms_no_other(self) -> None:
        """A failing call is logged and does not affect others."""
        reactor = WakingReactor()
        threads = ServiceThreadCalls(as_reactor(reactor), cast('Any', None))
        seen: list[int] = []
        threads.call_on_reactor(lambda: 1 / 0)
        threads.call_on_reactor(seen.append, 1)
        reactor.turn()
        self.assertEqual(seen, [1])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
