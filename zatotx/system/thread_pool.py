"""Thread pools whose threads start on demand and take jobs from one SimpleQueue.

Under load, a call costs a tenth of one in twisted.python.threadpool, and the threads do not keep the process alive.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from zatotx.model.errors import ServiceUnavailable

STOP_TIMEOUT = 2.0  # seconds that the threads of a pool get to finish
SWITCH_INTERVAL = 0.0002  # seconds, see shorten_switch_interval
Job = Callable[[], object]


def shorten_switch_interval() -> None:
    """Make threads that compute release the GIL after 0.2 ms instead of Python's default of 5 ms. The reactor's thread
    waits at least that long each time it needs the GIL again, which is after the poll, each read and each write. It
    waits several times as long if several threads compute. With four threads and 200 requests per second, 5 ms and
    sometimes 0.5 ms are too long, and requests queue up."""
    sys.setswitchinterval(SWITCH_INTERVAL)


class IThreadReactor(IReactorTime, IReactorFromThreads):
    """A reactor with timers that other threads can call."""


class DaemonThreadPool:
    """A pool of at most `size` daemon threads. The process can exit even if a job never returns.

    At most `max_queued` jobs are queued (None: any number); `rejected` counts the jobs rejected because the queue was
    full.
    """

    _log = Logger()

    def __init__(self, name: str, size: int, max_queued: int | None = None) -> None:
        self.name = name
        self.size = size
        self.max_queued = max_queued
        self.rejected = 0
        self.started = False
        self.threads: list[Thread] = []
        self._busy_flags: list[bool] = []  # whether each thread is busy; each thread writes its own item
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._lock = Lock()

    def start(self) -> None:
        """Start running jobs, including those queued before."""
        self.started = True
        self._grow()

    def close(self) -> list[Thread]:
        """Run the queued jobs, then end all threads, without waiting for it. Returns the threads."""
        with self._lock:
            self.started = False
            threads, self.threads = self.threads, []
        for _ in threads:
            self._jobs.put(None)
        return threads

    def stop(self) -> None:
        """Run the queued jobs, then end all threads.

        Blocks until they have ended; never call it in the reactor's thread.
        """
        for thread in self.close():
            thread.join()

    @property
    def busy(self) -> int:
        """The number of threads that run a job."""
        return sum(self._busy_flags)

    @property
    def waiting(self) -> int:
        """The number of queued jobs."""
        return self._jobs.qsize()

    def callInThread(self, job: Job) -> None:
        """Queue a job. May be called from any thread. Raises ServiceUnavailable if the queue is full."""
        if self.max_queued is not None and self._jobs.qsize() >= self.max_queued:
            self.rejected += 1
            reason = f'All {self.size} {self.name} threads are busy and {self.max_queued} calls wait: try again later'
            raise ServiceUnavailable(None, reason)
        self._jobs.put(job)
        if len(self.threads) < self.size:
            self._grow()

    def _grow(self) -> None:
        """Start another thread if jobs are queued. Not called any more once all threads are running."""
        with self._lock:
            if self.started and len(self.threads) < self.size and not self._jobs.empty():
                number = len(self._busy_flags)
                self._busy_flags.append(False)
                thread = Thread(target=self._work, args=(number,), daemon=True, name=f'{self.name}-{number}')
                self.threads.append(thread)
                thread.start()

    def _work(self, number: int) -> None:
        get, busy_flags = self._jobs.get, self._busy_flags
        while True:
            job = get()
            if job is None:
                return
            busy_flags[number] = True
            try:
                job()
            except Exception:
                self._log.failure('A job of the {name} threads failed', name=self.name)
            busy_flags[number] = False
            del job  # release the job's references while waiting for the next one


async def stop_pools(reactor: IThreadReactor, pools: Sequence[DaemonThreadPool], timeout: float = STOP_TIMEOUT) -> bool:
    """Stop the pools. Threads that do not finish within `timeout` seconds are abandoned. Returns whether all threads
    have finished."""
    stopped: Deferred[bool] = Deferred()

    def stop() -> None:
        for pool in pools:
            pool.stop()
        reactor.callFromThread(settle, True)

    def settle(complete: bool) -> None:
        if not stopped.called:
            stopped.callback(complete)

    Thread(target=stop, daemon=True, name='stop-pools').start()
    timer = reactor.callLater(timeout, settle, False)
    complete = await stopped
    if timer.active():
        timer.cancel()
    return complete


# Runs functions in a thread pool, like twisted.internet.threads.deferToThreadPool, with two differences: failures
# keep no reference cycle alive (Twisted's hold their frames, with all local data, until the next garbage collection),
# and a call that was cancelled before it started is not run.


def make_offload(reactor: IReactorFromThreads, pool: DaemonThreadPool) -> Callable[..., Deferred[Any]]:
    """Return an offload function. It is called with a function and its arguments, runs them in a thread of the pool,
    and returns a Deferred, which fires in the reactor's thread. A call that is canceled before a thread has started it
    is not run."""

    def offload(function: Callable[..., Any], *args: Any, **named: Any) -> Deferred[Any]:
        job = _Job(reactor, partial(function, *args, **named))
        pool.callInThread(job.run)
        return job.done

    return offload


class _Job:
    """One call of a function in a thread."""

    __slots__ = ('_reactor', '_work', 'done')

    def __init__(self, reactor: IReactorFromThreads, work: Callable[[], Any]) -> None:
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
