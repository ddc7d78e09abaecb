"""Work that is given to the threads of a pool, and what is left of it."""

from __future__ import annotations

import gc
import sys
import weakref
from threading import Event, get_ident
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from trial_tests.support.reactor import reactor
from zatotx.system.thread_pool import SWITCH_INTERVAL, DaemonThreadPool, make_offload, shorten_switch_interval

SECONDS = 30.0


class SwitchIntervalTests(SynchronousTestCase):
    def test_threads_take_turns_earlier(self) -> None:
        """A thread that computes passes on the interpreter after half a millisecond."""
        self.addCleanup(sys.setswitchinterval, sys.getswitchinterval())
        shorten_switch_interval()
        self.assertAlmostEqual(sys.getswitchinterval(), SWITCH_INTERVAL)


class Document:
    """Something large."""


def refuse(document: Document) -> None:
    """Fails, as a check of one does: after something else that was wrong."""
    own = document
    try:
        raise KeyError(own)
    except KeyError:
        raise ValueError('refused') from None


class OffloadTests(TestCase):
    timeout = 120

    def setUp(self) -> None:
        self.pool = DaemonThreadPool('offload', 1)
        self.pool.start()
        self.addCleanup(self.pool.stop)
        self.offload = make_offload(reactor, self.pool)

    async def gone(self, brought: weakref.ref[Document]) -> None:
        """Wait until it is; the thread may be on its way out. Never by way of the garbage collector."""
        while brought() is not None:
            await deferLater(reactor, 0.01)

    def held(self) -> Event:
        """Keep the only thread busy until it may go on."""
        going = Event()
        self.addCleanup(going.set)
        self.offload(going.wait, SECONDS)
        return going

    async def test_what_becomes_of_it(self) -> None:
        """Its result, or what it failed with, in the reactor's thread."""

        def said(*args: Any, **named: Any) -> Any:
            return get_ident(), args, named

        thread, args, named = await self.offload(said, 1, b=2)
        self.assertNotEqual(thread, get_ident())
        self.assertEqual((args, named), ((1,), {'b': 2}))
        await self.assertFailure(self.offload(refuse, 1), ValueError)

    async def test_what_nobody_waits_for(self) -> None:
        """Is not begun, and let go of while it is in the queue."""
        going = self.held()
        done: list[object] = []
        document = Document()
        brought = weakref.ref(document)
        queued = self.offload(done.append, document)
        del document
        queued.cancel()
        await self.assertFailure(queued, CancelledError)
        await self.gone(brought)
        going.set()
        await self.offload(int)
        self.assertEqual(done, [])

    async def test_failures_leave_nothing(self) -> None:
        """Whether somebody hears of it or has gone meanwhile: what was worked on goes too, without the garbage
        collector."""
        gc.disable()
        self.addCleanup(gc.enable)
        for leaves in (False, True):
            document = Document()
            brought = weakref.ref(document)
            began, going = Event(), Event()

            def work(one: Document, began: Event = began, going: Event = going) -> None:
                began.set()
                going.wait(SECONDS)
                refuse(one)

            running: Deferred[Any] = self.offload(work, document)
            del document
            await deferToThread(began.wait, SECONDS)
            if leaves:
                running.cancel()
            going.set()
            try:
                await running
            except (ValueError, CancelledError) as error:
                self.assertEqual(isinstance(error, CancelledError), leaves)
                let_go(error)
            del running
            await self.gone(brought)


def let_go(error: BaseException) -> None:
    """As the exchange does of an error that it has answered."""
    error.__traceback__ = None
    if error.__context__ is not None:
        error.__context__.__traceback__ = None
