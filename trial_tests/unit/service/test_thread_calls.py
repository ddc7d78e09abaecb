"""`def` services in real threads, and the services they invoke."""

from __future__ import annotations

import gc
import sys
import threading
import weakref
from threading import Event, get_ident
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, gatherResults, succeed
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.logger import ILogObserver, globalLogPublisher
from twisted.python.threadpool import ThreadPool
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from trial_tests.support.invoking import CID, Calls
from zatotx import BadRequest, InternalServerError, NotFound, Service, Timeout
from zatotx.metrics.counters import CallCounters
from zatotx.service.service_entry import ServiceEntry
from zatotx.service.thread_calls import ThreadLender

REACTOR: Any = reactor


class Document:
    """A large object."""


class OnReactor(Service):
    """Responds with the thread it runs in; waits first for as many seconds as its payload says."""

    name = 'on-reactor'

    async def handle(self) -> None:
        if self.request.payload:
            await deferLater(REACTOR, self.request.payload)
        self.response.payload = get_ident()


class InThread(Service):
    name = 'in-thread'

    def handle(self) -> None:
        self.response.payload = get_ident()


class Refusing(Service):
    name = 'refusing'

    def handle(self) -> None:
        raise BadRequest(self.cid, 'No')


class Catching(Service):
    """Invokes a service and responds with its result or its error."""

    def handle(self) -> None:
        for target in ('refusing', 'on-reactor'):
            try:
                self.invoke(target, self.request.payload)
            except (BadRequest, NotFound, TypeError):
                self.response.payload = target


class Asking(Service):
    """Invokes the service named in its payload, and responds with the result and its own thread."""

    name = 'asking'

    def handle(self) -> None:
        target, payload, options = self.request.payload
        self.response.payload = [self.invoke(target, payload, **options), get_ident()]


class Relay(Service):
    """Runs on the reactor between two services in threads."""

    name = 'relay'

    async def handle(self) -> None:
        self.response.payload = await self.invoke('in-thread')


class Deep(Service):
    name = 'deep'

    def handle(self) -> None:
        self.invoke('deep')


class Recording(Service):
    """A `def` service with plain and asynchronous hooks, which record whether they run on the reactor."""

    io_thread = 0

    def note(self, what: str) -> None:
        self.environ.setdefault('steps', []).append((what, get_ident() == self.io_thread))

    def before_handle(self) -> None:
        self.note('before_handle')

    def handle(self) -> None:
        self.note('handle')

    async def validate_output(self) -> None:
        self.note('validate_output')
        self.environ['asked'] = await self.invoke('on-reactor')

    async def after_handle(self) -> None:
        self.note('after_handle')
        raise ValueError('passed over')

    def finalize_handle(self) -> None:
        self.note('finalize_handle')
        self.response.payload = self.environ


class ThreadTests(TestCase):
    timeout = 120

    def setUp(self) -> None:
        self.pool = ThreadPool(0, 2, 'test services')
        self.pool.start()
        self.addCleanup(self.stop_pool)
        self.io_thread = get_ident()
        Recording.io_thread = self.io_thread

    def stop_pool(self) -> Deferred[None]:
        """End the threads while the reactor runs, as they may wait for it."""
        return deferToThread(self.pool.stop)

    def calls(self, *services: Any) -> Calls:
        return Calls(*services, reactor=REACTOR, pool=self.pool)

    async def answer(self, *services: Any, payload: Any = '', deadline: float = 60.0) -> Any:
        calls = self.calls(*services)
        inbound = calls.http(body=b'')
        inbound.deadline = REACTOR.seconds() + deadline
        return (await calls.start(inbound, payload)).value

    async def test_it_runs_in_a_thread(self) -> None:
        """A `def` service does not run in the reactor's thread."""
        self.assertNotEqual(await self.answer(InThread), self.io_thread)

    async def test_nothing_is_left(self) -> None:
        """The objects of a message are freed with its response, not by the garbage collector."""
        gc.disable()
        self.addCleanup(gc.enable)
        for services in ((InThread,), (Refusing,), (Catching, Refusing), (Catching, OnReactor)):
            document = Document()
            brought = weakref.ref(document)
            try:
                await self.answer(*services, payload=document)
            except BadRequest as refused:
                refused.__traceback__ = None  # as the exchange does
            del document
            while brought() is not None:  # the thread may still be on its way out
                await deferLater(REACTOR, 0.01)

    async def test_invoke_gives_results(self) -> None:
        """Invoking a service on the reactor returns its result as a value."""
        found, own = await self.answer(Asking, OnReactor, payload=['on-reactor', '', {}])
        self.assertEqual(found, self.io_thread)
        self.assertNotEqual(own, self.io_thread)

    async def test_threads_do_not_pile_up(self) -> None:
        """A `def` service invoked from a thread runs in that thread, directly or through the reactor."""
        for target in ('in-thread', 'relay'):
            found, own = await self.answer(Asking, InThread, Relay, payload=[target, '', {}])
            self.assertEqual(found, own)

    async def test_more_callers_than_threads(self) -> None:
        """With ten callers, two threads and nested calls, no call waits for another's thread."""
        calls = self.calls(Asking, InThread, Relay)
        started = [calls.start(calls.http(), ['relay', '', {}]) for _ in range(10)]
        outcomes = await gatherResults(started)
        self.assertEqual([one.value[0] == one.value[1] for one in outcomes], [True] * 10)

    async def test_depth(self) -> None:
        """Calls nest 32 deep with two threads; then there is an error."""
        with self.assertRaises(InternalServerError) as raised:
            await self.answer(Deep)
        self.assertIn('more than 32 deep', str(raised.exception))

    async def test_hooks(self) -> None:
        """Plain hooks run in the thread, coroutines on the reactor, in order; their errors are ignored."""
        with self.assertLogs(Recording.get_name(), 'ERROR'):
            found = await self.answer(Recording, OnReactor)
        self.assertEqual(found['steps'], [
            ('before_handle', False), ('handle', False), ('validate_output', True), ('after_handle', True),
            ('finalize_handle', False),
        ])  # fmt: skip
        self.assertEqual(found['asked'], self.io_thread)

    async def test_a_deferred_is_awaited(self) -> None:
        """A plain def may return a Deferred."""

        class Giving(Service):
            def handle(self) -> Any:
                self.response.payload = 'given'
                return deferLater(REACTOR, 0.01, succeed, None)

        self.assertEqual(await self.answer(Giving), 'given')

    async def test_mistakes_come_through(self) -> None:
        """Exceptions of handle and of invoked services keep their types."""

        class Raising(Service):
            name = 'raising'

            def handle(self) -> None:
                raise BadRequest(self.cid, 'No such account')

        class Exiting(Service):
            def handle(self) -> None:
                sys.exit(3)

        class Catching(Service):
            def handle(self) -> None:
                try:
                    self.invoke('no.such')
                except NotFound as error:
                    self.response.payload = str(error)

        with self.assertRaises(BadRequest):
            await self.answer(Raising)
        with self.assertRaises(BadRequest):
            await self.answer(Asking, Raising, payload=['raising', '', {}])
        with self.assertRaises(RuntimeError) as raised:
            await self.answer(Exiting)
        self.assertIn('tried to end the process', str(raised.exception))
        self.assertEqual(await self.answer(Catching), 'Service no.such does not exist')

    async def test_timeout_of_a_call(self) -> None:
        """A call with a timeout ends in time, on the reactor or in a thread."""
        release = Event()
        self.addCleanup(release.set)

        class Blocking(Service):
            name = 'blocking'

            def handle(self) -> None:
                release.wait(60)

        for target, payload in (('on-reactor', 5), ('blocking', '')):
            with self.assertRaises(Timeout) as raised:
                await self.answer(Asking, OnReactor, Blocking, payload=[target, payload, {'timeout': 0.05}])
            self.assertIn(target, str(raised.exception))
        release.set()

    async def test_the_deadline_bounds_every_call(self) -> None:
        """A thread waits for the reactor only until the deadline of its request."""
        with self.assertRaises(Timeout):
            await self.answer(Asking, OnReactor, payload=['on-reactor', 5, {}], deadline=0.05)
        with self.assertRaises(Timeout) as raised:
            await self.answer(Asking, InThread, payload=['in-thread', '', {}], deadline=0)
        self.assertIn('in-thread', str(raised.exception))

    async def test_a_cancelled_run_wakes_its_thread(self) -> None:
        """A thread that waits for the reactor is woken when its request is cancelled."""
        begun: Deferred[None] = Deferred()
        ended: Deferred[str] = Deferred()

        class Waiting(Service):
            def handle(self) -> None:
                try:
                    self.invoke('endless')
                except CancelledError:
                    REACTOR.callFromThread(ended.callback, 'cancelled')
                    try:
                        self.invoke('in-thread')
                    except CancelledError:
                        raise RuntimeError('a new call was refused') from None

        class Endless(Service):
            name = 'endless'

            async def handle(self) -> None:
                begun.callback(None)
                await Deferred()

        calls = self.calls(Waiting, Endless, InThread)
        started = calls.start(calls.http())
        while not begun.called:  # awaiting it would go on in the midst of that service
            await deferLater(REACTOR, 0.005)
        started.cancel()
        with self.assertRaises(CancelledError):
            await started
        self.assertEqual(await ended, 'cancelled')

    async def test_a_late_result_is_dropped_and_logged(self) -> None:
        """A result that arrives after its request has ended is dropped, with a log message."""
        release, began = Event(), Event()

        class Late(Service):
            name = 'late'

            def handle(self) -> None:
                began.set()
                release.wait(60)

        said: Deferred[str] = Deferred()

        @implementer(ILogObserver)
        def observe(event: Any) -> None:
            if event.get('label', '').startswith('Service late'):
                said.callback(event['label'])

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        calls = self.calls(Late)
        started = calls.start(calls.http())
        while not began.is_set():
            await deferLater(REACTOR, 0.005)
        started.cancel()
        with self.assertRaises(CancelledError):
            await started
        release.set()
        self.assertEqual(await said, f'Service late (cid {CID})')

    async def test_a_run_cancelled_in_the_queue_never_starts(self) -> None:
        """A queued call whose request is cancelled never starts."""
        release = Event()
        ran: list[str] = []

        class Busy(Service):
            def handle(self) -> None:
                release.wait(60)
                ran.append(self.request.payload)

        calls = self.calls(Busy)
        busy = [calls.start(calls.http(), name) for name in ('a', 'b')]
        queued = calls.start(calls.http(), 'c')
        queued.cancel()
        with self.assertRaises(CancelledError):
            await queued
        release.set()
        await gatherResults(busy)
        await calls.start(calls.http(), 'd')
        self.assertEqual(sorted(ran), ['a', 'b', 'd'])

    async def test_threads_of_its_own(self) -> None:
        """A service may invoke others from threads that it creates."""

        class Making(Service):
            def handle(self) -> None:
                found: list[Any] = []
                made = [threading.Thread(target=lambda: found.append(self.invoke('on-reactor'))) for _ in range(3)]
                for thread in made:
                    thread.start()
                for thread in made:
                    thread.join(60)
                self.response.payload = found

        self.assertEqual(await self.answer(Making, OnReactor), [self.io_thread] * 3)

    async def test_calls_in_a_thread_are_counted_on_the_reactor(self) -> None:
        """Counters are written by the reactor's thread only."""
        entry = ServiceEntry.for_class(InThread, stats=CallCounters())
        await self.answer(Asking, entry, payload=['in-thread', '', {}])
        await deferLater(REACTOR, 0)
        self.assertEqual(entry.stats.calls, 1)

    async def test_a_plain_iterator_streams_from_threads(self) -> None:
        """A plain iterator may block without blocking the reactor."""

        class Streaming(Service):
            def handle(self) -> None:
                self.response.stream((str(get_ident() == self.request.payload) for _ in range(2)), 'text/csv')

        calls = self.calls(Streaming)
        outcome = await calls.start(calls.http(), self.io_thread)
        assert outcome.stream is not None
        self.assertEqual([chunk async for chunk in outcome.stream], [b'False', b'False'])
        self.assertEqual(outcome.content_type, 'text/csv')

    async def test_a_plain_iterator_that_nobody_reads_on_is_closed(self) -> None:
        """The iterator's `finally` runs in a thread."""
        closed: list[int] = []

        def chunks() -> Any:
            try:
                yield b'a'
                yield b'b'
            finally:
                closed.append(get_ident())

        class Streaming(Service):
            def handle(self) -> None:
                self.response.stream(chunks())

        calls = self.calls(Streaming)
        stream: Any = (await calls.start(calls.http(), self.io_thread)).stream
        self.assertEqual(await anext(stream), b'a')
        await stream.aclose()
        self.assertEqual(len(closed), 1)
        self.assertNotEqual(closed, [self.io_thread])


class LenderTests(TestCase):
    def test_a_lender_that_is_done_takes_no_job(self) -> None:
        """A lender that has finished rejects jobs, which then go to the pool."""
        lender = ThreadLender()
        done: list[int] = []
        self.assertTrue(lender.submit(lambda: done.append(1)))
        lender.finish('result')
        self.assertFalse(lender.submit(lambda: done.append(2)))
        self.assertEqual((lender.wait_for_result(1), done), ('result', [1]))

    def test_a_reactor_that_never_speaks(self) -> None:
        """A thread stops waiting for an unresponsive reactor."""
        lender = ThreadLender()
        self.assertRaises(Timeout, lender.wait_for_result, 0.01)
        self.assertFalse(lender.submit(lambda: None))
