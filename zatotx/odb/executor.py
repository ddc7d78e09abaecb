"""The ODB's threads. A lane runs plain functions in order, and gives each call a deadline in the reactor.

A call that made no progress for that long is given up: its Deferred fails with Timeout, and what it would still write
is rolled back, so that a caller who was told "no" is never told wrong. Only a commit already under way is waited for.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from zatotx.interfaces.meters import NoMeter, count_call
from zatotx.model.errors import ServiceUnavailable, Timeout

DEADLINE = 4.0  # seconds without progress; below the contract's 5, above the times of engines/room.py

_T = TypeVar('_T')


class CallAbandoned(Exception):  # noqa: N818 - nobody sees it: it only unwinds the thread
    """The deadline of the call has passed."""


class CancellableCall:
    """One call, seen from its thread: says that it moves on, and asks before it commits."""

    __slots__ = ('_committing', '_given_up', '_lock', '_moved_at', '_moves')

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._given_up = False
        self._committing = False
        self._moves = 0
        self._moved_at = time.monotonic()

    def moved(self) -> None:
        """Some work is done. Raises as check does."""
        self._moves += 1
        self._moved_at = time.monotonic()
        self.check()

    def check(self) -> None:
        """Raises CallAbandoned where nobody waits any more."""
        if self._given_up:
            raise CallAbandoned

    def committing(self) -> None:
        """From here on the call cannot be given up. Raises CallAbandoned where it was."""
        with self._lock:
            if self._given_up:
                raise CallAbandoned
            self._committing = True

    def again(self) -> None:
        """The commit did not come about, and the work begins anew. Raises CallAbandoned where nobody waits any more."""
        with self._lock:
            self._committing = False
        self.check()

    @property
    def commits(self) -> bool:
        """Whether the commit was begun, so that nobody knows its outcome where it fails."""
        return self._committing

    def moves(self) -> int:
        return self._moves

    def resting(self) -> float:
        """Seconds since it moved last."""
        return time.monotonic() - self._moved_at

    def give_up(self) -> bool:
        """Whether the call could be given up: False once it commits."""
        with self._lock:
            self._given_up = not self._committing
            return self._given_up


class _DaemonThread(threading.Thread):
    """A thread that a frozen database holds must not keep the process alive."""

    daemon = True


class _DaemonPool(ThreadPool):
    threadFactory = _DaemonThread


class DatabaseExecutor:
    """`threads` threads in front of the ODB called `what`."""

    def __init__(self, reactor: Any, *, threads: int, name: str, what: str) -> None:
        self._reactor = reactor
        self._what = what
        self.meter: Any = NoMeter()  # ICallMeter: what calls are counted by, from their asking to their answer
        self._pool = _DaemonPool(0, threads, name)
        self._pool.start()
        self._waiting: set[_Wait] = set()
        self._closed = False

    def run(self, function: Callable[[CancellableCall], _T]) -> Deferred[_T]:
        """Call the function in a thread. Fails with Timeout as said above, ServiceUnavailable once closed."""
        return count_call(self.meter, self._reactor.seconds, self._run(function))

    def _run(self, function: Callable[[CancellableCall], _T]) -> Deferred[_T]:
        wait = _Wait(self._reactor, self._what, self._waiting.discard)
        if self._closed:
            wait.deferred.errback(Failure(ServiceUnavailable(None, f'The ODB ({self._what}) is closed')))
            return wait.deferred
        self._waiting.add(wait)
        wait.begin()
        self._pool.callInThreadWithCallback(
            lambda _, result: self._reactor.callFromThread(wait.ended, result), wait.work, function
        )
        return wait.deferred

    async def close(self) -> None:
        """Take no more calls, wait for those under way, end the threads; one that is stuck is left behind."""
        if self._closed:
            return
        self._closed = True
        for wait in list(self._waiting):
            await wait.over()
        ended: Deferred[None] = Deferred()
        threading.Thread(target=self._stop, args=(ended,), daemon=True).start()
        late = self._reactor.callLater(DEADLINE, _fire, ended)
        await ended
        if late.active():
            late.cancel()

    def _stop(self, ended: Deferred[None]) -> None:
        self._pool.stop()
        self._reactor.callFromThread(_fire, ended)


class _Wait:
    """The reactor's side of one call."""

    def __init__(self, reactor: Any, what: str, done: Callable[[_Wait], None]) -> None:
        self.deferred: Deferred[Any] = Deferred(self._cancelled)
        self._over: list[Deferred[None]] = []
        self._call = CancellableCall()
        self._reactor = reactor
        self._what = what
        self._done = done
        self._seen = 0
        self._timer: Any = None

    def begin(self) -> None:
        self._timer = self._reactor.callLater(DEADLINE, self._look)

    def work(self, function: Callable[[CancellableCall], Any]) -> Any:
        """In the thread. Having waited for it is no progress."""
        self._call.check()
        return function(self._call)

    def ended(self, result: Any) -> None:
        """The thread is through. A result that comes after the deadline has nobody to go to."""
        if self._timer is not None:
            self._finish(result)

    def over(self) -> Deferred[None]:
        """Fires when the call has an answer, whichever."""
        waiting: Deferred[None] = Deferred()
        self._over.append(waiting)
        return waiting

    def _look(self) -> None:
        moves = self._call.moves()
        if moves != self._seen:
            self._seen = moves
            self._timer = self._reactor.callLater(max(DEADLINE - self._call.resting(), 0), self._look)
        elif self._call.give_up():
            self._finish(Failure(Timeout(None, f'The ODB ({self._what}) did not answer within {DEADLINE:g} s')))
        else:
            self._finish(Failure(Timeout(None, self._unknown())))

    def _unknown(self) -> str:
        return f'The ODB ({self._what}) did not confirm a commit within {DEADLINE:g} s: look whether it was made'

    def _cancelled(self, _: Deferred[Any]) -> None:
        self._call.give_up()
        self._forget()

    def _finish(self, result: Any) -> None:
        self._forget()
        self.deferred.callback(result)

    def _forget(self) -> None:
        if self._timer.active():
            self._timer.cancel()
        self._timer = None
        self._done(self)
        for waiting in self._over:
            waiting.callback(None)


def _fire(deferred: Deferred[None]) -> None:
    if not deferred.called:
        deferred.callback(None)
