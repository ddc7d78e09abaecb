"""Writes the responses of one connection in the order of its requests.

The head of a response has what HTTP requires, plus the fields that the service set.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from functools import partial

from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from zatotx.connectors.http.buffered_writer import SLICE_SIZE, BufferedWriter
from zatotx.model.message import Reply
from zatotx.plugins.http.server.access_log import CLIENT_GONE
from zatotx.plugins.http.server.request_context import RequestContext, error_response_to
from zatotx.plugins.http.server.server_context import ServerContext
from zatotx.plugins.http.transport.response_stream import ResponseStream, discard_stream
from zatotx.wire.http1.response_writer import CHUNKED, CONTINUE, RESERVED_FIELDS, write_field_lines, write_response_head

# Fields that the connection sets: those of a service are ignored.
_SERVER_FIELDS = (RESERVED_FIELDS - {b'content-type'}) | {
    b'keep-alive', b'proxy-connection', b'te', b'trailer', b'upgrade', b'x-zato-cid',
}  # fmt: skip
BODILESS = frozenset({204, 304})  # RFC 9110 6.4.1
MAX_BUFFERED = (
    256 * 1024
)  # bytes that a connection buffers in one iteration of the reactor before it lets others go first
_PIECE_COST = 4 * 1024  # added to the size of each piece: many small responses must not block the reactor either
_ERROR = 'An error has occurred'


def build_response_head(reply: Reply, cid: str, length: int | None, ending: bytes) -> bytes:
    """Build the head of a final response. `length` and `ending` have the meaning that they have in
    wire.http1.response_writer.write_response_head. Raises ValueError for a status or a field that cannot be sent."""
    status = reply.status
    if not 200 <= status <= 599:
        raise ValueError(f'{status} is not the status of a final answer, 200 to 599')
    if not reply.headers:
        return write_response_head(status, reply.content_type, length, cid, ending)
    content_type = reply.content_type
    fields = []
    for name, value in reply.headers:
        key = name.lower()
        if key == b'content-type':
            content_type = value
        elif key not in _SERVER_FIELDS:
            fields.append((name, value))
    return write_response_head(status, content_type, length, cid, write_field_lines(fields) + ending)


class ResponseWriter:
    """Writes the responses of a connection. It keeps each request from the arrival of its head, and writes its response
    after the responses to all earlier requests.

    While `is_buffering`, output is buffered: requests that arrived in one read are answered in one write. While
    `is_advancing`, the connection processes input, and itself continues after a request that is finished.
    `buffered_size` is the size of that output: at MAX_BUFFERED bytes no further request is started in this iteration
    of the reactor. `on_progress` is called when a request is finished, or in the reactor's next iteration after that;
    `on_last_response` after the connection's last response, `on_failed_stream` when a streamed response failed.
    """

    __slots__ = (
        '_buffered',
        '_context',
        '_continuation',
        '_on_failed_stream',
        '_on_last_response',
        '_on_progress',
        '_peer_address',
        '_writer',
        'buffered_size',
        'is_advancing',
        'is_buffering',
        'is_closed',
        'requests',
        'stream',
    )  # fmt: skip

    _log = Logger()

    def __init__(
        self,
        context: ServerContext,
        writer: BufferedWriter,
        peer_address: str,
        *,
        on_progress: Callable[[], None],
        on_last_response: Callable[[], None],
        on_failed_stream: Callable[[], None],
    ) -> None:
        self._context = context
        self._writer = writer
        self._peer_address = peer_address
        self._on_progress = on_progress
        self._on_last_response = on_last_response
        self._on_failed_stream = on_failed_stream
        self._buffered: list[bytes] = []
        self._continuation: IDelayedCall | None = None  # in the reactor's next iteration
        self.buffered_size = 0
        self.requests: list[RequestContext] = []
        self.stream: ResponseStream | None = None  # of the first request, while it is being sent
        self.is_buffering = self.is_advancing = False
        self.is_closed = False  # no further response is sent

    def write_ready(self, request: RequestContext) -> None:
        """Write the responses that are ready, in order."""
        while self.requests and self.stream is None and (reply := self.requests[0].reply) is not None:
            self._send(self.requests[0], reply)

    def send_continue(self, request: RequestContext) -> None:
        """Send 100 (Continue) for this request: at once, or when the responses before it are written."""
        request.send_continue = request is not self.requests[0]
        if not request.send_continue:
            self.write(CONTINUE)

    def write(self, data: bytes) -> None:
        """Write to the client, in the order of calls."""
        if self.is_buffering:
            if self._buffered:  # a single piece, the usual case, is not counted
                self.buffered_size += len(data) + _PIECE_COST
            self._buffered.append(data)
        else:
            self._writer.write(data)

    def flush(self) -> None:
        """Write the buffered output."""
        self.is_buffering = self.is_advancing = False
        pieces = self._buffered
        if pieces:
            self._writer.write(pieces[0] if len(pieces) == 1 else b''.join(pieces))
            pieces.clear()
            if self.buffered_size:
                self._yield_to_others()

    def close_after_current(self) -> None:
        """Send no responses after those of the current requests."""
        if self.requests:
            self.requests[-1].keep_alive = False
        else:
            self.is_closed = True
            if not self.is_advancing:
                self._on_last_response()

    def cancel_all(self) -> None:
        """Cancel all requests and stop: the client has disconnected."""
        requests, self.requests, self.is_closed = self.requests, [], True
        if self._continuation is not None:
            self._continuation.cancel()
            self._continuation = None
        stream, self.stream = self.stream, None
        sent, now = 0, self._context.seconds()
        if stream is not None:
            sent = stream.sent_bytes
            stream.cancel()
        for request in requests:
            request.cancel()
            if request.resolved is not None:
                request.resolved.meter.observe_response(0, now - request.started_at)
            self._context.counters.gone += 1
            self._context.access_log.log_request(request, self._peer_address, now, CLIENT_GONE, sent)
            sent = 0

    def _yield_to_others(self) -> None:
        """Let other connections go first if much output was buffered."""
        if self.buffered_size < MAX_BUFFERED:
            self.buffered_size = 0
        elif self._continuation is None:
            self._continuation = self._context.reactor.callLater(0, self._continue)

    def _continue(self) -> None:
        self._continuation = None
        self.buffered_size = 0
        if not self.is_closed:
            self._on_progress()

    # One answer.

    def _send(self, request: RequestContext, reply: Reply) -> None:
        if reply.stream is not None:
            self._send_stream(request, reply, reply.stream)
            return
        context, status, body = self._context, reply.status, reply.body
        closing = not request.keep_alive or (context.draining and len(self.requests) == 1)
        now = context.seconds()
        try:
            ending = self._head_ending(request, closing, now)
            if status == 200 and not reply.headers:  # the usual case
                head = write_response_head(200, reply.content_type, len(body), request.cid, ending)
            else:
                head = build_response_head(reply, request.cid, len(body), ending)
        except ValueError as error:
            self._send(request, self._error_reply(request, error))
            return
        if status in BODILESS or (request.head is not None and request.head.method == 'HEAD'):
            body = b''
        if len(body) <= SLICE_SIZE:
            self.write(head + body)
        else:
            self.write(head)
            self.write(body)
        self._finish(request, status, len(body), now, closing)

    def _send_stream(self, request: RequestContext, reply: Reply, source: AsyncIterator[bytes]) -> None:
        head, message = request.head, request.message
        assert head is not None and message is not None
        context, now = self._context, self._context.seconds()
        chunked = head.version == (1, 1)
        closing = not chunked or not request.keep_alive or (context.draining and len(self.requests) == 1)
        try:
            head_bytes = build_response_head(
                reply, request.cid, CHUNKED if chunked else None, self._head_ending(request, closing, now)
            )
        except ValueError as error:
            discard_stream(source)
            self._send(request, self._error_reply(request, error))
            return
        if head.method == 'HEAD' or reply.status in BODILESS:
            self.write(head_bytes)
            discard_stream(source)
            self._finish(request, reply.status, 0, now, closing)
            return
        span = message.deadline - request.started_at
        self.stream = ResponseStream(source, self._writer, context.reactor, span, head_bytes)
        ended = partial(self._stream_ended, request, reply.status, closing)
        self.stream.start(self.write, chunked=chunked, on_end=ended)

    def _error_reply(self, request: RequestContext, error: ValueError) -> Reply:
        self._log.error('{cid}: channel {channel!r} has an answer that cannot be sent: {error}', cid=request.cid,
                        service=request.service, channel=request.channel, error=error)
        return error_response_to(request, 500, _ERROR)

    def _stream_ended(self, request: RequestContext, status: int, closing: bool, failure: Failure | None) -> None:
        stream, self.stream = self.stream, None
        if stream is None:  # cancelled
            return
        if failure is None:
            closing = closing or (self._context.draining and len(self.requests) == 1)
            self._finish(request, status, stream.sent_bytes, self._context.seconds(), closing)
            self.write_ready(request)
            return
        self._log.failure('{cid}: channel {channel!r} broke off its streamed answer', failure, cid=request.cid,
                          service=request.service, channel=request.channel)
        if stream.head:  # nothing is sent yet
            self._send(request, error_response_to(request, 500, _ERROR))
            self.write_ready(request)
            return
        self.requests.pop(0)
        now = self._context.seconds()
        if request.resolved is not None:
            request.resolved.meter.observe_response(status // 100, now - request.started_at)
        self._context.access_log.log_request(request, self._peer_address, now, status, stream.sent_bytes)
        request.release()
        self._on_failed_stream()

    def _head_ending(self, request: RequestContext, closing: bool, now: float) -> bytes:
        """Return the end of the response's head: the channel's fields, the date, and whether the connection stays
        open."""
        date_cache = self._context.date_cache
        if now >= date_cache.valid_until:
            date_cache.refresh(now)
        date_stamp = date_cache.date_stamp
        if closing:
            ending = date_stamp.close
        elif request.head is None or request.head.version[1] == 1:
            ending = date_stamp.keep_alive
        else:
            ending = date_stamp.keep_alive_1_0
        return request.header_lines + ending if request.header_lines else ending

    def _finish(self, request: RequestContext, status: int, size: int, now: float, closing: bool) -> None:
        context, requests = self._context, self.requests
        requests.pop(0)
        context.counters.answers[status // 100] += 1
        if request.resolved is not None:
            request.resolved.meter.observe_response(status // 100, now - request.started_at)
        context.access_log.log_request(request, self._peer_address, now, status, size)
        if request.resources is not None:
            request.release()
        if closing:
            self.close_after_current()
            return
        if requests and requests[0].send_continue:
            requests[0].send_continue = False
            self.write(CONTINUE)
        if not self.is_advancing:
            self._on_progress()
