"""The body of a request that came in a content coding: decoded when the exchange reads it, which is when its client is
known and there is room for it.
"""

from __future__ import annotations

from collections.abc import Iterator

from zatotx.model.errors import BadRequest, ContentTooLarge
from zatotx.plugins.http.server.request_body import SpooledBody
from zatotx.plugins.http.settings import HttpSettings
from zatotx.wire.http.inflate import FREE, DecompressionBomb, Inflater, Malformed, coding_of

_QUICK = 8 * 1024  # bytes of a body that is decoded on the reactor: a millisecond or two at worst
_PIECE = 64 * 1024


def decode_body(body: bytes | SpooledBody, field: bytes, settings: HttpSettings) -> bytes | SpooledBody | CodedBody:
    """The body without the coding that its Content-Encoding names, which the reception has found to be known."""
    coding = coding_of(field)
    return CodedBody(body, coding, most=settings.max_body, ratio=settings.max_ratio) if coding else body


class CodedBody:
    """A body in a coding, as model.message.Body. `read` gives it decoded, at most `most` bytes and `ratio` times what
    came; it blocks unless the body is `quick`."""

    __slots__ = ('_body', '_coding', '_most', '_ratio', 'size')
    seekable = False

    def __init__(self, body: bytes | SpooledBody, coding: str, *, most: int, ratio: int) -> None:
        self._body = body
        self._coding = coding
        self._most = most
        self._ratio = ratio
        self.size = len(body) if isinstance(body, bytes) else body.size

    @property
    def quick(self) -> bool:
        """Whether it is so small that decoding it holds nobody up."""
        return isinstance(self._body, bytes) and self.size <= _QUICK

    @property
    def most(self) -> int:
        """Bytes that `read` gives at most."""
        return min(self._most, max(FREE, self._ratio * self.size))

    def read(self) -> bytes:
        """All of it, decoded. Raises BadRequest where it is not in that coding, ContentTooLarge where it grows beyond
        bounds."""
        inflater = Inflater(self._coding, most=self._most, ratio=self._ratio)
        decoded = bytearray()
        try:
            for piece in self._pieces():
                decoded += inflater.feed(piece)
            inflater.end()
        except Malformed as error:
            raise BadRequest(None, f'The body cannot be decoded: {error}') from None
        except DecompressionBomb as error:
            raise ContentTooLarge(None, str(error)) from None
        return bytes(decoded)

    def pieces(self, size: int) -> Iterator[bytes]:
        """All of it, decoded. Raises as `read`."""
        decoded = self.read()
        yield from (decoded[start : start + size] for start in range(0, len(decoded), size))

    def at(self, start: int, size: int) -> bytes:
        """Bytes of it, decoded. Raises as `read`."""
        return self.read()[start : start + size]

    def close(self) -> None:
        """Give back what it came in."""
        if isinstance(self._body, SpooledBody):
            self._body.close()

    def _pieces(self) -> Iterator[bytes]:
        body = self._body
        if isinstance(body, SpooledBody):
            yield from body.pieces(_PIECE)
        else:
            for start in range(0, len(body), _PIECE):
                yield body[start : start + _PIECE]
