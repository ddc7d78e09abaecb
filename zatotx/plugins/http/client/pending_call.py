"""One call under way: where it stands, until when it may, and how it ends: once, by whoever is first of an answer, an
error, a deadline and its caller.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred

from zatotx.plugins.http.client.call import BodySource, HttpRequest, HttpResponse
from zatotx.plugins.http.client.errors import (
    CallFailed,
    ConnectTimeout,
    FirstByteTimeout,
    QueueTimeout,
    SilenceTimeout,
    TotalTimeout,
)
from zatotx.plugins.http.client.response_body import StreamedBody
from zatotx.plugins.http.client.timeout_sweeper import TimeoutSweeper
from zatotx.plugins.http.server.write_batch import WriteBatch

if TYPE_CHECKING:
    from zatotx.plugins.http.client.connection import ClientConnection
    from zatotx.plugins.http.client.pool import ConnectionPool

# Where a call stands.
QUEUED, CONNECTING, EXPECTING, ASKED, ANSWERED, OVER = range(6)
# RFC 9110 §9.2.2, and the safe ones of its registry.
IDEMPOTENT = frozenset({'GET', 'HEAD', 'OPTIONS', 'TRACE', 'PUT', 'DELETE', 'QUERY', 'PROPFIND', 'REPORT', 'SEARCH'})


class CallEnvironment:
    """What all clients of a node have in common."""

    __slots__ = ('burst', 'deadlines', 'reactor', 'seconds')

    def __init__(self, reactor: Any) -> None:
        self.reactor = reactor
        self.seconds: Callable[[], float] = reactor.seconds
        self.deadlines = TimeoutSweeper(reactor)
        self.burst = WriteBatch(reactor)


class PendingCall:
    """`data` is what goes out at once, `body` what follows it or None. `due` is looked at by `TimeoutSweeper`."""

    __slots__ = ('_deferred', '_shared', '_stream', '_until', 'begun', 'body', 'connection', 'data',
                 'dialing', 'due', 'outbound', 'pool', 'reached', 'renewed', 'stage', 'started')  # fmt: skip

    def __init__(
        self, shared: CallEnvironment, outbound: HttpRequest, data: bytes, body: bytes | BodySource | None
    ) -> None:
        self._shared = shared
        self.outbound = outbound
        self.data = data
        self.body = body
        now = self.started = shared.seconds()
        self._until = self.due = min(now + outbound.timeouts.total, outbound.deadline)
        self._deferred: Deferred[HttpResponse] | None = None  # once it is watched over
        self._stream: StreamedBody | None = None
        self.stage = QUEUED
        self.pool: ConnectionPool | None = None  # that it waits in
        self.dialing: Deferred[Any] | None = None
        self.connection: ClientConnection | None = None
        self.begun = False  # to take pieces of its source
        self.reached = False
        self.renewed = False

    def start(self) -> Deferred[HttpResponse]:
        """Watch over it from now on."""
        self._shared.deadlines.watch(self)
        deferred = self._deferred = Deferred(self._cancel)
        return deferred

    def stand(self, stage: int, now: float, seconds: float) -> None:
        """It got as far as this, and may stay there for some seconds."""
        self.stage = stage
        due = now + seconds
        self.due = due if due < self._until else self._until

    def stand_still(self) -> None:
        """What comes next is not the peer's turn: only the whole call may be late."""
        self.due = self._until

    @property
    def renewable(self) -> bool:
        """Whether it may be sent once more, on a new connection, after a used one was found closed with no byte of an
        answer: nothing of it went out, or doing it twice does what doing it once does (RFC 9110 §9.2.2)."""
        outbound = self.outbound
        if self.renewed or (self.begun and not (isinstance(self.body, bytes) or self._repeatable)):
            return False
        return not self.reached or outbound.idempotent or outbound.method in IDEMPOTENT

    @property
    def _repeatable(self) -> bool:
        return not isinstance(self.body, bytes) and self.body is not None and self.body.repeatable

    # Ending.

    def answer(self, answer: HttpResponse) -> None:
        """Here it is, whole."""
        self.stage = OVER
        self._shared.deadlines.forget(self)
        deferred, self._deferred = self._deferred, None  # see `_over`, which is written out here
        assert deferred is not None
        deferred.callback(answer)

    def begin(self, answer: HttpResponse, stream: StreamedBody) -> None:
        """Here it is, unless that has failed already; its body comes in a stream, over which the deadlines watch on."""
        self._stream = stream
        deferred, self._deferred = self._deferred, None
        if deferred is not None:
            deferred.callback(answer)

    def finish(self) -> None:
        """All of the stream has come."""
        self.stage = OVER
        self._shared.deadlines.forget(self)

    def fail(self, error: CallFailed) -> None:
        """There is no answer, or no more of it. Harmless when it is over."""
        if self.stage == OVER:
            return
        stream = self._stream
        if stream is None:
            self._over().errback(error)
        else:
            self.finish()
            stream.fail(error)

    def expire(self, now: float) -> None:
        """`due` has passed: the call is late, unless that was only a time to look."""
        if now < self._until:
            if self.stage == EXPECTING:
                assert self.connection is not None
                self.connection.asking.send_body(now)
                return
            if self.stage == ASKED and self._moves(now):
                return
        if self.dialing is not None:
            self.dialing.cancel()  # it may know what is missing, and tells `fail`
            if self.stage == OVER:
                return
        error = self._lateness(now)
        self.give_up()
        stream, deferred = self._stream, self._deferred
        if stream is not None:
            stream.fail(error)
        elif deferred is not None:
            self._deferred = None
            deferred.errback(error)

    def give_up(self) -> None:
        """Nobody waits for it any more: free what it holds."""
        stage = self.stage
        if stage == OVER:
            return
        self.finish()
        if stage == QUEUED:
            if self.pool is not None:
                self.pool.leave(self)
        elif stage == CONNECTING:
            if self.dialing is not None:
                self.dialing.cancel()
        elif self.connection is not None:
            self.connection.drop()

    def _cancel(self, deferred: Deferred[HttpResponse]) -> None:
        self._deferred = None
        self.give_up()

    def _over(self) -> Deferred[HttpResponse]:
        """It ends now. The Deferred and this know each other: no longer, or they would be a cycle for the collector."""
        self.stage = OVER
        self._shared.deadlines.forget(self)
        deferred, self._deferred = self._deferred, None
        assert deferred is not None
        return deferred

    # Being late.

    def _moves(self, now: float) -> bool:
        """Whether the peer still takes the request, or its body is still being made: then it is not late yet."""
        seconds = self.outbound.timeouts.first_byte
        assert self.connection is not None
        since = self.connection.asking.progress(now)
        if since + seconds <= now:
            return False
        self.stand(ASKED, since, seconds)
        return True

    def _lateness(self, now: float) -> CallFailed:
        timeouts = self.outbound.timeouts
        self.note_reached()
        if now >= self._until:
            return TotalTimeout(f'the call was not over within {self._until - self.started:.3g} s',
                                reached=self.reached)
        if self.stage == QUEUED:
            return QueueTimeout(f'no connection was free within {timeouts.queue:.3g} s')
        if self.stage == CONNECTING:
            return ConnectTimeout(f'there was no connection within {timeouts.connect:.3g} s')
        if self.stage == ASKED:
            return FirstByteTimeout(f'the peer did not begin to answer within {timeouts.first_byte:.3g} s',
                                    reached=self.reached)
        return SilenceTimeout(f'the peer stopped for {timeouts.silence:.3g} s within its answer')

    def note_reached(self) -> None:
        """Whether the peer may have seen something of it, by now."""
        if self.connection is not None and not self.connection.asking.holds(self.data):
            self.reached = True
