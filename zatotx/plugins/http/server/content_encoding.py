"""A request body in a content coding. It is decoded when the service reads it: the client is authenticated then, and
admission control has accepted the request."""

from __future__ import annotations

from collections.abc import Iterator

from zatotx.model.errors import BadRequest, ContentTooLarge
from zatotx.plugins.http.server.request_body import SpooledBody
from zatotx.plugins.http.settings import HttpSettings
from zatotx.wire.http.decompression import (
    UNLIMITED_RATIO_SIZE,
    DecompressionBomb,
    Decompressor,
    Malformed,
    parse_content_encoding,
)

_QUICK_SIZE = 8 * 1024  # largest body that is decoded on the reactor: a millisecond or two at worst
_PIECE_SIZE = 64 * 1024


def wrap_encoded_body(
    body: bytes | SpooledBody, content_encoding: bytes, settings: HttpSettings
) -> bytes | SpooledBody | EncodedBody:
    """Return the body wrapped to be decoded by its Content-Encoding, which RequestRouter has found to be supported."""
    coding = parse_content_encoding(content_encoding)
    return EncodedBody(body, coding, max_size=settings.max_body, max_ratio=settings.max_ratio) if coding else body


class EncodedBody:
    """A body in a content coding, see model.message.Body. `read` returns it decoded, at most `max_size` bytes and
    `max_ratio` times the received size. It blocks unless the body is `is_nonblocking`."""

    __slots__ = ('_body', '_coding', '_max_ratio', '_max_size', 'size')
    seekable = False

    def __init__(self, body: bytes | SpooledBody, coding: str, *, max_size: int, max_ratio: int) -> None:
        self._body = body
        self._coding = coding
        self._max_size = max_size
        self._max_ratio = max_ratio
        self.size = len(body) if isinstance(body, bytes) else body.size

    @property
    def is_nonblocking(self) -> bool:
        """Whether the body is so small that it can be decoded on the reactor."""
        return isinstance(self._body, bytes) and self.size <= _QUICK_SIZE

    @property
    def max_size(self) -> int:
        """The maximum number of bytes that `read` returns."""
        return min(self._max_size, max(UNLIMITED_RATIO_SIZE, self._max_ratio * self.size))

    def read(self) -> bytes:
        """Return the whole decoded body. Raises BadRequest if it is not in that coding, ContentTooLarge if it exceeds a
        limit."""
        inflater = Decompressor(self._coding, max_size=self._max_size, max_ratio=self._max_ratio)
        decoded = bytearray()
        try:
            for piece in self._pieces():
                decoded += inflater.feed(piece)
            inflater.finish()
        except Malformed as error:
            raise BadRequest(None, f'The body cannot be decoded: {error}') from None
        except DecompressionBomb as error:
            raise ContentTooLarge(None, str(error)) from None
        return bytes(decoded)

    def iter_chunks(self, size: int) -> Iterator[bytes]:
        """Yield the decoded body in pieces of `size` bytes. Raises as `read` does."""
        decoded = self.read()
        yield from (decoded[start : start + size] for start in range(0, len(decoded), size))

    def read_at(self, start: int, size: int) -> bytes:
        """Return `size` decoded bytes from `start` on. Raises as `read` does."""
        return self.read()[start : start + size]

    def close(self) -> None:
        """Close the encoded body."""
        if isinstance(self._body, SpooledBody):
            self._body.close()

    def _pieces(self) -> Iterator[bytes]:
        body = self._body
        if isinstance(body, SpooledBody):
            yield from body.iter_chunks(_PIECE_SIZE)
        else:
            for start in range(0, len(body), _PIECE_SIZE):
                yield body[start : start + _PIECE_SIZE]
