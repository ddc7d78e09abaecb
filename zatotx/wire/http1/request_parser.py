"""Incremental parser of HTTP/1.0 and 1.1 requests (RFC 9110, RFC 9112). No I/O, no Twisted.

    parser = RequestParser(HttpParserLimits())
    parser.feed(data)
    while (event := parser.next()) is not None:
        ...  # RequestHead, then any number of bytes, then EndOfBody; then the next request's RequestHead

Events are pulled, so that a caller can stop and pause its transport: input that was not requested stays in the buffer.
The result never depends on how the input was split: a head is validated when it is complete (its first line as soon as
that is complete), and errors are checked in the same order.
"""

from __future__ import annotations

from zatotx.wire.http1.chunked_decoder import END, ChunkedDecoder, EndOfBody
from zatotx.wire.http1.message_limits import HttpMessageRejected, HttpParserLimits
from zatotx.wire.http1.parser_base import CHUNKED, END_OF_MESSAGE, FINISHED, FIXED_LENGTH, HEAD, HttpMessageParser
from zatotx.wire.http1.request_head import (
    MAX_LINE_WITHOUT_TARGET,
    RequestHead,
    RequestLine,
    parse_request_head,
    parse_request_line,
)

__all__ = ['END', 'EndOfBody', 'HttpMessageRejected', 'HttpParserLimits', 'RequestHead', 'RequestParser']

_MAX_CACHED_HEAD = 1024  # maximum size in bytes of a cached head
_MAX_EMPTY_LINES = 4  # before a request line (RFC 9112 §2.2)


class RequestParser(HttpMessageParser):
    """Parses the requests of one connection in sequence."""

    __slots__ = ('_empty_lines', '_head', '_head_bytes', '_last_line', '_line', '_repeated_size')

    def __init__(self, limits: HttpParserLimits) -> None:
        super().__init__(limits)
        self._line: RequestLine | None = None  # of the current head
        self._last_line: RequestLine | None = None  # of the previous head: many requests differ only in their fields
        self._empty_lines = 0
        self._head_bytes = b''  # the last head as received: identical heads are parsed once
        self._head: RequestHead | None = None
        self._repeated_size = -1  # of a request with the last head, if all of them have one size; otherwise -1

    @property
    def is_idle(self) -> bool:
        """Whether the parser is between messages, without any input of the next one."""
        return self._state == HEAD and self._line is None and self._position == len(self._buffer)

    def next(self) -> RequestHead | bytes | EndOfBody | None:
        """Return the next event, or None if more input is needed. Pieces of a body are never empty.

        Raises HttpMessageRejected if the message is rejected, and again on every later call.
        """
        if self._error is not None:
            raise self._error
        try:
            return self._next_head() if self._state == HEAD else self._next_body_event()
        except HttpMessageRejected as error:
            if self._line is not None:
                error.request_line = self._line.text
            self._error = error
            self._finish_parsing()
            raise

    def feed_repeated(self, data: bytes) -> RequestHead | None:
        """Take input that is exactly the previous head once more, if no body follows it, and return the head: what
        `feed`, `next` and `take_whole_body` do, in one step. Otherwise returns None, and the input is not taken."""
        head = self._head
        if head is None or head.length != 0 or data != self._head_bytes or self._position != len(self._buffer):
            return None
        return head if self._state == HEAD and self._line is None else None

    def feed_repeated_request(self, data: bytes) -> bytes | None:
        """Take input that is exactly one request with the previous head once more, if that has a Content-Length or no
        body, and return the body: what `feed` and `take_repeated` do, in one step. Otherwise returns None, and the
        input is not taken."""
        if len(data) != self._repeated_size or self._state != HEAD or self._position != len(self._buffer):
            return None
        if self._line is not None or not data.startswith(self._head_bytes):
            return None
        self._searched = self._empty_lines = 0
        return data[len(self._head_bytes) :]

    def take_repeated(self, head: RequestHead) -> bytes | None:
        """Return the body of the next request and ends that request, if its head is byte by byte that of the last one,
        `head`, and its body has a Content-Length and is complete; otherwise returns None, and `next` parses it."""
        if self._head is not head or self._state != HEAD or self._line is not None or head.length is None:
            return None
        buffer, start = self._buffer, self._position + len(self._head_bytes)
        end = start + head.length
        if end > len(buffer) or not buffer.startswith(self._head_bytes, self._position):
            return None
        self._position = end
        self._searched = self._empty_lines = 0
        body = buffer[start:end]
        return body if type(body) is bytes else bytes(body)

    def clear_cache(self) -> None:
        """Discard all cached data of previous messages."""
        self._head, self._head_bytes, self._repeated_size = None, b'', -1
        self._last_line = None
        if self.is_between_messages:
            self._buffer = b''
            self._position = 0

    def feed_eof(self) -> None:
        """Signal the end of input. Call it after `next` has returned None. Raises HttpMessageRejected (400) inside a
        message, or a previous rejection again."""
        if self._error is not None:
            raise self._error
        if self._state == FINISHED or self.is_idle:
            return
        line = self._line.text if self._line is not None else b''
        self._error = HttpMessageRejected(400, 'The connection ended inside a request', request_line=line)
        self._finish_parsing()
        raise self._error

    def _next_head(self) -> RequestHead | None:
        if self._head is not None and self._line is None and self._buffer.startswith(self._head_bytes, self._position):
            return self._enter_body(self._head, self._position + len(self._head_bytes))
        if self._line is None:
            self._line = self._next_line()
            if self._line is None:
                return None
        start = self._position
        end = self._buffer.find(b'\r\n\r\n', start + self._searched) + 4
        if end < 4 or end - start > self._limits.head:
            self._check_incomplete_head()
            return None
        head_bytes = bytes(self._buffer[start:end])
        head = parse_request_head(self._line, head_bytes, self._limits)
        self._line = None
        if len(head_bytes) <= _MAX_CACHED_HEAD and head.keep_alive:
            self._head, self._head_bytes = head, head_bytes
            self._repeated_size = -1 if head.length is None else len(head_bytes) + head.length
        return self._enter_body(head, end)

    def _enter_body(self, head: RequestHead, end: int) -> RequestHead:
        """Enter the body after a head that ends at `end`."""
        self._position = end
        self._searched = self._empty_lines = 0
        self._keep_alive = head.keep_alive
        if head.length is None:
            self._state = CHUNKED
            self._chunks = ChunkedDecoder(self._limits)
        else:
            self._state = FIXED_LENGTH if head.length else END_OF_MESSAGE
            self._body_remaining = head.length
        return head

    def _next_line(self) -> RequestLine | None:
        """Parse the request line after optional empty lines, and leave it in the buffer, because llhttp needs the
        complete head."""
        longest = self._limits.target + MAX_LINE_WITHOUT_TARGET + 2
        buffer = self._buffer
        while True:
            start = self._position
            end = buffer.find(b'\n', start + self._searched, start + longest)
            if end < 0:
                break
            if end == start or buffer[end - 1] != 0x0D:
                raise HttpMessageRejected(
                    400, 'A line feed without a carriage return stands before or in the request line'
                )
            if end - start > 1:
                self._searched = end - 1 - start  # the end of the head may begin with the end of this line
                text = bytes(buffer[start : end - 1])
                if self._last_line is None or self._last_line.text != text:
                    self._last_line = parse_request_line(text, self._limits)
                return self._last_line
            self._skip_empty_line()
        self._searched = len(buffer) - start
        if self._searched >= longest:
            raise HttpMessageRejected(414, f'The request target is longer than {self._limits.target} bytes')
        return None

    def _skip_empty_line(self) -> None:
        self._empty_lines += 1
        if self._empty_lines > _MAX_EMPTY_LINES:
            raise HttpMessageRejected(400, f'More than {_MAX_EMPTY_LINES} empty lines stand before a request')
        self._position += 2
        self._searched = 0

    def _finish_parsing(self) -> None:
        super()._finish_parsing()
        self._head = self._last_line = None
        self._repeated_size = -1
