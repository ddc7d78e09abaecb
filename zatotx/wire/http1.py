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

from zatotx.wire.http1_bounds import Limits, Refused
from zatotx.wire.http1_chunked import END, ChunkedDecoder, End
from zatotx.wire.http1_head import LINE_BESIDE_TARGET, RequestHead, RequestLine, request_head, request_line

__all__ = ['END', 'End', 'Limits', 'Refused', 'RequestHead', 'RequestParser']

_REMEMBERED = 1024  # bytes of the longest head that is remembered
_MOST_EMPTY_LINES = 4  # before a request line (RFC 9112 §2.2)
_HEAD, _COUNTED, _CHUNKED, _END, _OVER = range(5)


class RequestParser:
    """The requests of one connection, one after the other."""

    __slots__ = (
        '_at', '_buffer', '_chunks', '_empty_lines', '_head', '_head_bytes', '_keep_alive', '_last_line', '_left',
        '_limits', '_line', '_position', '_refused', '_seen',
    )  # fmt: skip

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._at = _HEAD
        self._buffer: bytes | bytearray = b''  # what was fed
        self._position = 0  # what of it was read
        self._seen = 0  # how far beyond that the end of a head was looked for already
        self._line: RequestLine | None = None  # of the head under way
        self._last_line: RequestLine | None = None  # of the head before: many differ only in their fields
        self._empty_lines = 0
        self._head_bytes = b''  # the last head as it came: a client that repeats itself is read once
        self._head: RequestHead | None = None
        self._left = 0  # bytes missing of a counted body
        self._chunks: ChunkedDecoder | None = None
        self._keep_alive = True
        self._refused: Refused | None = None

    @property
    def pending(self) -> int:
        """Bytes that were fed and are not read yet: pause the transport when it grows."""
        return len(self._buffer) - self._position

    @property
    def idle(self) -> bool:
        """Between messages, with nothing of a next one here."""
        return self._at == _HEAD and self._line is None and self._position == len(self._buffer)

    @property
    def over(self) -> bool:
        """No message follows on this connection: one said so, or was refused. What is fed is dropped."""
        return self._at == _OVER

    def feed(self, data: bytes) -> None:
        """Take what came in. Nothing is judged before `next` is called."""
        if self._at == _OVER:
            return
        if self._position == len(self._buffer):
            self._buffer = data
        else:
            if isinstance(self._buffer, bytes):
                self._buffer = bytearray(self._buffer)
            del self._buffer[: self._position]
            self._buffer += data
        self._position = 0

    def next(self) -> RequestHead | bytes | End | None:
        """The next event, or None when more must be fed. A piece of a body is never empty.

        Raises Refused when the message cannot be taken, and again on every later call.
        """
        if self._refused is not None:
            raise self._refused
        try:
            if self._at == _HEAD:
                return self._next_head()
            if self._at == _COUNTED:
                return self._next_counted()
            if self._at == _CHUNKED:
                return self._next_chunked()
        except Refused as refused:
            if self._line is not None:
                refused.request_line = self._line.text
            self._refused = refused
            self._stop()
            raise
        return self._finish(END) if self._at == _END else None

    def take_whole(self) -> bytes | None:
        """To be asked right after a RequestHead: the whole of its body, where it is counted and all here already, and
        the request is over; else None, and `next` gives it in pieces."""
        if self._at == _COUNTED:
            end = self._position + self._left
            if len(self._buffer) < end:
                return None
            body = bytes(self._buffer[self._position : end])
            self._position = end
        elif self._at == _END:
            body = b''
        else:
            return None
        self._finish(END)
        return body

    def forget(self) -> None:
        """Keep the last head no longer."""
        self._head, self._head_bytes = None, b''
        self._last_line = None

    def eof(self) -> None:
        """The peer will send no more. Call when `next` has returned None. Raises Refused (400) inside a message, and
        again what was refused before."""
        if self._refused is not None:
            raise self._refused
        if self._at == _OVER or self.idle:
            return
        line = self._line.text if self._line is not None else b''
        self._refused = Refused(400, 'The connection ended inside a request', request_line=line)
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
            self._at = _CHUNKED
            self._chunks = ChunkedDecoder(self._limits)
        else:
            self._at = _COUNTED if head.length else _END
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
                raise Refused(400, 'A line feed without a carriage return stands before or in the request line')
            if end - start > 1:
                self._seen = end - 1 - start  # the end of the head may begin with this line's
                text = bytes(buffer[start : end - 1])
                if self._last_line is None or self._last_line.text != text:
                    self._last_line = request_line(text, self._limits)
                return self._last_line
            self._skip_empty_line()
        self._seen = len(buffer) - start
        if self._seen >= longest:
            raise Refused(414, f'The request target is longer than {self._limits.target} bytes')
        return None

    def _skip_empty_line(self) -> None:
        self._empty_lines += 1
        if self._empty_lines > _MOST_EMPTY_LINES:
            raise Refused(400, f'More than {_MOST_EMPTY_LINES} empty lines stand before a request')
        self._position += 2
        self._seen = 0

    def _look_at_unfinished_head(self) -> None:
        """The end of the head is not here, or too far away: refuse it now where more bytes cannot mend it."""
        start, limit = self._position, self._limits.head
        stop = min(len(self._buffer), start + limit)
        new = self._buffer[start + self._seen - 1 : stop]
        if new.count(b'\n', 1) != new.count(b'\r\n'):
            raise Refused(400, 'A line feed without a carriage return stands in the head')
        if len(self._buffer) - start >= limit:
            raise Refused(431, f'The head is longer than {limit} bytes')
        self._seen = max(self._seen, stop - start - 3)

    def _next_counted(self) -> bytes | None:
        start = self._position
        piece = bytes(self._buffer[start : start + self._left])
        if not piece:
            return None
        self._position = start + len(piece)
        self._left -= len(piece)
        if not self._left:
            self._at = _END
        return piece

    def _next_chunked(self) -> bytes | End | None:
        assert self._chunks is not None
        piece, self._position = self._chunks.decode(self._buffer, self._position)
        if piece:
            return piece
        end = self._chunks.end
        return None if end is None else self._finish(end)

    def _finish(self, end: End) -> End:
        self._chunks = None
        if self._keep_alive:
            self._at = _HEAD
        else:
            self._stop()
        return end

    def _stop(self) -> None:
        self._at = _OVER
        self._buffer = b''
        self._position = 0
        self._chunks = None
        self._head = self._last_line = None
