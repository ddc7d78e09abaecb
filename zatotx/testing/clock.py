"""The clock of a test. The time advances only when the test advances it, or to the next event for which a call
waits."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from threading import get_ident
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from zatotx.model.errors import Timeout
from zatotx.service.thread_calls import ServiceThreadCalls, ThreadCall, ThreadLender
from zatotx.system.thread_pool import IThreadReactor


@implementer(IReactorTime)
class TestReactorTimers:
    """The timers that a test sets on a running reactor. Remaining timers are cancelled when the kit is closed."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._timers: list[Any] = []

    def seconds(self) -> float:
        now: float = self._reactor.seconds()
        return now

    def callLater(self, delay: float, callable: Callable[..., Any], *args: object, **kwargs: object) -> Any:
        """Schedule a call, as IReactorTime does."""
        self._timers = self.getDelayedCalls()
        timer = self._reactor.callLater(delay, callable, *args, **kwargs)
        self._timers.append(timer)
        return timer

    def getDelayedCalls(self) -> list[Any]:
        """Return the pending timers."""
        return [timer for timer in self._timers if timer.active()]

    def cancel(self) -> None:
        """Cancel all timers."""
        for timer in self.getDelayedCalls():
            timer.cancel()


@implementer(IThreadReactor)
class KitClock(Clock):
    """Twisted's Clock with an additional method, which advances the time to the next event."""

    def callFromThread(self, callable: Callable[..., Any], *args: object, **kwargs: object) -> None:
        """Call the function immediately, as there is only one thread."""
        callable(*args, **kwargs)

    def advance(self, amount: float) -> None:
        """Let that many seconds pass. Each event in between sees its own time, so that a lock is renewed meanwhile."""
        end = self.rightNow + amount
        while (calls := [call for call in self.getDelayedCalls() if call.getTime() <= end]):
            super().advance(max(0.0, min(call.getTime() for call in calls) - self.rightNow))
        super().advance(max(0.0, end - self.rightNow))

    def run_until(self, done: Callable[[], bool], limit: float = float('inf')) -> bool:
        """Advance from event to event until `done` returns true; return whether it did.

        Without an event before `limit` (seconds on this clock), the clock stops at `limit`.
        """
        while not done():
            next_event = min((call.getTime() for call in self.getDelayedCalls()), default=float('inf'))
            if next_event > limit or next_event == float('inf'):
                if limit != float('inf'):
                    self.advance(max(0.0, limit - self.seconds()))
                return done()
            self.advance(max(0.0, next_event - self.seconds()))
        return True


# Runs `def` services in the test's own thread, and advances the test's clock while they wait.
#
# Breakpoints, tracebacks and profiles work as usual, and nothing runs concurrently with the test.

_SERVICE_THREAD = 0  # not a valid thread identifier


class InlineThreads(ServiceThreadCalls):
    """Service thread calls that use no threads: functions run inline, and `invoker.io_thread` is set to the thread that
    the running code simulates."""

    __slots__ = ('_clock', '_invoker')

    def __init__(self, invoker: Any, clock: KitClock) -> None:
        super().__init__(clock, self)
        self._invoker = invoker
        self._clock = clock

    def callInThread(self, job: Callable[[], object]) -> None:
        """Run a job as if in a service thread."""
        with self._simulated_thread(_SERVICE_THREAD):
            job()

    def call_on_reactor(self, function: Callable[..., None], *args: Any) -> None:
        function(*args)

    def run_on_reactor(
        self, begin: Callable[[ThreadLender], Coroutine[Any, Any, Any]], thread_call: ThreadCall | None, deadline: float
    ) -> Any:
        """Wait as ServiceThreadCalls.wait does, and advance the clock meanwhile."""
        if thread_call is not None and thread_call.cancelled:
            raise CancelledError('The request is over')
        with self._simulated_thread(get_ident()):
            return self._run_until_done(begin, thread_call, deadline)

    def _run_until_done(
        self, begin: Callable[[Any], Coroutine[Any, Any, Any]], thread_call: ThreadCall | None, deadline: float
    ) -> Any:
        """Run a coroutine, advancing the clock until it has ended or until the deadline."""
        results: list[Any] = []
        awaited: Deferred[Any] = Deferred.fromCoroutine(begin(None))
        awaited.addBoth(results.append)
        if thread_call is not None:
            thread_call.awaited.add(awaited)
        in_time = self._clock.run_until(lambda: bool(results), deadline)
        if not in_time:
            awaited.cancel()
        if thread_call is not None:
            thread_call.awaited.discard(awaited)
        result = results[0] if results else None
        if isinstance(result, Failure):
            if not in_time and result.check(CancelledError):
                raise Timeout
            result.raiseException()
        if not results:
            raise Timeout(None, 'What the service waits for goes on after its deadline')
        return result

    @contextmanager
    def _simulated_thread(self, ident: int) -> Iterator[None]:
        """Run code as if in another thread: io_thread equals the current thread only on the reactor's side."""
        previous, self._invoker.io_thread = self._invoker.io_thread, ident
        try:
            yield
        finally:
            self._invoker.io_thread = previous
