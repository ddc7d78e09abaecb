"""Answers in a content coding, inflated within limits (RFC 9110 §8.4)."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
from twisted.internet.defer import Deferred

from zatotx.plugins.http.client.call import Answer, AnswerHead, AnswerStream, Fields, Outbound, Sender
from zatotx.plugins.http.client.errors import BadCoding
from zatotx.wire.inflate import Bomb, Inflater, Malformed, coding_of

ACCEPT = (b'Accept-Encoding', b'gzip, deflate')  # what requests that may be answered so say
_QUICK = 32 * 1024  # bytes of a body that is inflated on the reactor: a few milliseconds at worst
_PIECE = 64 * 1024
_PARTIAL = 206
_GONE = (b'content-encoding', b'content-length')  # of the head of an answer that was inflated

Offload = Callable[..., Deferred[Any]]


class Decoding:
    """A Sender whose answers come without their content coding, and without the fields that speak of it.

    Fails with BadCoding where a body is damaged, is longer than the call's `most` once inflated, or grows to more than
    `ratio` times what came. A coding that is not known here stays, as its field says; so do partial answers (206).
    `offload` runs a function in a thread.
    """

    def __init__(self, sender: Sender, offload: Offload, *, ratio: int) -> None:
        self._sender = sender
        self._offload = offload
        self._ratio = ratio

    def send(self, outbound: Outbound) -> Deferred[Answer]:
        """As a Sender."""
        return self._sender.send(outbound).addCallback(self._look, outbound)

    def _look(self, answer: Answer, outbound: Outbound) -> Answer | Deferred[Answer]:
        field = answer.head.headers.get(b'content-encoding')
        if field is None or answer.head.status == _PARTIAL or not answer.body:
            return answer
        coding = coding_of(field)
        if not coding:
            return answer
        if not isinstance(answer.body, bytes):
            inflater = Inflater(coding, most=sys.maxsize, ratio=self._ratio, bare=True)
            return Answer(_plain(answer.head, None), InflatedStream(answer.body, inflater))
        inflater = Inflater(coding, most=outbound.most, ratio=self._ratio, bare=True)
        if len(answer.body) <= _QUICK:
            return _with_body(inflated(answer.body, inflater), answer)
        return self._offload(inflated, answer.body, inflater).addCallback(_with_body, answer)


def inflated(body: bytes, inflater: Inflater) -> bytes:
    """All of a body. Raises BadCoding."""
    out = bytearray()
    try:
        for start in range(0, len(body), _PIECE):
            out += inflater.feed(body[start : start + _PIECE])
        inflater.end()
    except (Malformed, Bomb) as error:
        raise _bad(error) from None
    return bytes(out)


class InflatedStream:
    """An AnswerStream of what comes out of another."""

    def __init__(self, stream: AnswerStream, inflater: Inflater) -> None:
        self._stream = stream
        self._inflater = inflater
        self._fed = False
        self._failed: Exception | None = None

    @property
    def trailers(self) -> Fields:
        """As of an AnswerStream."""
        return self._stream.trailers

    def read(self) -> Deferred[bytes]:
        """As of an AnswerStream."""
        return Deferred.fromCoroutine(self._read())

    def close(self) -> None:
        """As of an AnswerStream."""
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
        except (Malformed, Bomb) as error:
            self.close()
            self._failed = _bad(error)
            raise self._failed from None
        return b''


def _bad(error: Malformed | Bomb) -> BadCoding:
    text = str(error)
    return BadCoding(text[:1].lower() + text[1:])


def _with_body(body: bytes, answer: Answer) -> Answer:
    return Answer(_plain(answer.head, len(body)), body, answer.trailers)


def _plain(head: AnswerHead, length: int | None) -> AnswerHead:
    """The head of an answer whose coding was taken off. Heads are shared: this is one of its own."""
    headers = {name: value for name, value in head.headers.items() if name not in _GONE}
    raw = [(name, value) for name, value in head.raw_headers if name.lower() not in _GONE]
    return msgspec.structs.replace(head, headers=headers, raw_headers=raw, length=length)
