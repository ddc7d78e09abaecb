"""Decodes response bodies in a content coding, within size limits (RFC 9110 §8.4)."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
from twisted.internet.defer import Deferred

from zatotx.plugins.http.client.call import BodyStream, Fields, HttpResponse, ResponseHead
from zatotx.plugins.http.client.errors import BadCoding
from zatotx.wire.http.decompression import DecompressionBomb, Decompressor, Malformed, parse_content_encoding

ACCEPT_ENCODING = (b'Accept-Encoding', b'gzip, deflate')  # of requests whose responses may be encoded
_QUICK_SIZE = 32 * 1024  # largest body that is decoded on the reactor, in bytes: a few milliseconds at worst
_PIECE_SIZE = 64 * 1024
_PARTIAL = 206
_REMOVED_FIELDS = (b'content-encoding', b'content-length')  # fields removed from the head of a decoded response

Offload = Callable[..., Deferred[Any]]


class Decoder:
    """Decodes content codings of responses, and removes the fields about them. An unknown coding is left as it is, with
    its field, and so are partial responses (206). `offload` runs a function in a thread."""

    def __init__(self, offload: Offload, *, max_ratio: int) -> None:
        self._offload = offload
        self._ratio = max_ratio

    async def decode(self, response: HttpResponse, max_size: int) -> HttpResponse:
        """Decode a response. Raises BadCoding if the body is damaged, is longer than `max_size` bytes when decoded, or
        grows to more than `ratio` times its received size; a stream, whose length is not limited, raises it while it is
        read."""
        field, body = response.head.headers.get(b'content-encoding'), response.body
        coding = parse_content_encoding(field) if response.head.status != _PARTIAL else ''
        if not coding or not body:
            return response
        if not isinstance(body, bytes):
            inflater = Decompressor(coding, max_size=sys.maxsize, max_ratio=self._ratio, allow_raw=True)
            return HttpResponse(_decoded_head(response.head, None), DecodedStream(body, inflater))
        inflater = Decompressor(coding, max_size=max_size, max_ratio=self._ratio, allow_raw=True)
        if len(body) <= _QUICK_SIZE:
            decoded = decode_body(body, inflater)
        else:
            decoded = await self._offload(decode_body, body, inflater)
        return HttpResponse(_decoded_head(response.head, len(decoded)), decoded, response.trailers)


def decode_body(body: bytes, inflater: Decompressor) -> bytes:
    """Return the whole decoded body. Raises BadCoding."""
    decoded = bytearray()
    try:
        for start in range(0, len(body), _PIECE_SIZE):
            decoded += inflater.feed(body[start : start + _PIECE_SIZE])
        inflater.finish()
    except (Malformed, DecompressionBomb) as error:
        raise _bad_coding(error) from None
    return bytes(decoded)


class DecodedStream:
    """A BodyStream that decodes another one."""

    def __init__(self, stream: BodyStream, inflater: Decompressor) -> None:
        self._stream = stream
        self._inflater = inflater
        self._fed = False
        self._failed: Exception | None = None

    @property
    def trailers(self) -> Fields:
        """See BodyStream."""
        return self._stream.trailers

    def read(self) -> Deferred[bytes]:
        """See BodyStream."""
        return Deferred.fromCoroutine(self._read())

    def close(self) -> None:
        """See BodyStream."""
        self._stream.close()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        piece = await self.read()
        if not piece:
            raise StopAsyncIteration
        return piece

    async def _read(self) -> bytes:
        if self._failed is not None:
            raise self._failed
        try:
            while piece := await self._stream.read():
                self._fed = True
                if decoded := self._inflater.feed(piece):
                    return decoded
            if self._fed:
                self._inflater.finish()
        except (Malformed, DecompressionBomb) as error:
            self.close()
            self._failed = _bad_coding(error)
            raise self._failed from None
        return b''


def _bad_coding(error: Malformed | DecompressionBomb) -> BadCoding:
    text = str(error)
    return BadCoding(text[:1].lower() + text[1:])


def _decoded_head(head: ResponseHead, length: int | None) -> ResponseHead:
    """Return a head without the coding's fields. Heads are shared, so this is a copy."""
    headers = {name: value for name, value in head.headers.items() if name not in _REMOVED_FIELDS}
    raw = [(name, value) for name, value in head.raw_headers if name.lower() not in _REMOVED_FIELDS]
    return msgspec.structs.replace(head, headers=headers, raw_headers=raw, length=length)
