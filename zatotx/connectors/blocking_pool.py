"""A bounded thread pool for the calls of a driver that blocks, each with a deadline, and cancelled at the peer.

A pool belongs to one connection, so that a slow peer cannot take the threads of another. Calls beyond its size wait in
the reactor, in their order. The deadline of a call includes that wait.

A thread that runs into the deadline cannot be stopped: `interrupt` makes the driver's call end (PostgreSQL's cancel
request, sqlite3's interrupt, the shutdown of a socket). It runs in a thread of its own, as it may block too. The slot
is given to the next call only when both the call and its interrupt have returned, so that a late interrupt never hits
a call that it was not meant for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from zatotx.connectors.call_policies import CallTimedOut

T = TypeVar('T')

Interrupt = Callable[[], object]


class PoolClosed(Exception):  # noqa: N818 - kinds map it to an error of their own
    """The connection is being closed and takes no further calls."""


class BlockingPool:
    """At most `size` daemon threads, started when they are needed.

    `name`: prefix of the threads' names. `reactor`: IReactorTime and IReactorFromThreads.
    """

    def __init__(self, reactor: Any, size: int, name: str) -> None:
        self._reactor = reactor
        self._name = name
        self._free = size  # slots
        self._idle: list[_Thread] = []
        self._waiting: deque[_PendingCall] = deque()
        self._running: set[_PendingCall] = set()
        self._closed: Deferred[None] | None = None
        self._started = 0

    @property
    def waiting(self) -> int:
        """Calls that wait for a thread."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """Slots that are in use, those of calls that were given up included."""
        return len(self._running)

    def run(self, function: Callable[..., T], *args: Any, timeout: float, interrupt: Interrupt | None = None
            ) -> Deferred[T]:
        """Call the function in a thread.

        Fails with CallTimedOut after `timeout` seconds, PoolClosed once the pool closes. A Deferred that is cancelled
        fails with CancelledError at once. In each of these cases `interrupt` is called where the function had begun.
        """
        call = _PendingCall(self, function, args, timeout, interrupt)
        if self._closed is not None:
            call.deferred.errback(PoolClosed())
            return call.deferred
        call.timer = self._reactor.callLater(timeout, call.time_out)
        if self._free:
            self._begin(call)
        else:
            self._waiting.append(call)
        return call.deferred

    def close(self) -> Deferred[None]:
        """Take no further calls, fail those that wait, and interrupt those that run. Fires when no slot is in use."""
        if self._closed is None:
            self._closed = Deferred()
            for call in (*self._waiting, *self._running):
                call.give_up(Failure(PoolClosed()))
            self._settle()
        waiting: Deferred[None] = Deferred()
        if self._closed.called:
            return succeed(None)
        self._closed.addCallback(lambda _: waiting.callback(None))
        return waiting

    # Called by _PendingCall, in the reactor.

    def forget(self, call: _PendingCall) -> None:
        """The call was given up while it waited."""
        self._waiting.remove(call)

    def interrupt(self, call: _PendingCall, interrupt: Interrupt) -> None:
        """Run an interrupt in a thread of its own."""
        Thread(target=_interrupt, args=(self._reactor, call, interrupt), name=f'{self._name}-interrupt',
               daemon=True).start()  # fmt: skip

    def release(self, call: _PendingCall) -> None:
        """The call's slot is free again."""
        self._running.discard(call)
        self._free += 1
        if call.thread is not None:
            self._idle.append(call.thread)
        if self._waiting:
            self._begin(self._waiting.popleft())
        self._settle()

    def _begin(self, call: _PendingCall) -> None:
        self._free -= 1
        self._running.add(call)
        if self._idle:
            thread = self._idle.pop()
        else:
            self._started += 1
            thread = _Thread(self._reactor, f'{self._name}-{self._started}')
        call.begin(thread)

    def _settle(self) -> None:
        if self._closed is None or self._running:
            return
        for thread in self._idle:
            thread.stop()
        self._idle.clear()
        if not self._closed.called:
            self._closed.callback(None)


class _Thread:
    """One thread of a pool: runs a call at a time."""

    def __init__(self, reactor: Any, name: str) -> None:
        self._reactor = reactor
        self._calls: SimpleQueue[_PendingCall | None] = SimpleQueue()
        Thread(target=self._work, name=name, daemon=True).start()

    def run(self, call: _PendingCall) -> None:
        self._calls.put(call)

    def stop(self) -> None:
        """End when the current call returns."""
        self._calls.put(None)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            result: Any
            try:
                result = call.function(*call.args)
            except BaseException:
                result = Failure()
            self._reactor.callFromThread(call.returned, result)
            del call, result  # else an idle thread keeps them alive


class _PendingCall:
    """One call, from its queueing until its slot is free."""

    _log = Logger()

    def __init__(self, pool: BlockingPool, function: Callable[..., Any], args: tuple[Any, ...], timeout: float,
                 interrupt: Interrupt | None) -> None:
        self.deferred: Deferred[Any] = Deferred(self._cancelled)
        self.function = function
        self.args = args
        self.thread: _Thread | None = None
        self.timer: Any = None
        self._pool = pool
        self._timeout = timeout
        self._interrupt = interrupt
        self._is_over = False  # the Deferred has its result
        self._has_returned = False
        self._interrupting = False

    def begin(self, thread: _Thread) -> None:
        """A slot is free."""
        self.thread = thread
        thread.run(self)

    def time_out(self) -> None:
        """The deadline has passed."""
        self.give_up(Failure(CallTimedOut(self._timeout)))

    def give_up(self, reason: Failure) -> None:
        """Fail the Deferred, and interrupt the call where it has begun."""
        if self._is_over:
            return
        self._finish()
        if self.thread is None:
            self._pool.forget(self)
        elif self._interrupt is not None:
            self._interrupting = True
            self._pool.interrupt(self, self._interrupt)
        self.deferred.errback(reason)

    def returned(self, result: Any) -> None:
        """The function has returned."""
        self._has_returned = True
        if not self._is_over:
            self._finish()
            self._release()
            self.deferred.callback(result)
        elif not self._interrupting:
            self._release()

    def interrupted(self, failure: Failure | None) -> None:
        """The interrupt has returned."""
        self._interrupting = False
        if failure is not None:
            self._log.failure('A call that timed out could not be cancelled at its peer', failure)
        if self._has_returned:
            self._release()

    def _cancelled(self, _: Deferred[Any]) -> None:
        self.give_up(Failure(CancelledError()))

    def _finish(self) -> None:
        self._is_over = True
        if self.timer is not None and self.timer.active():
            self.timer.cancel()

    def _release(self) -> None:
        self._pool.release(self)
        self.function, self.args, self._interrupt = _nothing, (), None


def _interrupt(reactor: Any, call: _PendingCall, interrupt: Interrupt) -> None:
    failure = None
    try:
        interrupt()
    except Exception:
        failure = Failure()
    reactor.callFromThread(call.interrupted, failure)


def _nothing() -> None:
    """What a finished call holds instead of its function."""
