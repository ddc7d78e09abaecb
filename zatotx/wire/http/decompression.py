"""Incremental decompression of content codings with limits (RFC 9110 §8.4.1): gzip (RFC 1952, with multiple members)
and deflate in zlib format (RFC 1950). No I/O.

    inflater = Inflater('gzip', most=20_000_000)
    for piece in pieces:
        out += inflater.feed(piece)
    inflater.end()
"""

from __future__ import annotations

import zlib

from zatotx.wire.malformed import Malformed

__all__ = ['CODINGS', 'DecompressionBomb', 'Decompressor', 'Malformed', 'parse_content_encoding']

CODINGS = {b'gzip': 'gzip', b'x-gzip': 'gzip', b'deflate': 'deflate'}
_WINDOW = {'gzip': 16 + zlib.MAX_WBITS, 'deflate': zlib.MAX_WBITS}
_RAW_WINDOW = -zlib.MAX_WBITS
_MAX_MEMBERS = 1_000  # per gzip body: each member takes time, even if it is empty
UNLIMITED_RATIO_SIZE = (
    64 * 1024
)  # number of bytes that may be decompressed regardless of the ratio: small texts compress well


class DecompressionBomb(Exception):  # noqa: N818 - named for the condition
    """Raised for decompressed data that exceeds a limit. The message contains the limit."""


def parse_content_encoding(value: bytes | None) -> str | None:
    """Parse a Content-Encoding field. Returns '' (no coding), 'gzip' or 'deflate', or None if the coding is not
    supported or there are several codings."""
    if value is None:
        return ''
    name = value.strip().lower()
    return '' if name in (b'', b'identity') else CODINGS.get(name)


class Decompressor:
    """Decompresses the body of one message incrementally.

    Returns at most `max_size` bytes and, beyond the first 64 KiB, at most `max_ratio` times the input; never buffers
    more. `allow_raw`: accept raw deflate data without the zlib format (RFC 1951), as some servers send it.
    """

    __slots__ = ('_bare', '_coding', '_input_size', '_max_size', '_members', '_output_size', '_ratio', '_stream')

    def __init__(self, coding: str, *, max_size: int, max_ratio: int = 100, allow_raw: bool = False) -> None:
        self._bare = allow_raw and coding == 'deflate'
        self._coding = coding
        self._max_size = max_size
        self._ratio = max_ratio
        self._stream = zlib.decompressobj(_WINDOW[coding])
        self._input_size = 0
        self._output_size = 0
        self._members = 1

    def feed(self, piece: bytes) -> bytes:
        """Decompresse one more piece. Raises Malformed or DecompressionBomb."""
        if self._bare and piece:
            self._bare = False
            if not _is_zlib_header(piece[0]):
                self._stream = zlib.decompressobj(_RAW_WINDOW)
        self._input_size += len(piece)
        output = b''
        while piece:
            if self._stream.eof:
                self._next_member()
            output += self._decompress(piece)
            piece = self._stream.unused_data
        return output

    def finish(self) -> None:
        """Check that the body is complete. Raises Malformed if it is truncated."""
        if not self._stream.eof:
            raise Malformed(f'the {self._coding} body ends too early')

    def _decompress(self, piece: bytes) -> bytes:
        """Decompresse data of one member; data after the member is left in `unused_data`."""
        allowed = min(self._max_size, max(UNLIMITED_RATIO_SIZE, self._input_size * self._ratio)) - self._output_size
        try:
            output = self._stream.decompress(piece, allowed + 1)
        except zlib.error:
            raise Malformed(f'the body is not {self._coding}, or was damaged') from None
        self._output_size += len(output)
        if len(output) > allowed:
            raise DecompressionBomb(self._limit_error())
        return output

    def _next_member(self) -> None:
        if self._coding != 'gzip':
            raise Malformed(f'something follows the end of the {self._coding} body')
        self._members += 1
        if self._members > _MAX_MEMBERS:
            raise Malformed(f'the gzip body has more than {_MAX_MEMBERS} members')
        self._stream = zlib.decompressobj(_WINDOW[self._coding])

    def _limit_error(self) -> str:
        if self._output_size > self._max_size:
            return f'The body is larger than the {self._max_size} bytes allowed here once it is decoded'
        return f'The body grows more than {self._ratio} times when it is decoded, the limit here'


def _is_zlib_header(first: int) -> bool:
    """Return whether a byte is the start of a zlib header: method 8 and a window of at most 32 KiB (RFC 1950 §2.2)."""
    return first & 0x8F == 0x08
