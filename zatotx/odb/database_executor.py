"""Runs database calls in threads, in order. Their timeouts are enforced by the reactor.

A call without progress for that long is abandoned: its Deferred fails with Timeout, and what it would still write is
rolled back, so that a reported failure is never a success. Only a commit that has started is waited for.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from zatotx.interfaces.meters import ICallMeter, NullMeter, count_call
from zatotx.model.errors import ServiceUnavailable, Timeout
from zatotx.system.thread_pool import DaemonThreadPool, IThreadReactor, stop_pools

CALL_DEADLINE = 4.0  # seconds without progress; below the 5 of the contract, above the timeouts in engines/dialect.py

_T = TypeVar('_T')


class DatabaseCallAbandoned(Exception):  # noqa: N818 - never reported: it only unwinds the thread
    """Raised in the thread of a database call whose timeout has passed."""


class CancellableCall:
    """A database call, as seen by the function that runs in the thread. The function reports its progress, and checks
    before the commit whether the call was abandoned."""

    __slots__ = ('_committing', '_is_abandoned', '_last_progress', '_lock', '_progress_count')

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_abandoned = False
        self._committing = False
        self._progress_count = 0
        self._last_progress = time.monotonic()

    def report_progress(self) -> None:
        """Report progress. Raises DatabaseCallAbandoned as `check_abandoned` does."""
        self._progress_count += 1
        self._last_progress = time.monotonic()
        self.check_abandoned()

    def check_abandoned(self) -> None:
        """Raise DatabaseCallAbandoned if the caller no longer waits."""
        if self._is_abandoned:
            raise DatabaseCallAbandoned

    def begin_commit(self) -> None:
        """Mark the start of the commit, after which the call cannot be abandoned. Raises DatabaseCallAbandoned if it
        was."""
        with self._lock:
            if self._is_abandoned:
                raise DatabaseCallAbandoned
            self._committing = True

    def restart(self) -> None:
        """Mark that the transaction starts over without a commit. Raises DatabaseCallAbandoned if the caller no longer
        waits."""
        with self._lock:
            self._committing = False
        self.check_abandoned()

    @property
    def is_committing(self) -> bool:
        """Whether the commit has started, so that its outcome is unknown if it fails."""
        return self._committing

    def progress_count(self) -> int:
        """Return the number of progress reports."""
        return self._progress_count

    def seconds_since_progress(self) -> float:
        """Return the seconds since the last progress."""
        return time.monotonic() - self._last_progress

    def abandon(self) -> bool:
        """Abandon the call. Returns False if it is committing and cannot be abandoned."""
        with self._lock:
            self._is_abandoned = not self._committing
            return self._is_abandoned


class DatabaseExecutor:
    """Runs database calls in `threads` threads. `database_name` is the URL of the ODB without its password, for use in
    messages."""

    def __init__(self, reactor: IThreadReactor, *, threads: int, name: str, database_name: str) -> None:
        self._reactor = reactor
        self._database_name = database_name
        self.meter: ICallMeter = NullMeter()  # counts calls, including the time they wait for a thread
        self._pool = DaemonThreadPool(name, threads)
        self._pool.start()
        self._pending: set[_PendingCall] = set()
        self._closed = False

    def run(self, function: Callable[[CancellableCall], _T]) -> Deferred[_T]:
        """Call the function in a thread. Fails with Timeout after the deadline, with ServiceUnavailable once closed."""
        return count_call(self.meter, self._reactor.seconds, self._run(function))

    def _run(self, function: Callable[[CancellableCall], _T]) -> Deferred[_T]:
        pending = _PendingCall(self._reactor, self._database_name, self._pending.discard)
        if self._closed:
            pending.deferred.errback(Failure(ServiceUnavailable(None, f'The ODB ({self._database_name}) is closed')))
            return pending.deferred
        self._pending.add(pending)
        pending.begin()
        self._pool.callInThread(lambda: pending.work(function))
        return pending.deferred

    async def close(self) -> None:
        """Reject new calls, wait for the running ones, and end the threads; a blocked thread is abandoned."""
        if self._closed:
            return
        self._closed = True
        for pending in list(self._pending):
            await pending.over()
        await stop_pools(self._reactor, [self._pool], CALL_DEADLINE)


class _PendingCall:
    """The reactor's side of a call."""

    def __init__(self, reactor: IThreadReactor, what: str, done: Callable[[_PendingCall], None]) -> None:
        self.deferred: Deferred[Any] = Deferred(self._on_cancel)
        self._waiters: list[Deferred[None]] = []
        self._call = CancellableCall()
        self._reactor = reactor
        self._database_name = what
        self._on_done = done
        self._last_progress_count = 0
        self._timer: Any = None

    def begin(self) -> None:
        """Start the deadline."""
        self._timer = self._reactor.callLater(CALL_DEADLINE, self._check_deadline)

    def work(self, function: Callable[[CancellableCall], Any]) -> None:
        """Run the function and pass its result to the reactor. Called in the thread; waiting for one is no progress."""
        result: Any = None
        try:
            self._call.check_abandoned()
            result = function(self._call)
        except BaseException:
            result = Failure()
        self._reactor.callFromThread(self._ended, result)
        result = None  # a Failure references this frame; the cycle would keep the data until the next collection

    def _ended(self, result: Any) -> None:
        """Handle the thread's result; after the deadline it is discarded."""
        if self._timer is not None:
            self._finish(result)

    def over(self) -> Deferred[None]:
        """Fires when the call has a result of any kind."""
        waiting: Deferred[None] = Deferred()
        self._waiters.append(waiting)
        return waiting

    def _check_deadline(self) -> None:
        moves = self._call.progress_count()
        if moves != self._last_progress_count:
            self._last_progress_count = moves
            self._timer = self._reactor.callLater(
                max(CALL_DEADLINE - self._call.seconds_since_progress(), 0), self._check_deadline
            )
        elif self._call.abandon():
            self._finish(
                Failure(Timeout(None, f'The ODB ({self._database_name}) did not answer within {CALL_DEADLINE:g} s'))
            )
        else:
            self._finish(Failure(Timeout(None, self._unconfirmed_message())))

    def _unconfirmed_message(self) -> str:
        return (
            f'The ODB ({self._database_name}) did not confirm a commit within {CALL_DEADLINE:g} s: '
            'check whether it was made'
        )

    def _on_cancel(self, _: Deferred[Any]) -> None:
        self._call.abandon()
        self._forget()

    def _finish(self, result: Any) -> None:
        self._forget()
        self.deferred.callback(result)

    def _forget(self) -> None:
        if self._timer.active():
            self._timer.cancel()
        self._timer = None
        self._on_done(self)
        for waiting in self._waiters:
            waiting.callback(None)
