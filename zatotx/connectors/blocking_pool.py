"""A bounded thread pool for the calls of a blocking driver. A call that exceeds its timeout is canceled on the remote
server.

A pool belongs to one connection, so that a slow peer cannot take the threads of another. Calls beyond its size wait in
the reactor, in their order. The deadline of a call includes that wait.

A thread that runs into the deadline cannot be stopped: `interrupt` makes the driver's call end (PostgreSQL's cancel
request, sqlite3's interrupt, the shutdown of a socket). It runs in a thread of its own, as it may block too. The slot
is given to the next call only when both the call and its interrupt have returned, so that a late interrupt never hits
a call that it was not meant for.

A driver that cannot be interrupted may abandon calls instead, up to a limit: the slot is given to the next call at the
deadline, and the thread ends when its call returns.

A slot can be leased for several calls, as a transaction needs it. The lease takes a thread only while a call runs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from threading import Thread
from typing import Any, Protocol, TypeVar

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from zatotx.connectors.call_policies import CallTimedOut
from zatotx.system.thread_pool import DaemonThreadPool, IThreadReactor

T = TypeVar('T')

Interrupt = Callable[[], object]


class BlockingPoolClosed(Exception):  # noqa: N818 - kinds map it to an error of their own
    """The pool is being closed and accepts no further calls."""


class SlotHeldByCaller(Exception):  # noqa: N818 - kinds map it to an error of their own
    """The caller itself holds all slots of the pool. Its next call would wait for a slot until the timeout, so it is
    rejected."""


class _SlotRequest(Protocol):
    """What waits for a slot."""

    def begin(self) -> None:
        """The slot is available."""

    def give_up(self, reason: Failure) -> None:
        """End the wait."""


class BlockingPool:
    """A pool of at most `size` daemon threads for blocking calls. Threads are started on demand. The threads of
    abandoned calls do not count towards `size`.

    `name`: prefix of the threads' names. `reactor`: IReactorTime and IReactorFromThreads. `max_abandoned`: calls
    without an interrupt whose slot is free at their deadline though they have not returned; others keep theirs.
    """

    def __init__(self, reactor: IThreadReactor, size: int, name: str, max_abandoned: int = 0) -> None:
        self._reactor = reactor
        self._name = name
        self._size = size
        self._free = size  # slots
        self._max_abandoned = max_abandoned
        self.abandoned = 0  # calls that have not returned, and have no slot any more
        self._threads = DaemonThreadPool(name, size + max_abandoned)
        self._threads.start()
        self._waiting: deque[_SlotRequest] = deque()
        self._running: set[_PendingCall] = set()
        self._leases: set[SlotLease] = set()
        self._is_open = True
        self._closed: Deferred[None] = Deferred()

    @property
    def waiting(self) -> int:
        """Calls that wait for a slot."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """Calls that occupy a thread, including calls that were given up."""
        return len(self._running)

    @property
    def leased(self) -> int:
        """Slots that are leased."""
        return len(self._leases)

    def run(self, function: Callable[..., T], *args: Any, timeout: float, interrupt: Interrupt | None = None,
            owner: object = None) -> Deferred[T]:
        """Call the function in a thread.

        Fails with CallTimedOut after `timeout` seconds, BlockingPoolClosed once the pool closes, SlotHeldByCaller if
        `owner` leases all slots. A Deferred that is cancelled fails with CancelledError at once. In each of these cases
        `interrupt` is called where the function had begun.
        """
        call = _PendingCall(self, function, args, timeout, interrupt)
        self._request(call, call.deferred, timeout, owner)
        return call.deferred

    def lease(self, *, timeout: float, owner: object = None, revoked: Callable[[], object] | None = None
              ) -> Deferred[SlotLease]:
        """Lease a slot for several calls. `owner`: the identity of who leases it, None = unknown. `revoked` is called
        when the pool closes while the slot is leased. Fails as `run` does."""
        request = _LeaseRequest(self, owner, revoked)
        self._request(request, request.deferred, timeout, owner)
        return request.deferred

    def drain(self) -> Deferred[None]:
        """Take no further calls and leases. Those that were accepted before end in the normal way. Fires when no slot
        is in use."""
        self._is_open = False
        self._settle()
        return self._when_closed()

    def close(self) -> Deferred[None]:
        """Take no further calls, fail those that wait, interrupt those that run, and revoke leases. Fires when no slot
        is in use."""
        self._is_open = False
        for request in (*self._waiting, *self._running):
            request.give_up(Failure(BlockingPoolClosed()))
        for lease in tuple(self._leases):
            lease.revoke()
        self._settle()
        return self._when_closed()

    # Called by calls and leases, in the reactor.

    def forget(self, request: _SlotRequest) -> None:
        """The request was given up while it waited."""
        self._waiting.remove(request)

    def interrupt(self, call: _PendingCall, interrupt: Interrupt) -> None:
        """Run an interrupt in a thread of its own."""
        Thread(target=_interrupt, args=(self._reactor, call, interrupt), name=f'{self._name}-interrupt',
               daemon=True).start()  # fmt: skip

    def start(self, call: _PendingCall) -> None:
        """Run a call that has a slot."""
        self._running.add(call)
        self._threads.callInThread(lambda: call.run(self._reactor))

    def returned(self, call: _PendingCall) -> None:
        """The thread of a call is idle again."""
        self._running.discard(call)

    def abandon(self, call: _PendingCall) -> bool:
        """Forget a call that has not returned; return whether that is allowed."""
        if self.abandoned >= self._max_abandoned:
            return False
        self.abandoned += 1
        self._running.discard(call)
        return True

    def abandoned_returned(self) -> None:
        """The thread of an abandoned call is idle again."""
        self.abandoned -= 1

    def add_lease(self, lease: SlotLease) -> None:
        """A lease has got its slot."""
        self._leases.add(lease)

    def remove_lease(self, lease: SlotLease) -> None:
        """A lease has returned its slot."""
        self._leases.discard(lease)
        self.free_slot()

    def free_slot(self) -> None:
        """A slot is free again."""
        self._free += 1
        if self._waiting:
            self._free -= 1
            self._waiting.popleft().begin()
        self._settle()

    def start_timer(self, timeout: float, request: _SlotRequest) -> Any:
        """Give the request up with CallTimedOut after `timeout` seconds."""
        return self._reactor.callLater(timeout, lambda: request.give_up(Failure(CallTimedOut(timeout))))

    def _request(self, request: _PendingCall | _LeaseRequest, deferred: Deferred[Any], timeout: float, owner: object
                 ) -> None:
        if not self._is_open:
            deferred.errback(BlockingPoolClosed())
        elif self._free:
            self._free -= 1
            request.timer = self.start_timer(timeout, request)
            request.begin()
        elif owner is not None and self._holds_all(owner):
            deferred.errback(SlotHeldByCaller())
        else:
            request.timer = self.start_timer(timeout, request)
            self._waiting.append(request)

    def _holds_all(self, owner: object) -> bool:
        held = [lease for lease in self._leases if lease.owner is owner and lease.is_open and not lease.is_ending]
        return len(held) == self._size

    def _when_closed(self) -> Deferred[None]:
        if self._closed.called:
            return succeed(None)
        waiting: Deferred[None] = Deferred()
        self._closed.addCallback(lambda _: waiting.callback(None))
        return waiting

    def _settle(self) -> None:
        if self._is_open or self._running or self._leases or self._waiting:
            return
        self._threads.close()
        if not self._closed.called:
            self._closed.callback(None)


class SlotLease:
    """A lease of one slot of a BlockingPool for several calls, which run one after another."""

    def __init__(self, pool: BlockingPool, owner: object, revoked: Callable[[], object] | None) -> None:
        self.owner = owner
        self._pool = pool
        self._on_revoke = revoked
        self._calls: deque[_PendingCall] = deque()  # the first one runs
        self.is_open = True
        self.is_ending = False  # set in any thread by an owner that is about to release it

    def run(self, function: Callable[..., T], *args: Any, timeout: float, interrupt: Interrupt | None = None
            ) -> Deferred[T]:
        """Call the function in a thread, after the calls of this lease before it. Fails as BlockingPool.run, and with
        BlockingPoolClosed after `release`."""
        call = _PendingCall(self._pool, function, args, timeout, interrupt, self)
        if not self.is_open:
            call.deferred.errback(BlockingPoolClosed())
            return call.deferred
        call.timer = self._pool.start_timer(timeout, call)
        self._calls.append(call)
        if len(self._calls) == 1:
            call.begin()
        return call.deferred

    def release(self) -> None:
        """Take no further calls, and return the slot when the last one has ended."""
        if self.is_open:
            self.is_open = False
            if not self._calls:
                self._pool.remove_lease(self)

    # Called by the pool and by calls, in the reactor.

    def revoke(self) -> None:
        """The pool closes."""
        for call in tuple(self._calls):
            call.give_up(Failure(BlockingPoolClosed()))
        if self._on_revoke is not None and self.is_open:
            self._on_revoke()
        self.release()

    def forget(self, call: _PendingCall) -> None:
        """The call was given up while it waited for the calls before it."""
        self._calls.remove(call)

    def free_slot(self) -> None:
        """The first call has ended: begin the next one."""
        self._calls.popleft()
        if self._calls:
            self._calls[0].begin()
        elif not self.is_open:
            self._pool.remove_lease(self)


class _LeaseRequest:
    """A lease, until it has a slot."""

    def __init__(self, pool: BlockingPool, owner: object, revoked: Callable[[], object] | None) -> None:
        self.deferred: Deferred[SlotLease] = Deferred(lambda _: self.give_up(Failure(CancelledError())))
        self.timer: Any = None
        self._pool = pool
        self._owner = owner
        self._revoked = revoked

    def begin(self) -> None:
        """See _SlotRequest."""
        self.timer.cancel()
        lease = SlotLease(self._pool, self._owner, self._revoked)
        self._pool.add_lease(lease)
        self.deferred.callback(lease)

    def give_up(self, reason: Failure) -> None:
        """See _SlotRequest."""
        if self.timer.active():
            self.timer.cancel()
        self._pool.forget(self)
        self.deferred.errback(reason)


class _PendingCall:
    """One call, from its queueing until its slot is free."""

    _log = Logger()

    def __init__(self, pool: BlockingPool, function: Callable[..., Any], args: tuple[Any, ...], timeout: float,
                 interrupt: Interrupt | None, lease: SlotLease | None = None) -> None:
        self.deferred: Deferred[Any] = Deferred(self._cancelled)
        self.function = function
        self.args = args
        self.timer: Any = None
        self._pool = pool
        self._queue: BlockingPool | SlotLease = pool if lease is None else lease  # where it waits, and frees its slot
        self._interrupt = interrupt
        self._is_over = False  # the Deferred has its result
        self._has_begun = False
        self._has_returned = False
        self._interrupting = False
        self._is_abandoned = False

    def begin(self) -> None:
        """See _SlotRequest."""
        self._has_begun = True
        self._pool.start(self)

    def run(self, reactor: IThreadReactor) -> None:
        """Call the function, and pass its result to the reactor. Called in a thread of the pool."""
        result: Any
        try:
            result = self.function(*self.args)
        except BaseException:
            result = Failure()
        reactor.callFromThread(self.returned, result)
        result = None  # a Failure references this frame

    def give_up(self, reason: Failure) -> None:
        """Fail the Deferred, and interrupt the call where it has begun."""
        if self._is_over:
            return
        self._finish()
        if not self._has_begun:
            self._queue.forget(self)
        elif self._interrupt is not None:
            self._interrupting = True
            self._pool.interrupt(self, self._interrupt)
        elif self._pool.abandon(self):
            self._is_abandoned = True
            self._queue.free_slot()
        self.deferred.errback(reason)

    def returned(self, result: Any) -> None:
        """The function has returned."""
        self._has_returned = True
        if self._is_abandoned:
            self._pool.abandoned_returned()
            self._forget()
        elif not self._is_over:
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
        self._pool.returned(self)
        self._queue.free_slot()
        self._forget()

    def _forget(self) -> None:
        self.function, self.args, self._interrupt = _nothing, (), None


def _interrupt(reactor: IThreadReactor, call: _PendingCall, interrupt: Interrupt) -> None:
    failure = None
    try:
        interrupt()
    except Exception:
        failure = Failure()
    reactor.callFromThread(call.interrupted, failure)


def _nothing() -> None:
    """What a finished call holds instead of its function."""
