"""Answers in a content coding, inflated within limits (RFC 9110 §8.4)."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
from twisted.internet.defer import Deferred

from zatotx.plugins.http.client.call import Fields, HttpResponse, ResponseHead, ResponseStream
from zatotx.plugins.http.client.errors import BadCoding
from zatotx.wire.http.inflate import DecompressionBomb, Inflater, Malformed, coding_of

ACCEPT = (b'Accept-Encoding', b'gzip, deflate')  # what requests that may be answered so say
_QUICK = 32 * 1024  # bytes of a body that is inflated on the reactor: a few milliseconds at worst
_PIECE = 64 * 1024
_PARTIAL = 206
_GONE = (b'content-encoding', b'content-length')  # of the head of an answer that was inflated

Offload = Callable[..., Deferred[Any]]


class Decoder:
    """Takes content codings off answers, and the fields that speak of them. A coding that is not known here stays, as
    its field says, and so do partial answers (206). `offload` runs a function in a thread."""

    def __init__(self, offload: Offload, *, ratio: int) -> None:
        self._offload = offload
        self._ratio = ratio

    async def decode(self, answer: HttpResponse, most: int) -> HttpResponse:
        """Raises BadCoding where the body is damaged, is longer than `most` bytes once inflated, or grows to more than
        `ratio` times what came; a stream, which may be of any length, raises it when that is found."""
        field, body = answer.head.headers.get(b'content-encoding'), answer.body
        coding = coding_of(field) if answer.head.status != _PARTIAL else ''
        if not coding or not body:
            return answer
        if not isinstance(body, bytes):
            inflater = Inflater(coding, most=sys.maxsize, ratio=self._ratio, bare=True)
            return HttpResponse(_plain(answer.head, None), InflatedStream(body, inflater))
        inflater = Inflater(coding, most=most, ratio=self._ratio, bare=True)
        if len(body) <= _QUICK:
            whole = inflate_response(body, inflater)
        else:
            whole = await self._offload(inflate_response, body, inflater)
        return HttpResponse(_plain(answer.head, len(whole)), whole, answer.trailers)


def inflate_response(body: bytes, inflater: Inflater) -> bytes:
    """All of a body. Raises BadCoding."""
    out = bytearray()
    try:
        for start in range(0, len(body), _PIECE):
            out += inflater.feed(body[start : start + _PIECE])
        inflater.end()
    except (Malformed, DecompressionBomb) as error:
        raise _bad(error) from None
    return bytes(out)


class InflatedStream:
    """An ResponseStream of what comes out of another."""

    def __init__(self, stream: ResponseStream, inflater: Inflater) -> None:
        self._stream = stream
        self._inflater = inflater
        self._fed = False
        self._failed: Exception | None = None

    @property
    def trailers(self) -> Fields:
        """As of an ResponseStream."""
        return self._stream.trailers

    def read(self) -> Deferred[bytes]:
        """As of an ResponseStream."""
        return Deferred.fromCoroutine(self._read())

    def close(self) -> None:
        """As of an ResponseStream."""
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
                if out := self._inflater.feed(piece):
                    return out
            if self._fed:
                self._inflater.end()
        except (Malformed, DecompressionBomb) as error:
            self.close()
            self._failed = _bad(error)
            raise self._failed from None
        return b''


def _bad(error: Malformed | DecompressionBomb) -> BadCoding:
    text = str(error)
    return BadCoding(text[:1].lower() + text[1:])


def _plain(head: ResponseHead, length: int | None) -> ResponseHead:
    """The head of an answer whose coding was taken off. Heads are shared: this is one of its own."""
    headers = {name: value for name, value in head.headers.items() if name not in _GONE}
    raw = [(name, value) for name, value in head.raw_headers if name.lower() not in _GONE]
    return msgspec.structs.replace(head, headers=headers, raw_headers=raw, length=length)
