"""The common base of the request and response parsers: an input buffer that is read in place, and message bodies."""

from __future__ import annotations

from zatotx.wire.http1.chunked import END, ChunkedDecoder, EndOfBody
from zatotx.wire.http1.limits import MessageRejected, ParserLimits

# Parser states.
HEAD, COUNTED, CHUNKED, UNTIL_END, ENDING, OVER = range(6)


class MessageReader:
    """Parses the messages of one direction of a connection in sequence. Subclasses parse the heads."""

    __slots__ = ('_at', '_buffer', '_chunks', '_keep_alive', '_left', '_limits', '_position', '_refused', '_seen')

    def __init__(self, limits: ParserLimits) -> None:
        self._limits = limits
        self._at = HEAD
        self._buffer: bytes | bytearray = b''  # fed input
        self._position = 0  # read position in the buffer
        self._seen = 0  # number of bytes after it that were already searched for the end of the head
        self._left = 0  # remaining bytes of a body with Content-Length
        self._chunks: ChunkedDecoder | None = None
        self._keep_alive = True
        self._refused: MessageRejected | None = None

    @property
    def pending(self) -> int:
        """Number of fed bytes that were not read yet: pause the transport when it grows."""
        return len(self._buffer) - self._position

    @property
    def over(self) -> bool:
        """Whether no further message follows on this connection, because of a message or an error. Input is
        discarded."""
        return self._at == OVER

    @property
    def clean(self) -> bool:
        """Whether the parser is between messages on a persistent connection, with an empty buffer."""
        return self._at == HEAD and self._position == len(self._buffer)

    def feed(self, data: bytes) -> None:
        """Adds input. It is not parsed before `next` is called."""
        if self._at == OVER:
            return
        if self._position == len(self._buffer):
            self._buffer = data
        else:
            if isinstance(self._buffer, bytes):
                self._buffer = bytearray(self._buffer)
            del self._buffer[: self._position]
            self._buffer += data
        self._position = 0

    def take_whole(self) -> bytes | None:
        """Returns the whole body, if it has a Content-Length and is complete, and ends the message; otherwise returns
        None, and `next` returns the body in pieces. Call it right after a head."""
        if self._at == COUNTED:
            end = self._position + self._left
            if len(self._buffer) < end:
                return None
            body = bytes(self._buffer[self._position : end])
            self._position = end
        elif self._at == ENDING:
            body = b''
        else:
            return None
        if self._keep_alive:  # `_finish` inlined
            self._at = HEAD
        else:
            self._stop()
        return body

    def _next_piece(self) -> bytes | EndOfBody | None:
        """Returns the next event of a body."""
        if self._at == COUNTED:
            return self._next_counted()
        if self._at == CHUNKED:
            return self._next_chunked()
        return self._finish(END) if self._at == ENDING else None

    def _look_at_unfinished_head(self) -> None:
        """Rejects an incomplete head early if more input cannot make it valid. At least one byte of it must have been
        searched."""
        start, limit = self._position, self._limits.head
        stop = min(len(self._buffer), start + limit)
        new = self._buffer[start + self._seen - 1 : stop]
        if new.count(b'\n', 1) != new.count(b'\r\n'):
            raise MessageRejected(400, 'A line feed without a carriage return stands in the head')
        if len(self._buffer) - start >= limit:
            raise MessageRejected(431, f'The head is longer than {limit} bytes')
        self._seen = max(self._seen, stop - start - 3)

    def _next_counted(self) -> bytes | None:
        start = self._position
        piece = bytes(self._buffer[start : start + self._left])
        if not piece:
            return None
        self._position = start + len(piece)
        self._left -= len(piece)
        if not self._left:
            self._at = ENDING
        return piece

    def _next_chunked(self) -> bytes | EndOfBody | None:
        assert self._chunks is not None
        piece, self._position = self._chunks.decode(self._buffer, self._position)
        if piece:
            return piece
        end = self._chunks.end
        return None if end is None else self._finish(end)

    def _finish(self, end: EndOfBody) -> EndOfBody:
        self._chunks = None
        if self._keep_alive:
            self._at = HEAD
        else:
            self._stop()
        return end

    def _stop(self) -> None:
        self._at = OVER
        self._buffer = b''
        self._position = 0
        self._chunks = None
