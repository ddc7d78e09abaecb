"""HTTP/1.0 and 1.1 requests: bytes in, events out (RFC 9110, RFC 9112). No I/O, no Twisted.

    parser = RequestParser(Limits())
    parser.feed(data)
    while (event := parser.next()) is not None:
        ...  # RequestHead, then any number of bytes, then End; then the next request's RequestHead

Events are pulled, so that a caller who has enough stops asking and pauses its transport: what was fed and not asked
for stays bytes. The verdict on a message never depends on how its bytes were split: a head is judged once it is whole
(its first line as soon as that is), and each fault before the end of a head is looked for in the same order.
"""

from __future__ import annotations

from zatotx.wire.http1.chunked import END, ChunkedDecoder, EndOfBody
from zatotx.wire.http1.limits import MessageRejected, ParserLimits
from zatotx.wire.http1.message_parser import CHUNKED, COUNTED, ENDING, HEAD, OVER, MessageReader
from zatotx.wire.http1.request_head import LINE_BESIDE_TARGET, RequestHead, RequestLine, request_head, request_line

__all__ = ['END', 'EndOfBody', 'MessageRejected', 'ParserLimits', 'RequestHead', 'RequestParser']

_REMEMBERED = 1024  # bytes of the longest head that is remembered
_MOST_EMPTY_LINES = 4  # before a request line (RFC 9112 §2.2)


class RequestParser(MessageReader):
    """The requests of one connection, one after the other."""

    __slots__ = ('_empty_lines', '_head', '_head_bytes', '_last_line', '_line')

    def __init__(self, limits: ParserLimits) -> None:
        super().__init__(limits)
        self._line: RequestLine | None = None  # of the head under way
        self._last_line: RequestLine | None = None  # of the head before: many differ only in their fields
        self._empty_lines = 0
        self._head_bytes = b''  # the last head as it came: a client that repeats itself is read once
        self._head: RequestHead | None = None

    @property
    def idle(self) -> bool:
        """Between messages, with nothing of a next one here."""
        return self._at == HEAD and self._line is None and self._position == len(self._buffer)

    def next(self) -> RequestHead | bytes | EndOfBody | None:
        """The next event, or None when more must be fed. A piece of a body is never empty.

        Raises Refused when the message cannot be taken, and again on every later call.
        """
        if self._refused is not None:
            raise self._refused
        try:
            return self._next_head() if self._at == HEAD else self._next_piece()
        except MessageRejected as refused:
            if self._line is not None:
                refused.request_line = self._line.text
            self._refused = refused
            self._stop()
            raise

    def forget(self) -> None:
        """Keep nothing of messages that are over."""
        self._head, self._head_bytes = None, b''
        self._last_line = None
        if self.clean:
            self._buffer = b''
            self._position = 0

    def eof(self) -> None:
        """The peer will send no more. Call when `next` has returned None. Raises Refused (400) inside a message, and
        again what was refused before."""
        if self._refused is not None:
            raise self._refused
        if self._at == OVER or self.idle:
            return
        line = self._line.text if self._line is not None else b''
        self._refused = MessageRejected(400, 'The connection ended inside a request', request_line=line)
        self._stop()
        raise self._refused

    def _next_head(self) -> RequestHead | None:
        if self._head is not None and self._line is None and self._buffer.startswith(self._head_bytes, self._position):
            return self._enter(self._head, self._position + len(self._head_bytes))
        if self._line is None:
            self._line = self._next_line()
            if self._line is None:
                return None
        start = self._position
        end = self._buffer.find(b'\r\n\r\n', start + self._seen) + 4
        if end < 4 or end - start > self._limits.head:
            self._look_at_unfinished_head()
            return None
        written = bytes(self._buffer[start:end])
        head = request_head(self._line, written, self._limits)
        self._line = None
        if len(written) <= _REMEMBERED and head.keep_alive:
            self._head, self._head_bytes = head, written
        return self._enter(head, end)

    def _enter(self, head: RequestHead, end: int) -> RequestHead:
        """The head is read up to `end`: its body follows."""
        self._position = end
        self._seen = self._empty_lines = 0
        self._keep_alive = head.keep_alive
        if head.length is None:
            self._at = CHUNKED
            self._chunks = ChunkedDecoder(self._limits)
        else:
            self._at = COUNTED if head.length else ENDING
            self._left = head.length
        return head

    def _next_line(self) -> RequestLine | None:
        """Read the request line, after the empty lines that some clients send, and leave it in its place: llhttp
        wants the head whole."""
        longest = self._limits.target + LINE_BESIDE_TARGET + 2
        buffer = self._buffer
        while True:
            start = self._position
            end = buffer.find(b'\n', start + self._seen, start + longest)
            if end < 0:
                break
            if end == start or buffer[end - 1] != 0x0D:
                raise MessageRejected(400, 'A line feed without a carriage return stands before or in the request line')
            if end - start > 1:
                self._seen = end - 1 - start  # the end of the head may begin with this line's
                text = bytes(buffer[start : end - 1])
                if self._last_line is None or self._last_line.text != text:
                    self._last_line = request_line(text, self._limits)
                return self._last_line
            self._skip_empty_line()
        self._seen = len(buffer) - start
        if self._seen >= longest:
            raise MessageRejected(414, f'The request target is longer than {self._limits.target} bytes')
        return None

    def _skip_empty_line(self) -> None:
        self._empty_lines += 1
        if self._empty_lines > _MOST_EMPTY_LINES:
            raise MessageRejected(400, f'More than {_MOST_EMPTY_LINES} empty lines stand before a request')
        self._position += 2
        self._seen = 0

    def _stop(self) -> None:
        super()._stop()
        self._head = self._last_line = None
