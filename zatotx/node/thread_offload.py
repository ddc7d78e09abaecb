"""Work for the threads of a pool, as twisted.internet.threads.deferToThreadPool gives it to them, but nothing of it is
left behind: there, a failure and the frames it was raised in hold each other, with all that was worked on, until the
garbage collector comes by; and what nobody waits for any more is done all the same.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure


def offloader(reactor: Any, pool: Any) -> Callable[..., Deferred[Any]]:
    """`(function, *args)`: run it in a thread of the pool, and fire with its result or failure in the reactor's. What
    is cancelled before a thread has come to it is not run. `reactor`: IReactorFromThreads; `pool`: a ThreadPool."""

    def offload(function: Callable[..., Any], *args: Any, **named: Any) -> Deferred[Any]:
        job = _Job(reactor, partial(function, *args, **named))
        pool.callInThread(job.run)
        return job.done

    return offload


class _Job:
    """One call."""

    __slots__ = ('_reactor', '_work', 'done')

    def __init__(self, reactor: Any, work: Callable[[], Any]) -> None:
        self._reactor = reactor
        self._work: Callable[[], Any] | None = work
        self.done: Deferred[Any] = Deferred(self._cancel)

    def run(self) -> None:
        """In the thread."""
        work, self._work = self._work, None
        if work is None:
            return
        result: Any = None
        try:
            result = work()
        except BaseException:
            result = Failure()
        self._reactor.callFromThread(self._finish, result)
        result = None  # a failure holds this frame

    def _finish(self, result: Any) -> None:
        if not self.done.called:  # else it was cancelled
            self.done.callback(result)

    def _cancel(self, done: Deferred[Any]) -> None:
        self._work = None
