"""Between the reactor and the service threads: one hop there and one back for a `def` service, and the way for it to
wait for what runs on the reactor.

A thread that waits lends itself to what it waits for: a `def` service called below it runs in it. So services that
call services never wait for each other's threads, however small the pool.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine
from queue import Empty, SimpleQueue
from threading import Lock, get_ident
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from zatotx.model.errors import Timeout
from zatotx.service.stuck_threads import StuckThreads

SLACK = 10.0  # seconds a thread waits beyond the deadline for a reactor that should have spoken


class ThreadCall:
    """One call in a thread."""

    __slots__ = ('_function', '_threads', 'cancelled', 'deadline', 'deferred', 'label', 'thread', 'waits_for')
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
        self.thread = 0  # that runs it now
        self.cancelled = False
        self.waits_for: set[Deferred[Any]] = set()  # on the reactor, by this call
        self.deferred: Deferred[Any] = Deferred(self._cancel)

    def run(self) -> None:
        """In the thread: do it, and take the result to the reactor."""
        function = self._function
        self.thread = get_ident()
        result: Any = None
        try:
            if function is not None and not self.cancelled:
                result = function(self)
        except BaseException:
            result = Failure()
        self.thread = 0
        self._threads.to_reactor(self._finish, result)
        result = None  # a Failure, which holds this frame: the message would stay until the garbage collector comes by

    def _finish(self, result: Any) -> None:
        if self.cancelled:
            self._threads.left_behind.forget(self)
            if self._function is not None:
                self._log.warn('{label} ended after its request was over: its result is dropped', label=self.label())
        else:
            self.deferred.callback(result)

    def _cancel(self, deferred: Deferred[Any]) -> None:
        self.cancelled = True
        if self.thread:
            self._threads.left_behind.add(self)
        else:
            self._function = None  # it may stay in a queue that does not move: let go of what it would have worked on
        for waited in tuple(self.waits_for):
            waited.cancel()


class ThreadLender:
    """A thread of a service while it waits for something on the reactor."""

    __slots__ = ('_items', '_lock', '_open')

    def __init__(self) -> None:
        self._items: SimpleQueue[tuple[Callable[[], None] | None, Any]] = SimpleQueue()
        self._lock = Lock()
        self._open = True

    def take(self, job: Callable[[], None]) -> bool:
        """Have the waiting thread do a job; False where it does not wait any more."""
        with self._lock:
            if self._open:
                self._items.put((job, None))
            return self._open

    def finish(self, result: Any) -> None:
        """End the waiting with a result or a Failure."""
        with self._lock:
            self._open = False
        self._items.put((None, result))

    def attend(self, timeout: float) -> Any:
        """In the thread: do jobs until the result is there. Raises what it failed with, Timeout when none came."""
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
                    del result  # as in Hop.run
            return result


class ServiceThreadCalls:
    """The service threads and the reactor they serve."""

    __slots__ = ('_calls', '_pool', '_reactor', '_woken', 'left_behind')
    _log = Logger()

    def __init__(self, reactor: Any, pool: Any, left_behind: StuckThreads | None = None) -> None:
        self._reactor = reactor  # IReactorTime, IReactorFromThreads
        self._pool = pool  # has callInThread; started and stopped by its owner
        self._calls: deque[tuple[Callable[..., Any], tuple[Any, ...]]] = deque()
        self._woken = False  # the reactor was told that calls are there
        self.left_behind = StuckThreads(reactor) if left_behind is None else left_behind

    def to_reactor(self, function: Callable[..., Any], *args: Any) -> None:
        """In a thread: have the reactor call `function`. Many calls wake it once: each waking is a system call, and a
        fight over the interpreter's lock."""
        self._calls.append((function, args))
        if not self._woken:
            self._woken = True
            self._reactor.callFromThread(self._called)

    def _called(self) -> None:
        self._woken = False  # before the look: what is added from here on wakes the reactor again
        for _ in range(len(self._calls)):
            function, args = self._calls.popleft()
            try:
                function(*args)
            except Exception:
                self._log.failure('A call from a service thread failed')

    def hop(
        self,
        function: Callable[[ThreadCall], Any],
        label: Callable[[], str],
        lender: ThreadLender | None,
        *,
        deadline: float,
    ) -> Deferred[Any]:
        """On the reactor: run `function` in a thread (the lender's, where it waits). Cancelling drops its result; where
        it still runs after its deadline, it is told of. Raises ServiceUnavailable where the pool takes no more."""
        hop = ThreadCall(self, function, label, deadline)
        if lender is None or not lender.take(hop.run):
            self._pool.callInThread(hop.run)
        return hop.deferred

    def wait(
        self, begin: Callable[[ThreadLender], Coroutine[Any, Any, Any]], hop: ThreadCall | None, deadline: float
    ) -> Any:
        """In a thread: run a coroutine on the reactor and wait for what it gives, until `deadline` (seconds on the
        reactor's clock). Raises Timeout, CancelledError where the request is over, and what the coroutine raises."""
        lender = ThreadLender()
        self.to_reactor(self._begin, begin, lender, hop, deadline)
        return lender.attend(max(0.0, deadline - self._reactor.seconds()) + SLACK)

    def _begin(
        self,
        begin: Callable[[ThreadLender], Coroutine[Any, Any, Any]],
        lender: ThreadLender,
        hop: ThreadCall | None,
        deadline: float,
    ) -> None:
        if hop is not None and hop.cancelled:
            lender.finish(Failure(CancelledError('The request is over')))
            return
        waited: Deferred[Any] = Deferred.fromCoroutine(begin(lender))
        if waited.called and not waited.paused:
            waited.addBoth(lender.finish)
            return
        if hop is not None:
            hop.waits_for.add(waited)
        timer = self._reactor.callLater(max(0.0, deadline - self._reactor.seconds()), waited.cancel)

        def over(result: Any) -> None:
            if hop is not None:
                hop.waits_for.discard(waited)
            if timer.active():
                timer.cancel()
            elif isinstance(result, Failure) and result.check(CancelledError):
                result = Failure(Timeout())
            lender.finish(result)

        waited.addBoth(over)
