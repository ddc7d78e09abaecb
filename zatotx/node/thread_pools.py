"""Thread pools of daemon threads, which cannot keep the process from ending, and how often threads take turns."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from threading import Thread
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

STOP_TIMEOUT = 2.0  # seconds that the threads of a pool get to finish
SWITCH_INTERVAL = 0.0002  # seconds, see shorten_switch_interval

_log = Logger()


def shorten_switch_interval() -> None:
    """Make threads that compute pass on the GIL after 0.2 ms instead of Python's 5 ms. The reactor's thread waits at
    least so long each time it wants the GIL back: after the poll, each read and each write, and several times as long
    if several threads compute. With four of them and 200 requests per second, 5 ms and sometimes 0.5 ms are too much:
    the requests queue up."""
    sys.setswitchinterval(SWITCH_INTERVAL)


def make_daemon_pool(name: str, size: int) -> ThreadPool:
    """Return a pool of at most `size` daemon threads, started on demand. A service that never returns blocks its
    thread, but not the end of the process."""
    pool = ThreadPool(0, size, name)
    pool.threadFactory = _make_daemon_thread  # type: ignore[assignment]
    return pool


def _make_daemon_thread(*args: Any, **kwargs: Any) -> Thread:
    return Thread(*args, **{**kwargs, 'daemon': True})


async def stop_pools(reactor: Any, pools: Sequence[Any]) -> None:
    """Stop the pools. Threads that do not finish within PATIENCE seconds are abandoned."""
    stopped: Deferred[None] = Deferred()

    def stop() -> None:
        for pool in pools:
            if pool.started:
                pool.stop()
        reactor.callFromThread(settle, None)

    def settle(_: object) -> None:
        if not stopped.called:
            stopped.callback(None)

    def give_up() -> None:
        _log.warn('Service threads are still busy and are abandoned')
        settle(None)

    Thread(target=stop, daemon=True, name='stop-pools').start()
    timeout = reactor.callLater(STOP_TIMEOUT, give_up)
    await stopped
    if timeout.active():
        timeout.cancel()


# Runs functions in a thread pool, like twisted.internet.threads.deferToThreadPool, with two differences: failures
# keep no reference cycle alive (Twisted's hold their frames, with all local data, until the next garbage collection),
# and a call that was cancelled before it started is not run.

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
