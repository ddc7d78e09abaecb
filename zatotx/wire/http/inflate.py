"""Content codings of bodies, taken off piece by piece and within limits (RFC 9110 8.4.1): gzip (RFC 1952, of
any number of members) and deflate, which is zlib's form (RFC 1950). Pure.

    inflating = Inflater('gzip', most=20_000_000)
    for piece in pieces:
        out += inflating.feed(piece)
    inflating.end()
"""

from __future__ import annotations

import zlib

from zatotx.wire.malformed import Malformed

__all__ = ['CODINGS', 'DecompressionBomb', 'Inflater', 'Malformed', 'coding_of']

CODINGS = {b'gzip': 'gzip', b'x-gzip': 'gzip', b'deflate': 'deflate'}
_WINDOW = {'gzip': 16 + zlib.MAX_WBITS, 'deflate': zlib.MAX_WBITS}
_BARE = -zlib.MAX_WBITS
_MEMBERS = 1_000  # of one gzip body: each costs time, however little is in it
FREE = 64 * 1024  # bytes that may come out whatever the ratio: small texts shrink a lot


class DecompressionBomb(Exception):  # noqa: N818 - what it is
    """More comes out than may. The text says which limit."""


def coding_of(field: bytes | None) -> str | None:
    """What a Content-Encoding says: '' for none, 'gzip', 'deflate'; None for one that is not known here, and for
    several on top of each other."""
    if field is None:
        return ''
    name = field.strip().lower()
    return '' if name in (b'', b'identity') else CODINGS.get(name)


class Inflater:
    """One body in a coding.

    Gives at most `most` bytes, and beyond the first 64 KiB at most `ratio` times what it was fed; never holds more.
    `bare`: a deflate body may come without zlib's frame (RFC 1951), as some servers send it.
    """

    __slots__ = ('_bare', '_coding', '_fed', '_given', '_members', '_most', '_ratio', '_stream')

    def __init__(self, coding: str, *, most: int, ratio: int = 100, bare: bool = False) -> None:
        self._bare = bare and coding == 'deflate'
        self._coding = coding
        self._most = most
        self._ratio = ratio
        self._stream = zlib.decompressobj(_WINDOW[coding])
        self._fed = 0
        self._given = 0
        self._members = 1

    def feed(self, piece: bytes) -> bytes:
        """What comes out of one more piece. Raises Malformed, Bomb."""
        if self._bare and piece:
            self._bare = False
            if not _begins_zlib(piece[0]):
                self._stream = zlib.decompressobj(_BARE)
        self._fed += len(piece)
        out = b''
        while piece:
            if self._stream.eof:
                self._next_member()
            out += self._some(piece)
            piece = self._stream.unused_data
        return out

    def end(self) -> None:
        """That was all. Raises Malformed where it ends too early."""
        if not self._stream.eof:
            raise Malformed(f'the {self._coding} body ends too early')

    def _some(self, piece: bytes) -> bytes:
        """What comes out of a piece of one member; what follows the member is left in `unused_data`."""
        may = min(self._most, max(FREE, self._fed * self._ratio)) - self._given
        try:
            out = self._stream.decompress(piece, may + 1)
        except zlib.error:
            raise Malformed(f'the body is not {self._coding}, or was damaged') from None
        self._given += len(out)
        if len(out) > may:
            raise DecompressionBomb(self._too_much())
        return out

    def _next_member(self) -> None:
        if self._coding != 'gzip':
            raise Malformed(f'something follows the end of the {self._coding} body')
        self._members += 1
        if self._members > _MEMBERS:
            raise Malformed(f'the gzip body has more than {_MEMBERS} members')
        self._stream = zlib.decompressobj(_WINDOW[self._coding])

    def _too_much(self) -> str:
        if self._given > self._most:
            return f'The body is larger than the {self._most} bytes allowed here once it is decoded'
        return f'The body grows more than {self._ratio} times when it is decoded, the limit here'


def _begins_zlib(first: int) -> bool:
    """Whether a byte begins zlib's frame: method 8 and a window of at most 32 KiB (RFC 1950 §2.2)."""
    return first & 0x8F == 0x08
