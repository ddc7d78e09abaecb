"""Thread pools are bounded, and a `def` service that never returns is reported."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from io import BytesIO
from pathlib import Path
from threading import Event, get_ident
from typing import Any
from zipfile import ZipFile

from twisted.internet import reactor as the_reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock, deferLater
from twisted.logger import ILogObserver, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer

from trial_tests.support.waiting import until
from zatotx.model.errors import ServiceUnavailable
from zatotx.service.deployment.module_importer import import_source
from zatotx.service.deployment.source_package import parse_upload
from zatotx.service.stuck_threads import CHECK_INTERVAL, StuckThreads, thread_location
from zatotx.service.thread_calls import ServiceThreadCalls
from zatotx.system.thread_pool import DaemonThreadPool

reactor: Any = the_reactor
WAITS = b'''
def wait(event):
    event.wait(30)  # the line it is at
'''


class Call:
    """A call in a thread, as StuckThreads sees it."""

    def __init__(self, deadline: float, thread: int | None = None) -> None:
        self.deadline = deadline
        self.thread = get_ident() if thread is None else thread
        self.label: Callable[[], str] = lambda: 'Service crm.slow (cid abc)'


@contextmanager
def said() -> Iterator[list[str]]:
    """Collect the warnings of a block."""
    lines: list[str] = []

    @implementer(ILogObserver)
    def observe(event: Any) -> None:
        if event.get('log_level') is not None and event['log_level'].name == 'warn':
            lines.append(event['log_format'].format(**event))

    globalLogPublisher.addObserver(observe)
    try:
        yield lines
    finally:
        globalLogPublisher.removeObserver(observe)


class LeftBehindTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.left = StuckThreads(self.clock)

    def wait(self, seconds: float) -> None:
        for _ in range(round(seconds / CHECK_INTERVAL)):
            self.clock.advance(CHECK_INTERVAL)

    def test_told_after_the_deadline_with_growing_pauses(self) -> None:
        """A call is reported a second after its deadline, then after 10 s, 1, 10 and every 60 minutes."""
        call = Call(deadline=5.0)
        with said() as lines:
            self.left.add(call)
            counts = []
            for seconds in (5, 1, 9, 1, 59, 1, 599, 1, 3599, 1, 3599, 1):
                self.wait(seconds)
                counts.append(len(lines))
        self.assertEqual(counts, [0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6])
        self.assertIn('Service crm.slow (cid abc) still runs 1 s after its deadline', lines[0])

    def test_ended_it_is_forgotten(self) -> None:
        """A call that has ended leaves no timer and is not reported again."""
        call = Call(deadline=0.0)
        self.left.add(call)
        self.wait(2)
        self.assertEqual(self.left.count(), 1)
        self.left.forget(call)
        self.assertEqual((self.left.count(), list(self.left.findings()), self.clock.getDelayedCalls()), (0, [], []))

    def test_a_finding_names_service_and_place(self) -> None:
        """The finding for `zatotx doctor` names service, line and remedy, and does not appear before the first
        report."""
        self.left.add(Call(deadline=100.0))
        self.wait(3)
        self.assertEqual(list(self.left.findings()), [])
        self.left.add(Call(deadline=0.0))
        self.wait(2)
        (finding,) = self.left.findings()
        self.assertIn('crm.slow', finding)
        self.assertIn('.py:', finding)
        self.assertIn('restart the server', finding)

    def test_threads_are_counted_once(self) -> None:
        """A service and one that it invokes in the same thread count as one thread."""
        for _ in range(2):
            self.left.add(Call(deadline=0.0))
        self.wait(2)
        self.assertEqual(self.left.count(), 1)

    def test_the_place_is_the_line_of_deployed_code(self) -> None:
        """The location is that of deployed code, not of the library that it waits in, under the author's module
        name."""
        for file, content, shown in (
            ('crm.py', WAITS, 'crm.py:3'),
            ('shop.zip', _zipped({'shop/__init__.py': b'', 'shop/deep.py': WAITS}), 'shop/deep.py:3'),
        ):
            source = parse_upload(file, content)
            loaded = import_source(source, Path(self.mktemp()).resolve())
            wait = next(module.wait for module in loaded.modules if hasattr(module, 'wait'))
            event, pool = Event(), DaemonThreadPool('service', 1)
            pool.start()
            pool.callInThread(partial(wait, event))
            ident = until(partial(self.busy_thread, pool), 'the thread')
            until(partial(self.is_at, ident, shown), shown)
            event.set()
            pool.stop()

    def busy_thread(self, pool: DaemonThreadPool) -> int:
        return pool.threads[0].ident or 0 if pool.busy else 0

    def is_at(self, thread: int, place: str) -> bool:
        return thread_location(thread) == place

    def test_a_thread_that_is_gone(self) -> None:
        """A thread that has ended has no location and causes no error."""
        self.assertEqual(thread_location(-1), 'an unknown place')


def _zipped(files: dict[str, bytes]) -> bytes:
    buffer = BytesIO()
    with ZipFile(buffer, 'w') as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


class PoolTests(SynchronousTestCase):
    def test_the_queue_is_bounded(self) -> None:
        """With all threads busy and the queue full, a call is rejected at once and counted; queued calls run later."""
        pool, release = DaemonThreadPool('service', 2, 3), Event()
        pool.start()
        done: list[int] = []
        for _ in range(2):
            pool.callInThread(release.wait)
        until(lambda: pool.busy == 2, 'two busy threads')
        for number in range(3):
            pool.callInThread(partial(done.append, number))
        self.assertEqual((pool.busy, pool.waiting), (2, 3))
        refused = self.assertRaises(ServiceUnavailable, pool.callInThread, lambda: done.append(9))
        self.assertIn('All 2 service threads are busy and 3 calls wait', str(refused))
        self.assertEqual(pool.rejected, 1)
        release.set()
        pool.stop()
        self.assertEqual((sorted(done), pool.busy, pool.waiting), ([0, 1, 2], 0, 0))


class HopTests(TestCase):
    def setUp(self) -> None:
        self.pool = DaemonThreadPool('service', 1)
        self.pool.start()
        self.threads = ServiceThreadCalls(reactor, self.pool)

    def hop(self, function: Any, seconds: float = 60.0) -> Deferred[Any]:
        deadline = reactor.seconds() + seconds
        return self.threads.run_in_thread(function, lambda: 'Service crm.slow (cid abc)', None, deadline=deadline)

    async def test_one_that_never_returns_is_told_of_until_it_does(self) -> None:
        """An abandoned call is counted until it ends."""
        release = Event()
        with said() as lines:
            waiting = self.hop(lambda hop: release.wait(120), 0.0)
            until(lambda: self.pool.busy, 'the call')
            waiting.cancel()
            await self.assertFailure(waiting, CancelledError)
            await self.looked(lambda: lines)
            self.assertEqual(self.threads.stuck_threads.count(), 1)
            self.assertIn('Service crm.slow (cid abc) still runs', lines[0])
            release.set()
            await self.looked(lambda: not self.threads.stuck_threads.count())
        self.pool.stop()

    async def test_what_waits_lets_go_of_its_work(self) -> None:
        """A call cancelled before it started releases its references, even while the queue is stuck."""
        release = Event()
        ran: list[Any] = []
        first = self.hop(lambda hop: release.wait(120))
        until(lambda: self.pool.busy, 'the call')

        class Payload:
            pass

        payload = Payload()
        gone = weakref.ref(payload)
        second = self.hop(lambda hop, payload=payload: ran.append(payload))
        del payload
        second.cancel()
        await self.assertFailure(second, CancelledError)
        self.assertIsNone(gone())
        release.set()
        await first
        self.pool.stop()
        self.assertEqual((ran, self.threads.stuck_threads.count()), ([], 0))

    async def looked(self, found: Any) -> None:
        """Run the reactor until a condition is true."""
        for _ in range(3000):
            if found():
                return
            await deferLater(reactor, 0.02)
        raise AssertionError('never so')
