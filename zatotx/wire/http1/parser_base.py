"""The base class of the request and response parsers. It contains an input buffer that is read in place, and parses
message bodies."""

from __future__ import annotations

from zatotx.wire.http1.chunked_decoder import END, ChunkedDecoder, EndOfBody
from zatotx.wire.http1.message_limits import HttpMessageRejected, HttpParserLimits

# Parser states.
HEAD, FIXED_LENGTH, CHUNKED, UNTIL_CLOSE, END_OF_MESSAGE, FINISHED = range(6)


class HttpMessageParser:
    """Base class that parses the messages of one direction of a connection in sequence. Subclasses parse the heads of
    messages."""

    __slots__ = ('_body_remaining', '_buffer', '_chunks', '_error', '_keep_alive', '_limits', '_position', '_searched',
                 '_state')  # fmt: skip

    def __init__(self, limits: HttpParserLimits) -> None:
        self._limits = limits
        self._state = HEAD
        self._buffer: bytes | bytearray = b''  # fed input
        self._position = 0  # read position in the buffer
        self._searched = 0  # number of bytes after it that were already searched for the end of the head
        self._body_remaining = 0  # remaining bytes of a body with Content-Length
        self._chunks: ChunkedDecoder | None = None
        self._keep_alive = True
        self._error: HttpMessageRejected | None = None

    @property
    def pending_bytes(self) -> int:
        """Number of fed bytes that were not read yet: pause the transport when it grows."""
        return len(self._buffer) - self._position

    @property
    def is_finished(self) -> bool:
        """Whether no further message follows on this connection, because of a message or an error. Input is
        discarded."""
        return self._state == FINISHED

    @property
    def is_between_messages(self) -> bool:
        """Whether the parser is between messages on a persistent connection, with an empty buffer."""
        return self._state == HEAD and self._position == len(self._buffer)

    def feed(self, data: bytes) -> None:
        """Add input. It is not parsed before `next` is called."""
        if self._state == FINISHED:
            return
        if self._position == len(self._buffer):
            self._buffer = data
        else:
            if isinstance(self._buffer, bytes):
                self._buffer = bytearray(self._buffer)
            del self._buffer[: self._position]
            self._buffer += data
        self._position = 0

    def take_whole_body(self) -> bytes | None:
        """Return the whole body, if it has a Content-Length and is complete, and ends the message; otherwise returns
        None, and `next` returns the body in pieces. Call it right after a head."""
        if self._state == FIXED_LENGTH:
            end = self._position + self._body_remaining
            if len(self._buffer) < end:
                return None
            body = bytes(self._buffer[self._position : end])
            self._position = end
        elif self._state == END_OF_MESSAGE:
            body = b''
        else:
            return None
        if self._keep_alive:  # `_end_message` inlined
            self._state = HEAD
        else:
            self._finish_parsing()
        return body

    def take_rest(self) -> bytes:
        """Return all unread input, which is of another protocol, and finish parsing."""
        rest = bytes(self._buffer[self._position :])
        self._finish_parsing()
        return rest

    def _next_body_event(self) -> bytes | EndOfBody | None:
        """Return the next event of a body."""
        if self._state == FIXED_LENGTH:
            return self._next_fixed_length()
        if self._state == CHUNKED:
            return self._next_chunked()
        return self._end_message(END) if self._state == END_OF_MESSAGE else None

    def _check_incomplete_head(self) -> None:
        """Reject an incomplete head early if more input cannot make it valid. At least one byte of it must have been
        searched."""
        start, limit = self._position, self._limits.head
        stop = min(len(self._buffer), start + limit)
        new = self._buffer[start + self._searched - 1 : stop]
        if new.count(b'\n', 1) != new.count(b'\r\n'):
            raise HttpMessageRejected(400, 'A line feed without a carriage return stands in the head')
        if len(self._buffer) - start >= limit:
            raise HttpMessageRejected(431, f'The head is longer than {limit} bytes')
        self._searched = max(self._searched, stop - start - 3)

    def _next_fixed_length(self) -> bytes | None:
        start = self._position
        piece = bytes(self._buffer[start : start + self._body_remaining])
        if not piece:
            return None
        self._position = start + len(piece)
        self._body_remaining -= len(piece)
        if not self._body_remaining:
            self._state = END_OF_MESSAGE
        return piece

    def _next_chunked(self) -> bytes | EndOfBody | None:
        assert self._chunks is not None
        piece, self._position = self._chunks.decode(self._buffer, self._position)
        if piece:
            return piece
        end = self._chunks.end
        return None if end is None else self._end_message(end)

    def _end_message(self, end: EndOfBody) -> EndOfBody:
        self._chunks = None
        if self._keep_alive:
            self._state = HEAD
        else:
            self._finish_parsing()
        return end

    def _finish_parsing(self) -> None:
        self._state = FINISHED
        self._buffer = b''
        self._position = 0
        self._chunks = None
