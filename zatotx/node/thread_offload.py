"""Runs functions in a thread pool, like twisted.internet.threads.deferToThreadPool, with two differences: failures keep
no reference cycle alive (Twisted's hold their frames, with all local data, until the next garbage collection), and a
call that was cancelled before it started is not run."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure


def make_offload(reactor: Any, pool: Any) -> Callable[..., Deferred[Any]]:
    """Return a function `(function, *args)` that runs `function` in a thread of the pool and returns a Deferred, which
    fires in the reactor's thread. A call that is cancelled before a thread has started it is not run. `reactor`:
    IReactorFromThreads; `pool`: a ThreadPool."""

    def offload(function: Callable[..., Any], *args: Any, **named: Any) -> Deferred[Any]:
        job = _Job(reactor, partial(function, *args, **named))
        pool.callInThread(job.run)
        return job.done

    return offload


class _Job:
    """One call of a function in a thread."""

    __slots__ = ('_reactor', '_work', 'done')

    def __init__(self, reactor: Any, work: Callable[[], Any]) -> None:
        self._reactor = reactor
        self._work: Callable[[], Any] | None = work
        self.done: Deferred[Any] = Deferred(self._cancel)

    def run(self) -> None:
        """Run the function. Called in a thread of the pool."""
        work, self._work = self._work, None
        if work is None:
            return
        result: Any = None
        try:
            result = work()
        except BaseException:
            result = Failure()
        self._reactor.callFromThread(self._finish, result)
        result = None  # a failure references this frame

    def _finish(self, result: Any) -> None:
        if not self.done.called:  # else it was cancelled
            self.done.callback(result)

    def _cancel(self, done: Deferred[Any]) -> None:
        self._work = None
