"""`def` services in the test's own thread: what they wait for is waited for by moving the test's clock.

So a breakpoint, a traceback and a profile show what they always show, and nothing runs at the same time as the test.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from threading import get_ident
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from zatotx.model.errors import Timeout
from zatotx.service.thread_calls import ServiceThreadCalls, ThreadCall, ThreadLender
from zatotx.testing.clock import KitClock

_ELSEWHERE = 0  # no thread has this number


class InlineThreads(ServiceThreadCalls):
    """Threads without threads. `invoker.io_thread` says which side of the hop the code is on."""

    __slots__ = ('_clock', '_invoker')

    def __init__(self, invoker: Any, clock: KitClock) -> None:
        super().__init__(clock, self)
        self._invoker = invoker
        self._clock = clock

    def callInThread(self, job: Callable[[], object]) -> None:
        """The pool's part of a hop."""
        with self._side(_ELSEWHERE):
            job()

    def to_reactor(self, function: Callable[..., None], *args: Any) -> None:
        function(*args)

    def wait(
        self, begin: Callable[[ThreadLender], Coroutine[Any, Any, Any]], hop: ThreadCall | None, deadline: float
    ) -> Any:
        """As Threads.wait; meanwhile the clock moves on."""
        if hop is not None and hop.cancelled:
            raise CancelledError('The request is over')
        with self._side(get_ident()):
            return self._driven(begin, hop, deadline)

    def _driven(self, begin: Callable[[Any], Coroutine[Any, Any, Any]], hop: ThreadCall | None, deadline: float) -> Any:
        results: list[Any] = []
        waited: Deferred[Any] = Deferred.fromCoroutine(begin(None))
        waited.addBoth(results.append)
        if hop is not None:
            hop.waits_for.add(waited)
        in_time = self._clock.run_until(lambda: bool(results), deadline)
        if not in_time:
            waited.cancel()
        if hop is not None:
            hop.waits_for.discard(waited)
        result = results[0] if results else None
        if isinstance(result, Failure):
            if not in_time and result.check(CancelledError):
                raise Timeout
            result.raiseException()
        if not results:
            raise Timeout(None, 'What the service waits for goes on after its deadline')
        return result

    @contextmanager
    def _side(self, ident: int) -> Iterator[None]:
        before, self._invoker.io_thread = self._invoker.io_thread, ident
        try:
            yield
        finally:
            self._invoker.io_thread = before
