"""A call in progress: its stage, its timeouts, and its result. The call completes on the first response, error, timeout
or cancellation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum, auto
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from zatotx.connectors.http.buffered_writer import WriteBatch
from zatotx.interfaces.timeout_sweeper import TimeoutSweeper
from zatotx.plugins.http.client.errors import (
    CallFailed,
    ConnectTimeout,
    QueueTimeout,
    ResponseStallTimeout,
    ResponseStartTimeout,
    TotalTimeout,
)
from zatotx.plugins.http.client.http_messages import BodySource, HttpRequest, HttpResponse

SWEEP_INTERVAL = 0.02  # seconds: a timeout fires at most this much late

# RFC 9110 §9.2.2, and the safe methods of its registry.
IDEMPOTENT_METHODS = frozenset(
    {'GET', 'HEAD', 'OPTIONS', 'TRACE', 'PUT', 'DELETE', 'QUERY', 'PROPFIND', 'REPORT', 'SEARCH'}
)


class CallStage(Enum):
    """The stage of an outgoing HTTP call, such as connecting or waiting for the response."""

    QUEUED = auto()  # a free slot of the pool
    CONNECTING = auto()  # a new connection
    AWAITING_CONTINUE = auto()  # 100 Continue
    AWAITING_RESPONSE = auto()  # the first byte of the response
    RECEIVING = auto()  # the rest of the response
    FINISHED = auto()


QUEUED, CONNECTING, AWAITING_CONTINUE, AWAITING_RESPONSE, RECEIVING, FINISHED = CallStage

# The stages that may follow each stage. CONNECTING follows again when the call is repeated on a new connection.
NEXT_STAGES: Mapping[CallStage, frozenset[CallStage]] = {
    QUEUED: frozenset({CONNECTING, AWAITING_CONTINUE, AWAITING_RESPONSE, FINISHED}),
    CONNECTING: frozenset({AWAITING_CONTINUE, AWAITING_RESPONSE, FINISHED}),
    AWAITING_CONTINUE: frozenset({CONNECTING, AWAITING_RESPONSE, RECEIVING, FINISHED}),
    AWAITING_RESPONSE: frozenset({CONNECTING, RECEIVING, FINISHED}),
    RECEIVING: frozenset({AWAITING_RESPONSE, FINISHED}),
    FINISHED: frozenset(),
}


class CallQueue(Protocol):
    """The interface of the queue of calls that wait for a connection."""

    def remove_waiting(self, call: PendingCall) -> None:
        """Remove a call from the queue."""


class RequestSender(Protocol):
    """The interface of the part of a connection that sends the request of a call."""

    def has_unsent(self, data: bytes) -> bool:
        """Return whether `data`, the first of the call, is still buffered: the peer has not seen any of it."""

    def last_progress(self, now: float) -> float:
        """Return when the request last made progress, in seconds of the reactor's clock."""

    def send_body(self, now: float) -> None:
        """Send the body without waiting for 100 Continue any longer."""


class CallConnection(Protocol):
    """The interface of the connection that a call in progress uses."""

    @property
    def request_writer(self) -> RequestSender:
        """The writer of the request."""

    def abort(self) -> None:
        """Abort the connection: its call has ended without it."""


class FailableStream(Protocol):
    """The interface of a streamed response body, which ends early if the call fails."""

    def fail_all(self, error: CallFailed) -> None:
        """Fail the stream: no more data follows."""


class SharedCallResources:
    """The clock, timeout sweeper and write batch that the calls of all clients of a node share."""

    __slots__ = ('reactor', 'seconds', 'timeout_sweeper', 'write_batch')

    def __init__(self, reactor: IReactorTime) -> None:
        self.reactor = reactor
        self.seconds: Callable[[], float] = reactor.seconds
        self.timeout_sweeper = TimeoutSweeper(reactor, SWEEP_INTERVAL)
        self.write_batch = WriteBatch(reactor)


class PendingCall:
    """A call from `send` to its completion. The bytes `data` are sent immediately, and `body` is sent after them unless
    it is None. TimeoutSweeper checks `deadline`. NEXT_STAGES defines the order of the stages."""

    __slots__ = (
        '_deferred',
        '_environment',
        '_stream',
        '_total_due',
        'body',
        'body_started',
        'connecting',
        'connection',
        'data',
        'deadline',
        'is_repeated',
        'pool',
        'reached_peer',
        'request',
        'stage',
        'started_at',
    )

    def __init__(
        self, environment: SharedCallResources, request: HttpRequest, data: bytes, body: bytes | BodySource | None
    ) -> None:
        self._environment = environment
        self.request = request
        self.data = data
        self.body = body
        now = self.started_at = environment.seconds()
        self._total_due = self.deadline = min(now + request.timeouts.total_timeout, request.deadline)
        self._deferred: Deferred[HttpResponse] | None = None  # once it is started
        self._stream: FailableStream | None = None
        self.stage: CallStage = QUEUED
        self.pool: CallQueue | None = None  # the pool whose queue it waits in
        self.connecting: Deferred[Any] | None = None
        self.connection: CallConnection | None = None
        self.body_started = False  # whether pieces were taken from the body's source
        self.reached_peer = False
        self.is_repeated = False

    def start(self) -> Deferred[HttpResponse]:
        """Start the timeouts, and return the Deferred of the response."""
        self._environment.timeout_sweeper.add(self)
        deferred = self._deferred = Deferred(self._cancel)
        return deferred

    def enter_stage(self, stage: CallStage, now: float, seconds: float) -> None:
        """Enter a stage, with a timeout of some seconds."""
        self.stage = stage
        due = now + seconds
        self.deadline = due if due < self._total_due else self._total_due

    def suspend_stage_timeout(self) -> None:
        """Suspend the stage's timeout, because it is not the peer that is waited for: only the total timeout
        applies."""
        self.deadline = self._total_due

    @property
    def is_repeatable(self) -> bool:
        """Whether the call may be repeated on a new connection after a reused one was closed without a byte of a
        response: nothing of it was sent, or its method is idempotent (RFC 9110 §9.2.2)."""
        outbound = self.request
        if self.is_repeated or (self.body_started and not (isinstance(self.body, bytes) or self._repeatable)):
            return False
        return not self.reached_peer or outbound.idempotent or outbound.method in IDEMPOTENT_METHODS

    @property
    def _repeatable(self) -> bool:
        return not isinstance(self.body, bytes) and self.body is not None and self.body.repeatable

    # Ending.

    def succeed(self, response: HttpResponse) -> None:
        """Finish the call with a complete response."""
        self.stage = FINISHED
        self._environment.timeout_sweeper.remove(self)
        deferred, self._deferred = self._deferred, None  # `_detach`, inlined
        assert deferred is not None
        deferred.callback(response)

    def start_stream(self, response: HttpResponse, stream: FailableStream) -> None:
        """Return a response, unless the call has already failed. Its body is a stream, to which the timeouts still
        apply."""
        self._stream = stream
        deferred, self._deferred = self._deferred, None
        if deferred is not None:
            deferred.callback(response)

    def finish(self) -> None:
        """Finish the call: its stream is complete."""
        self.stage = FINISHED
        self._environment.timeout_sweeper.remove(self)

    def fail_all(self, error: CallFailed) -> None:
        """Fail the call: there is no response, or no more of it. Does nothing if the call is finished."""
        if self.stage is FINISHED:
            return
        stream = self._stream
        if stream is None:
            self._detach().errback(error)
        else:
            self.finish()
            stream.fail_all(error)

    def expire(self, now: float) -> None:
        """Handle that `deadline` has passed: fail the call, unless it only marked a time to check progress."""
        if now < self._total_due:
            if self.stage is AWAITING_CONTINUE:
                assert self.connection is not None
                self.connection.request_writer.send_body(now)
                return
            if self.stage is AWAITING_RESPONSE and self._is_progressing(now):
                return
        if self.connecting is not None:
            self.connecting.cancel()  # it may know which step is missing, and then calls `fail_all`
            if self.stage is FINISHED:
                return
        error = self._timeout_error(now)
        self.cancel()
        stream, deferred = self._stream, self._deferred
        if stream is not None:
            stream.fail_all(error)
        elif deferred is not None:
            self._deferred = None
            deferred.errback(error)

    def cancel(self) -> None:
        """Cancel the call, and release what it uses."""
        stage = self.stage
        if stage is FINISHED:
            return
        self.finish()
        if stage is QUEUED:
            if self.pool is not None:
                self.pool.remove_waiting(self)
        elif stage is CONNECTING:
            if self.connecting is not None:
                self.connecting.cancel()
        elif self.connection is not None:
            self.connection.abort()

    def _cancel(self, deferred: Deferred[HttpResponse]) -> None:
        self._deferred = None
        self.cancel()

    def _detach(self) -> Deferred[HttpResponse]:
        """End the call, and break the reference cycle between it and its Deferred."""
        self.stage = FINISHED
        self._environment.timeout_sweeper.remove(self)
        deferred, self._deferred = self._deferred, None
        assert deferred is not None
        return deferred

    # Timeouts.

    def _is_progressing(self, now: float) -> bool:
        """Return whether the peer still reads the request, or its body is still being produced: then the call is not
        late."""
        seconds = self.request.timeouts.first_byte_timeout
        assert self.connection is not None
        progress_at = self.connection.request_writer.last_progress(now)
        if progress_at + seconds <= now:
            return False
        self.enter_stage(AWAITING_RESPONSE, progress_at, seconds)
        return True

    def _timeout_error(self, now: float) -> CallFailed:
        timeouts = self.request.timeouts
        self.note_reached()
        if now >= self._total_due:
            return TotalTimeout(f'the call was not over within {self._total_due - self.started_at:.3g} s',
                                reached_peer=self.reached_peer)
        if self.stage is QUEUED:
            return QueueTimeout(f'no connection was free within {timeouts.queue_timeout:.3g} s')
        if self.stage is CONNECTING:
            return ConnectTimeout(f'there was no connection within {timeouts.connect_timeout:.3g} s')
        if self.stage is AWAITING_RESPONSE:
            return ResponseStartTimeout(f'the peer did not begin to answer within {timeouts.first_byte_timeout:.3g} s',
                                    reached_peer=self.reached_peer)
        return ResponseStallTimeout(f'the peer stopped for {timeouts.read_timeout:.3g} s within its answer')

    def note_reached(self) -> None:
        """Record whether the peer may have seen some of the request by now."""
        if self.connection is not None and not self.connection.request_writer.has_unsent(self.data):
            self.reached_peer = True
