"""`def` services in real threads, and what they call."""

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
from zatotx.metrics.counters import CallSlots
from zatotx.service.entry import ServiceEntry
from zatotx.service.thread_calls import ThreadLender

REACTOR: Any = reactor


class Document:
    """Something large."""


class OnReactor(Service):
    """Says in which thread it ran; with a payload it waits that many seconds first."""

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
    """Hands on what it got, whatever comes of it."""

    def handle(self) -> None:
        for target in ('refusing', 'on-reactor'):
            try:
                self.invoke(target, self.request.payload)
            except (BadRequest, NotFound, TypeError):
                self.response.payload = target


class Asking(Service):
    """Invokes what its payload says, and answers what came back and its own thread."""

    name = 'asking'

    def handle(self) -> None:
        target, payload, options = self.request.payload
        self.response.payload = [self.invoke(target, payload, **options), get_ident()]


class Relay(Service):
    """On the reactor between two services of threads."""

    name = 'relay'

    async def handle(self) -> None:
        self.response.payload = await self.invoke('in-thread')


class Deep(Service):
    name = 'deep'

    def handle(self) -> None:
        self.invoke('deep')


class Recording(Service):
    """A `def` service with hooks of both sorts; each says whether it ran on the reactor."""

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
        """Ends the threads; the reactor goes on meanwhile, as they may wait for it."""
        return deferToThread(self.pool.stop)

    def calls(self, *services: Any) -> Calls:
        return Calls(*services, reactor=REACTOR, pool=self.pool)

    async def answer(self, *services: Any, payload: Any = '', deadline: float = 60.0) -> Any:
        calls = self.calls(*services)
        inbound = calls.http(body=b'')
        inbound.deadline = REACTOR.seconds() + deadline
        return (await calls.start(inbound, payload)).value

    async def test_it_runs_in_a_thread(self) -> None:
        """Not in the reactor's."""
        self.assertNotEqual(await self.answer(InThread), self.io_thread)

    async def test_nothing_is_left(self) -> None:
        """What a message brought goes with its answer, not when the garbage collector comes by: a large document would
        wait long for that."""
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
        """What runs on the reactor runs there, and its answer comes back as a value."""
        found, own = await self.answer(Asking, OnReactor, payload=['on-reactor', '', {}])
        self.assertEqual(found, self.io_thread)
        self.assertNotEqual(own, self.io_thread)

    async def test_threads_do_not_pile_up(self) -> None:
        """A service of threads that calls another runs it in its own, directly or through the reactor."""
        for target in ('in-thread', 'relay'):
            found, own = await self.answer(Asking, InThread, Relay, payload=[target, '', {}])
            self.assertEqual(found, own)

    async def test_more_callers_than_threads(self) -> None:
        """Ten callers, two threads, a call below each: nobody waits for somebody else's thread."""
        calls = self.calls(Asking, InThread, Relay)
        started = [calls.start(calls.http(), ['relay', '', {}]) for _ in range(10)]
        outcomes = await gatherResults(started)
        self.assertEqual([one.value[0] == one.value[1] for one in outcomes], [True] * 10)

    async def test_depth(self) -> None:
        """32 deep with two threads, then the fault."""
        with self.assertRaises(InternalServerError) as raised:
            await self.answer(Deep)
        self.assertIn('more than 32 deep', str(raised.exception))

    async def test_hooks(self) -> None:
        """Plain hooks run in the thread, coroutines on the reactor, in the one order; mistakes are passed over."""
        with self.assertLogs(Recording.get_name(), 'ERROR'):
            found = await self.answer(Recording, OnReactor)
        self.assertEqual(found['steps'], [
            ('before_handle', False), ('handle', False), ('validate_output', True), ('after_handle', True),
            ('finalize_handle', False),
        ])  # fmt: skip
        self.assertEqual(found['asked'], self.io_thread)

    async def test_a_deferred_is_awaited(self) -> None:
        """A plain def may give one, made on the reactor by whatever library."""

        class Giving(Service):
            def handle(self) -> Any:
                self.response.payload = 'given'
                return deferLater(REACTOR, 0.01, succeed, None)

        self.assertEqual(await self.answer(Giving), 'given')

    async def test_mistakes_come_through(self) -> None:
        """What handle raises, and what the called service raises, with their types."""

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
        """A call with a timeout ends in time, whether it calls the reactor's or a thread's."""
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
        """A thread does not wait for the reactor longer than its request may take."""
        with self.assertRaises(Timeout):
            await self.answer(Asking, OnReactor, payload=['on-reactor', 5, {}], deadline=0.05)
        with self.assertRaises(Timeout) as raised:
            await self.answer(Asking, InThread, payload=['in-thread', '', {}], deadline=0)
        self.assertIn('in-thread', str(raised.exception))

    async def test_a_cancelled_run_wakes_its_thread(self) -> None:
        """A thread that waits for the reactor is told that its request is over."""
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
        """A thread cannot be stopped; what it brings after its request is over goes nowhere, with a line in the log."""
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
        """With all threads busy, a request that is over does not get one later."""
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
        """A service may call others from threads it made."""

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
        """Counters have one writer."""
        entry = ServiceEntry.of(InThread, stats=CallSlots())
        await self.answer(Asking, entry, payload=['in-thread', '', {}])
        await deferLater(REACTOR, 0)
        self.assertEqual(entry.stats.calls, 1)

    async def test_a_plain_iterator_streams_from_threads(self) -> None:
        """Its chunks may block, the reactor does not."""

        class Streaming(Service):
            def handle(self) -> None:
                self.response.stream((str(get_ident() == self.request.payload) for _ in range(2)), 'text/csv')

        calls = self.calls(Streaming)
        outcome = await calls.start(calls.http(), self.io_thread)
        assert outcome.stream is not None
        self.assertEqual([chunk async for chunk in outcome.stream], [b'False', b'False'])
        self.assertEqual(outcome.content_type, 'text/csv')

    async def test_a_plain_iterator_that_nobody_reads_on_is_closed(self) -> None:
        """Its `finally` runs, in a thread."""
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
        """The job then goes to the pool."""
        lender = ThreadLender()
        done: list[int] = []
        self.assertTrue(lender.take(lambda: done.append(1)))
        lender.finish('result')
        self.assertFalse(lender.take(lambda: done.append(2)))
        self.assertEqual((lender.attend(1), done), ('result', [1]))

    def test_a_reactor_that_never_speaks(self) -> None:
        """The thread gives up in the end."""
        lender = ThreadLender()
        self.assertRaises(Timeout, lender.attend, 0.01)
        self.assertFalse(lender.take(lambda: None))
