"""The chunked coding (RFC 9112 §7.1), read strictly. Knows no buffer of its own: the owner's is read in place."""

from __future__ import annotations

import re

import msgspec

from zatotx.wire.http1.fields import DECISIVE, NO_TRAILERS, field_line
from zatotx.wire.http1.limits import MessageRejected, ParserLimits

_HEX_DIGITS = b'0123456789abcdefABCDEF'
_LONGEST_SIZE = 16  # hex digits
_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
_QUOTED = rb'"(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*+"'
# Only looked at where a client sends extensions, which next to none does. Possessive throughout: linear.
_EXTENSIONS = re.compile(
    rb'(?:[ \t]*+;[ \t]*+' + _TOKEN + rb'(?:[ \t]*+=[ \t]*+(?:' + _TOKEN + rb'|' + _QUOTED + rb'))?+)*+\Z'
)
_SIZE, _DATA, _DATA_END, _TRAILERS, _DONE = range(5)


class EndOfBody(msgspec.Struct, frozen=True):
    """A message is over. `trailers` stand beside the head's fields and are never merged into them."""

    trailers: tuple[tuple[bytes, bytes], ...] = ()  # as sent, in order


END = EndOfBody()


class ChunkedDecoder:
    """Reads one chunked body. Stricter than the grammar in two points, as llhttp is: no whitespace between a chunk's
    size and its extensions, and at most 16 digits of size."""

    __slots__ = ('_at', '_extensions', '_left', '_limits', '_room', '_seen', '_trailer_room', '_trailers')

    def __init__(self, limits: ParserLimits) -> None:
        self._limits = limits
        self._at = _SIZE
        self._left = 0  # bytes missing of this chunk
        self._room = limits.body  # bytes of data still allowed
        self._extensions = limits.chunk_extensions  # bytes of extensions still allowed
        self._trailer_room = limits.trailers
        self._trailers: list[tuple[bytes, bytes]] = []
        self._seen = 0  # bytes of an unfinished line that hold no line feed

    @property
    def end(self) -> EndOfBody | None:
        """The end of the body once it has been read."""
        if self._at != _DONE:
            return None
        return EndOfBody(tuple(self._trailers)) if self._trailers else END

    def decode(self, buffer: bytes | bytearray, position: int) -> tuple[bytes, int]:
        """Read `buffer` from `position` as far as it goes: (data, the position of what was not read).

        Raises Refused: 400 for the framing, 413 for the data, 431 for the trailers. Data read before the fault in the
        same call is lost: the message is void.
        """
        pieces: list[bytes] = []
        reached = -1
        while reached != position and self._at != _DONE:
            reached = position
            if self._at == _DATA:
                position = self._read_data(buffer, position, pieces)
            elif self._at == _DATA_END:
                position = self._read_data_end(buffer, position)
            elif self._at == _SIZE:
                position = self._read_size(buffer, position)
            else:
                position = self._read_trailer(buffer, position)
        return b''.join(pieces), position

    def _read_data(self, buffer: bytes | bytearray, position: int, pieces: list[bytes]) -> int:
        piece = bytes(memoryview(buffer)[position : position + self._left])
        pieces.append(piece)
        self._left -= len(piece)
        if not self._left:
            self._at = _DATA_END
        return position + len(piece)

    def _read_data_end(self, buffer: bytes | bytearray, position: int) -> int:
        end = buffer[position : position + 2]
        if end == b'\r\n':
            self._at = _SIZE
            return position + 2
        if end and end != b'\r':
            raise MessageRejected(400, 'A chunk is longer than its size says')
        return position

    def _read_size(self, buffer: bytes | bytearray, position: int) -> int:
        line = self._line(buffer, position, _LONGEST_SIZE + self._extensions)
        if line is None:
            if len(buffer) - position >= _LONGEST_SIZE + self._extensions + 2:
                raise MessageRejected(400, f'Chunk extensions are longer than {self._limits.chunk_extensions} bytes')
            return position
        digits, semicolon, _ = line.partition(b';')
        if digits.translate(None, _HEX_DIGITS) or not 0 < len(digits) <= _LONGEST_SIZE:
            raise MessageRejected(400, 'The size of a chunk is not 1 to 16 hex digits')
        if semicolon:
            self._check_extensions(line[len(digits) :])
        self._left = int(digits, 16)
        if self._left > self._room:
            raise MessageRejected(413, f'The body is longer than {self._limits.body} bytes')
        self._room -= self._left
        self._at = _DATA if self._left else _TRAILERS
        return position + len(line) + 2

    def _check_extensions(self, text: bytes) -> None:
        self._extensions -= len(text)
        if self._extensions < 0:
            raise MessageRejected(400, f'Chunk extensions are longer than {self._limits.chunk_extensions} bytes')
        if not _EXTENSIONS.match(text):
            raise MessageRejected(400, 'A chunk extension is not ;name, ;name=token or ;name="text"')

    def _read_trailer(self, buffer: bytes | bytearray, position: int) -> int:
        longest = max(0, self._trailer_room - 2)  # the empty line that ends them fits always
        line = self._line(buffer, position, longest)
        if line is None:
            if len(buffer) - position >= longest + 2:
                raise MessageRejected(431, f'The trailers are longer than {self._limits.trailers} bytes')
            return position
        if line:
            self._add_trailer(line)
        else:
            self._at = _DONE
        return position + len(line) + 2

    def _add_trailer(self, line: bytes) -> None:
        self._trailer_room = max(0, self._trailer_room - len(line) - 2)
        name, value = field_line(line)
        key = name.lower()
        if key in NO_TRAILERS or (b'_' in key and key.replace(b'_', b'-') in DECISIVE):
            raise MessageRejected(400, f'The field {key.decode("ascii")} may not stand in a trailer')
        self._trailers.append((name, value))
        if len(self._trailers) > self._limits.fields:
            raise MessageRejected(431, f'There are more than {self._limits.fields} trailers')

    def _line(self, buffer: bytes | bytearray, position: int, longest: int) -> bytes | None:
        """The line at `position` without its end, or None where it has not come whole within `longest` bytes."""
        end = buffer.find(b'\n', position + self._seen, position + longest + 2)
        if end < 0:
            self._seen = min(len(buffer) - position, longest + 2)
            return None
        self._seen = 0
        if end == position or buffer[end - 1] != 0x0D:
            raise MessageRejected(400, 'A line feed without a carriage return stands in the chunked framing')
        return bytes(buffer[position : end - 1])
