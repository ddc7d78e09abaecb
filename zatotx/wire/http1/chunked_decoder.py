"""Decodes the chunked transfer coding (RFC 9112 §7.1) strictly. The caller's buffer is read in place."""

from __future__ import annotations

import re

import msgspec

from zatotx.wire.http1.header_fields import FORBIDDEN_TRAILERS, PROTECTED_FIELDS, parse_field_line
from zatotx.wire.http1.message_limits import HttpMessageRejected, HttpParserLimits

_HEX_DIGITS = b'0123456789abcdefABCDEF'
_MAX_SIZE_DIGITS = 16  # maximum number of hex digits
_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
_QUOTED = rb'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*+"'
# Used only if a client sends chunk extensions, which is rare. Possessive quantifiers throughout, hence linear.
_EXTENSIONS = re.compile(
    rb'(?:[ \t]*+;[ \t]*+' + _TOKEN + rb'(?:[ \t]*+=[ \t]*+(?:' + _TOKEN + rb'|' + _QUOTED + rb'))?+)*+\Z'
)
_SIZE, _DATA, _DATA_END, _TRAILERS, _DONE = range(5)


class EndOfBody(msgspec.Struct, frozen=True):
    """The event that ends a message. `trailers` are kept separate from the header fields."""

    trailers: tuple[tuple[bytes, bytes], ...] = ()  # as sent, in order


END = EndOfBody()


class ChunkedDecoder:
    """Decodes one chunked body. Like llhttp, the decoder is stricter than the grammar. It allows no whitespace between
    a chunk's size and its extensions, and at most 16 digits of size."""

    __slots__ = ('_body_remaining', '_chunk_remaining', '_extensions_remaining', '_limits', '_searched', '_state',
                 '_trailers', '_trailers_remaining')  # fmt: skip

    def __init__(self, limits: HttpParserLimits) -> None:
        self._limits = limits
        self._state = _SIZE
        self._body_remaining = limits.body  # remaining bytes of data allowed
        self._extensions_remaining = limits.chunk_extensions  # remaining bytes of extensions allowed
        self._trailers_remaining = limits.trailers
        self._trailers: list[tuple[bytes, bytes]] = []
        self._searched = 0  # bytes of an incomplete line already searched for a line feed

    @property
    def end(self) -> EndOfBody | None:
        """The end of the body, or None if it was not reached."""
        if self._state != _DONE:
            return None
        return EndOfBody(tuple(self._trailers)) if self._trailers else END

    def decode(self, buffer: bytes | bytearray, position: int) -> tuple[bytes, int]:
        """Decode `buffer` from `position` as far as possible; return (data, position of the unread rest).

        Raises HttpMessageRejected: 400 for invalid framing, 413 for the data, 431 for the trailers. Data decoded in the
        same call before the error is lost, since the message is invalid.
        """
        pieces: list[bytes] = []
        previous = None
        while previous != position and self._state != _DONE:
            previous = position
            if self._state == _DATA:
                position = self._read_data(buffer, position, pieces)
            elif self._state == _DATA_END:
                position = self._read_data_end(buffer, position)
            elif self._state == _SIZE:
                position = self._read_size(buffer, position)
            else:
                position = self._read_trailer(buffer, position)
        return b''.join(pieces), position

    def _read_data(self, buffer: bytes | bytearray, position: int, pieces: list[bytes]) -> int:
        piece = bytes(memoryview(buffer)[position : position + self._chunk_remaining])
        pieces.append(piece)
        self._chunk_remaining -= len(piece)
        if not self._chunk_remaining:
            self._state = _DATA_END
        return position + len(piece)

    def _read_data_end(self, buffer: bytes | bytearray, position: int) -> int:
        end = buffer[position : position + 2]
        if end == b'\r\n':
            self._state = _SIZE
            return position + 2
        if end and end != b'\r':
            raise HttpMessageRejected(400, 'A chunk is longer than its size says')
        return position

    def _read_size(self, buffer: bytes | bytearray, position: int) -> int:
        line = self._take_line(buffer, position, _MAX_SIZE_DIGITS + self._extensions_remaining)
        if line is None:
            if len(buffer) - position >= _MAX_SIZE_DIGITS + self._extensions_remaining + 2:
                raise HttpMessageRejected(
                    400, f'Chunk extensions are longer than {self._limits.chunk_extensions} bytes'
                )
            return position
        digits, semicolon, _ = line.partition(b';')
        if digits.translate(None, _HEX_DIGITS) or not 0 < len(digits) <= _MAX_SIZE_DIGITS:
            raise HttpMessageRejected(400, 'The size of a chunk is not 1 to 16 hex digits')
        if semicolon:
            self._check_extensions(line[len(digits) :])
        self._chunk_remaining = int(digits, 16)  # bytes of this chunk
        if self._chunk_remaining > self._body_remaining:
            raise HttpMessageRejected(413, f'The body is longer than {self._limits.body} bytes')
        self._body_remaining -= self._chunk_remaining
        self._state = _DATA if self._chunk_remaining else _TRAILERS
        return position + len(line) + 2

    def _check_extensions(self, text: bytes) -> None:
        self._extensions_remaining -= len(text)
        if self._extensions_remaining < 0:
            raise HttpMessageRejected(400, f'Chunk extensions are longer than {self._limits.chunk_extensions} bytes')
        if not _EXTENSIONS.match(text):
            raise HttpMessageRejected(400, 'A chunk extension is not ;name, ;name=token or ;name="text"')

    def _read_trailer(self, buffer: bytes | bytearray, position: int) -> int:
        longest = max(0, self._trailers_remaining - 2)  # the final empty line always fits
        line = self._take_line(buffer, position, longest)
        if line is None:
            if len(buffer) - position >= longest + 2:
                raise HttpMessageRejected(431, f'The trailers are longer than {self._limits.trailers} bytes')
            return position
        if line:
            self._add_trailer(line)
        else:
            self._state = _DONE
        return position + len(line) + 2

    def _add_trailer(self, line: bytes) -> None:
        self._trailers_remaining = max(0, self._trailers_remaining - len(line) - 2)
        name, value = parse_field_line(line)
        key = name.lower()
        if key in FORBIDDEN_TRAILERS or (b'_' in key and key.replace(b'_', b'-') in PROTECTED_FIELDS):
            raise HttpMessageRejected(400, f'The field {key.decode("ascii")} may not stand in a trailer')
        self._trailers.append((name, value))
        if len(self._trailers) > self._limits.fields:
            raise HttpMessageRejected(431, f'There are more than {self._limits.fields} trailers')

    def _take_line(self, buffer: bytes | bytearray, position: int, longest: int) -> bytes | None:
        """Return the line at `position` without its end, or None if it is not complete within `longest` bytes."""
        end = buffer.find(b'\n', position + self._searched, position + longest + 2)
        if end < 0:
            self._searched = min(len(buffer) - position, longest + 2)
            return None
        self._searched = 0
        if end == position or buffer[end - 1] != 0x0D:
            raise HttpMessageRejected(400, 'A line feed without a carriage return stands in the chunked framing')
        return bytes(buffer[position : end - 1])
