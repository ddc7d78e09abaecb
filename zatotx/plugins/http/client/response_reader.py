"""Reads the responses of a client connection: parses the received bytes into the response of the current call. Bodies
are collected up to a limit, or streamed with backpressure to a reader.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IPushProducer

from zatotx.plugins.http.client.errors import BodyClosedByReader, CallFailed, ResponseTooLarge
from zatotx.plugins.http.client.http_messages import Fields, HttpResponse, ResponseHead
from zatotx.plugins.http.client.pending_call import (
    AWAITING_CONTINUE,
    AWAITING_RESPONSE,
    RECEIVING,
    PendingCall,
    SharedCallResources,
)
from zatotx.plugins.http.client.request_writer import RequestWriter
from zatotx.wire.http1.response_parser import RESPONSE_LIMITS, EndOfBody, HttpMessageRejected, ResponseParser

MAX_BUFFERED = 64 * 1024  # bytes that are buffered for the reader before reading from the peer pauses

Trailers = tuple[tuple[bytes, bytes], ...]


class FlowControl(Protocol):
    """The interface of the source of a streamed body, which can be paused."""

    def pause(self) -> None:
        """Pause reading from the peer."""

    def resume(self) -> None:
        """Resume reading."""

    def close(self) -> None:
        """Stop: the rest is not read."""


class CollectedBody:
    """A response body that is collected in memory and returned as a whole."""

    __slots__ = ('_head', '_max_size', '_pieces', '_size')

    def __init__(self, head: ResponseHead, max_size: int) -> None:
        self._head = head
        self._max_size = max_size
        self._pieces: list[bytes] = []
        self._size = 0

    def add(self, data: bytes) -> None:
        """Add a piece. Raises ResponseTooLarge."""
        self._size += len(data)
        if self._size > self._max_size:
            raise too_large_error(self._max_size)
        self._pieces.append(data)

    def finish(self, trailers: Trailers) -> HttpResponse:
        """Return the complete response."""
        return HttpResponse(self._head, b''.join(self._pieces), trailers)


class StreamedBody:
    """A response body that is read as a stream while it is received."""

    __slots__ = ('_buffered', '_ended', '_error', '_flow_control', '_size', '_waiting', 'trailers')

    def __init__(self, flow_control: FlowControl) -> None:
        self._flow_control: FlowControl | None = flow_control
        self._buffered: list[bytes] = []
        self._size = 0
        self._waiting: Deferred[bytes] | None = None
        self._ended = False
        self._error: CallFailed | None = None
        self.trailers: Fields = ()

    # Called by the reader.

    def read(self) -> Deferred[bytes]:
        """See ResponseStream."""
        if self._waiting is not None:
            raise RuntimeError('The body of an answer is read by one reader, one piece at a time')
        if self._buffered:
            return succeed(self._take())
        if self._error is not None:
            return fail(self._error)
        if self._ended:
            return succeed(b'')
        waiting = self._waiting = Deferred(self._read_cancelled)
        return waiting

    def close(self) -> None:
        """See ResponseStream."""
        self._buffered.clear()
        if self._error is None and not self._ended:
            flow_control = self._flow_control
            self.fail_all(BodyClosedByReader('the body of the answer was closed before its end'))
            if flow_control is not None:
                flow_control.close()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        piece = await self.read()
        if not piece:
            raise StopAsyncIteration
        return piece

    # Called by the connection.

    def add(self, data: bytes) -> None:
        """Add a piece."""
        waiting = self._waiting
        if waiting is not None:
            self._waiting = None
            waiting.callback(data)
            return
        self._buffered.append(data)
        self._size += len(data)
        if self._size >= MAX_BUFFERED and self._flow_control is not None:
            self._flow_control.pause()

    def finish(self, trailers: Trailers) -> None:
        """Note the end of the body."""
        self._ended = True
        self._flow_control = None
        self.trailers = trailers
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(b'')

    def fail_all(self, error: CallFailed) -> None:
        """Fail the stream: no more data follows."""
        self._error = error
        self._flow_control = None
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.errback(error)

    def _take(self) -> bytes:
        buffered = self._buffered
        data = buffered[0] if len(buffered) == 1 else b''.join(buffered)
        buffered.clear()
        self._size = 0
        if self._flow_control is not None:
            self._flow_control.resume()
        return data

    def _read_cancelled(self, waiting: Deferred[bytes]) -> None:
        self._waiting = None
        self.close()


def too_large_error(max_size: int) -> ResponseTooLarge:
    return ResponseTooLarge(f'the body of the answer is longer than the {max_size} bytes that this call allows')


class ReadConnection(Protocol):
    """The interface of the connection from which responses are read."""

    call: PendingCall | None
    transport: IPushProducer

    @property
    def request_writer(self) -> RequestWriter:
        """The writer of the request."""

    def finish(self, call: PendingCall, response: HttpResponse | None, now: float) -> None:
        """Finish a call whose response is complete; None: it was streamed."""


class ResponseReader:
    """Reads the responses of a connection one after another. `response_started` says whether a part of the current
    response has arrived, and `is_paused` says whether reading from the peer is paused."""

    __slots__ = ('_body', '_connection', '_environment', 'is_paused', 'parser', 'response_started')

    def __init__(self, environment: SharedCallResources, connection: ReadConnection) -> None:
        self._environment = environment
        self._connection = connection
        self._body: CollectedBody | StreamedBody | None = None  # of a response that is not complete yet
        self.is_paused = False
        self.response_started = False
        self.parser = ResponseParser(RESPONSE_LIMITS)

    def feed(self, call: PendingCall, data: bytes) -> None:
        """Read the bytes received for a call. Raises HttpMessageRejected and ResponseTooLarge: then the connection is
        unusable."""
        self.response_started = True
        self.parser.feed(data)
        if self._body is None:
            self._read_head(call)
        else:
            self._read_body(call, self._body)

    def handle_eof(self, call: PendingCall) -> bool:
        """Handle an orderly close by the peer. Returns whether that completes the response."""
        body = self._body
        if body is None:
            return False
        try:
            end = self.parser.feed_eof()
        except HttpMessageRejected:
            return False
        if end is not None:
            self._end(call, body, end)
        return end is not None

    # FlowControl, called by the stream.

    def pause(self) -> None:
        """Pause reading from the peer, whose timeout is suspended too: the reader is slow."""
        if self._body is not None and not self.is_paused:
            self.is_paused = True
            self._connection.transport.pauseProducing()

    def resume(self) -> None:
        """Resume reading: the reader has caught up, or the response has ended."""
        if self.is_paused:
            self.is_paused = False
            self._connection.transport.resumeProducing()
            call = self._connection.call
            if call is not None:
                call.enter_stage(RECEIVING, self._environment.seconds(), call.request.timeouts.read_timeout)

    def close(self) -> None:
        """Cancel the call: the reader closed the stream."""
        if self._connection.call is not None:
            self._connection.call.cancel()

    # The response.

    def _read_head(self, call: PendingCall) -> None:
        """Read a response's head."""
        parser = self.parser
        head = parser.next()
        while type(head) is ResponseHead and head.status < 200:
            self._handle_interim(call, head.status)
            if self._connection.call is not call:
                return
            head = parser.next()
        now = self._environment.seconds()
        request = call.request
        if type(head) is not ResponseHead:
            if call.stage is AWAITING_RESPONSE and parser.pending_bytes:
                call.enter_stage(RECEIVING, now, request.timeouts.read_timeout)
            return
        if (
            now >= call.deadline and call.stage is not AWAITING_CONTINUE
        ):  # the timeout has passed, but the sweeper has not run yet
            call.expire(now)
            if self._connection.call is not call:
                return
        if request.is_streamed:
            self._start_stream(call, head, now)
            return
        if head.length is not None and head.length > request.max_body:
            raise too_large_error(request.max_body)
        body = parser.take_whole_body()
        if body is not None:
            self.response_started = False
            self._connection.finish(call, HttpResponse(head, body), now)
        else:
            self._start_body(call, head, CollectedBody(head, request.max_body), now)

    def _handle_interim(self, call: PendingCall, status: int) -> None:
        """Handle an interim response: the peer is working on the request."""
        now = self._environment.seconds()
        writer = self._connection.request_writer
        if not writer.awaits_continue:
            call.enter_stage(AWAITING_RESPONSE, now, call.request.timeouts.first_byte_timeout)
        elif status == 100:
            writer.send_body(now)

    def _start_stream(self, call: PendingCall, head: ResponseHead, now: float) -> None:
        stream = StreamedBody(self)
        self._start_body(call, head, stream, now)
        call.start_stream(HttpResponse(head, stream), stream)

    def _start_body(
        self, call: PendingCall, head: ResponseHead, body: CollectedBody | StreamedBody, now: float
    ) -> None:
        """Start reading a body that is not complete yet. After an error status the rest of the request is not sent."""
        self._body = body
        call.enter_stage(RECEIVING, now, call.request.timeouts.read_timeout)
        if head.status >= 400:
            self._connection.request_writer.stop_body()
        self._read_body(call, body)

    def _read_body(self, call: PendingCall, body: CollectedBody | StreamedBody) -> None:
        """Read more of a body."""
        parser = self.parser
        while self._connection.call is call:
            event = parser.next()
            if isinstance(event, bytes):
                body.add(event)
            elif isinstance(event, EndOfBody):
                self._end(call, body, event)
            else:
                self._wait_for_peer(call)
                break

    def _wait_for_peer(self, call: PendingCall) -> None:
        if self.is_paused:
            call.suspend_stage_timeout()
        else:
            call.enter_stage(RECEIVING, self._environment.seconds(), call.request.timeouts.read_timeout)

    def _end(self, call: PendingCall, body: CollectedBody | StreamedBody, end: EndOfBody) -> None:
        self._body = None
        self.response_started = False
        now = self._environment.seconds()
        if isinstance(body, CollectedBody):
            self._connection.finish(call, body.finish(end.trailers), now)
        else:
            self._connection.finish(call, None, now)
            body.finish(end.trailers)
