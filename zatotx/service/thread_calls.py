"""Calls between the reactor and the service threads. They run synchronous services, and allow these services to wait
for results from the reactor.

A thread that blocks lends itself to the call it waits for: a `def` service invoked by that call runs in it. Therefore
services that invoke services never wait for each other's threads, however small the pool is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine
from queue import Empty, SimpleQueue
from threading import Lock, get_ident
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from zatotx.model.errors import Timeout
from zatotx.service.stuck_threads import StuckThreads
from zatotx.system.thread_pool import IThreadReactor

GRACE_PERIOD = 10.0  # seconds that a thread waits beyond the deadline for an unresponsive reactor


class ThreadCall:
    """One function call in a service thread."""

    __slots__ = ('_function', '_threads', 'awaited', 'cancelled', 'deadline', 'deferred', 'label', 'thread')
    _log = Logger()

    def __init__(
        self,
        threads: ServiceThreadCalls,
        function: Callable[[ThreadCall], Any],
        label: Callable[[], str],
        deadline: float,
    ) -> None:
        self._threads = threads
        self._function: Callable[[ThreadCall], Any] | None = function
        self.label = label
        self.deadline = deadline  # seconds on the reactor's clock
        self.thread = 0  # identifier of the thread that runs it now, or 0
        self.cancelled = False
        self.awaited: set[Deferred[Any]] = set()  # Deferreds that this call waits for
        self.deferred: Deferred[Any] = Deferred(self._cancel)

    def run(self) -> None:
        """Run the function and pass its result to the reactor. Called in a service thread."""
        function = self._function
        self.thread = get_ident()
        result: Any = None
        try:
            if function is not None and not self.cancelled:
                result = function(self)
        except BaseException:
            result = Failure()
        self.thread = 0
        self._threads.call_on_reactor(self._finish, result)
        result = None  # a Failure references this frame; the cycle would keep the message until the next collection

    def _finish(self, result: Any) -> None:
        if self.cancelled:
            self._threads.stuck_threads.forget(self)
            if self._function is not None:
                self._log.warn('{label} ended after its request was over: its result is dropped', label=self.label())
        else:
            self.deferred.callback(result)

    def _cancel(self, deferred: Deferred[Any]) -> None:
        self.cancelled = True
        if self.thread:
            self._threads.stuck_threads.add(self)
        else:
            self._function = None  # the queue may be stuck: release what the function references
        for awaited in tuple(self.awaited):
            awaited.cancel()


class ThreadLender:
    """A service thread that is lent to other jobs while it waits for a result from the reactor."""

    __slots__ = ('_items', '_lock', '_open')

    def __init__(self) -> None:
        self._items: SimpleQueue[tuple[Callable[[], None] | None, Any]] = SimpleQueue()
        self._lock = Lock()
        self._open = True

    def submit(self, job: Callable[[], None]) -> bool:
        """Queue a job for the waiting thread; return False if it no longer waits."""
        with self._lock:
            if self._open:
                self._items.put((job, None))
            return self._open

    def finish(self, result: Any) -> None:
        """Stop waiting, with a result or a Failure."""
        with self._lock:
            self._open = False
        self._items.put((None, result))

    def wait_for_result(self, timeout: float) -> Any:
        """Run jobs until the result arrives, and return it. Called in the service thread.

        Raises the exception of a Failure, and Timeout after `timeout` seconds without a job or a result.
        """
        while True:
            try:
                job, result = self._items.get(timeout=timeout)
            except Empty:
                self.finish(None)
                raise Timeout(None, 'The reactor gave no answer in time') from None
            if job is not None:
                job()
                continue
            if isinstance(result, Failure):
                try:
                    raise result.value.with_traceback(result.getTracebackObject())  # type: ignore[union-attr]  # set
                finally:
                    del result  # breaks a reference cycle, as in ThreadCall.run
            return result


class JobThreadPool(Protocol):
    """Interface of a thread pool that runs jobs, such as DaemonThreadPool. The owner of the pool starts and stops
    it."""

    def callInThread(self, job: Callable[[], object]) -> None:
        """Queue a job."""


class ServiceThreadCalls:
    """Runs functions in the service threads on behalf of the reactor, and functions in the reactor on behalf of service
    threads."""

    __slots__ = ('_calls', '_pool', '_reactor', '_wakeup_scheduled', 'stuck_threads')
    _log = Logger()

    def __init__(self, reactor: IThreadReactor, pool: JobThreadPool, stuck_threads: StuckThreads | None = None) -> None:
        self._reactor = reactor
        self._pool = pool
        self._calls: deque[tuple[Callable[..., Any], tuple[Any, ...]]] = deque()
        self._wakeup_scheduled = False  # whether the reactor was asked to run the queued calls
        self.stuck_threads = StuckThreads(reactor) if stuck_threads is None else stuck_threads

    def call_on_reactor(self, function: Callable[..., Any], *args: Any) -> None:
        """Queue a function to be called by the reactor. Called in a service thread.

        Several calls wake the reactor only once, as each wakeup costs a system call and contention for the GIL.
        """
        self._calls.append((function, args))
        if not self._wakeup_scheduled:
            self._wakeup_scheduled = True
            self._reactor.callFromThread(self._run_calls)

    def _run_calls(self) -> None:
        """Run the calls that are queued now."""
        self._wakeup_scheduled = False  # cleared first: calls added from here on wake the reactor again
        for _ in range(len(self._calls)):
            function, args = self._calls.popleft()
            try:
                function(*args)
            except Exception:
                self._log.failure('A call from a service thread failed')

    def run_in_thread(
        self,
        function: Callable[[ThreadCall], Any],
        label: Callable[[], str],
        lender: ThreadLender | None,
        *,
        deadline: float,
    ) -> Deferred[Any]:
        """Run `function` in a thread, the lender's if it still waits. Reactor's thread only.

        Cancelling the Deferred drops the result; a function that runs past its deadline is reported. Raises
        ServiceUnavailable if the pool's queue is full.
        """
        thread_call = ThreadCall(self, function, label, deadline)
        if lender is None or not lender.submit(thread_call.run):
            self._pool.callInThread(thread_call.run)
        return thread_call.deferred

    def run_on_reactor(
        self, begin: Callable[[ThreadLender], Coroutine[Any, Any, Any]], thread_call: ThreadCall | None, deadline: float
    ) -> Any:
        """Run a coroutine on the reactor and block until it ends or until `deadline`. Called in a service thread.

        `deadline` is in seconds on the reactor's clock. Raises Timeout, CancelledError if the request is over, and what
        the coroutine raises.
        """
        lender = ThreadLender()
        self.call_on_reactor(self._begin, begin, lender, thread_call, deadline)
        return lender.wait_for_result(max(0.0, deadline - self._reactor.seconds()) + GRACE_PERIOD)

    def _begin(
        self,
        begin: Callable[[ThreadLender], Coroutine[Any, Any, Any]],
        lender: ThreadLender,
        thread_call: ThreadCall | None,
        deadline: float,
    ) -> None:
        if thread_call is not None and thread_call.cancelled:
            lender.finish(Failure(CancelledError('The request is over')))
            return
        awaited: Deferred[Any] = Deferred.fromCoroutine(begin(lender))
        if awaited.called and not awaited.paused:
            awaited.addBoth(lender.finish)
            return
        if thread_call is not None:
            thread_call.awaited.add(awaited)
        timer = self._reactor.callLater(max(0.0, deadline - self._reactor.seconds()), awaited.cancel)

        def on_result(result: Any) -> None:
            if thread_call is not None:
                thread_call.awaited.discard(awaited)
            if timer.active():
                timer.cancel()
            elif isinstance(result, Failure) and result.check(CancelledError):
                result = Failure(Timeout())
            lender.finish(result)

        awaited.addBoth(on_result)
