"""An answer's body, as it comes: collected up to its bound, or read piece by piece by somebody who may be slow."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

from twisted.internet.defer import Deferred, fail, succeed

from zatotx.plugins.http.client.call import Fields, HttpResponse, ResponseHead
from zatotx.plugins.http.client.errors import CallFailed, StreamClosed, TooLarge

HELD = 64 * 1024  # bytes that wait for the reader before the peer is made to wait

Trailers = tuple[tuple[bytes, bytes], ...]


class FlowControl(Protocol):
    """What a stream comes from."""

    def pause(self) -> None:
        """Let the peer wait."""

    def resume(self) -> None:
        """Go on."""

    def shut(self) -> None:
        """Nobody reads the rest."""


class CollectedBody:
    """A body that is handed over whole."""

    __slots__ = ('_head', '_most', '_pieces', '_size')

    def __init__(self, head: ResponseHead, most: int) -> None:
        self._head = head
        self._most = most
        self._pieces: list[bytes] = []
        self._size = 0

    def piece(self, data: bytes) -> None:
        """More of it. Raises TooLarge."""
        self._size += len(data)
        if self._size > self._most:
            raise too_large(self._most)
        self._pieces.append(data)

    def end(self, trailers: Trailers) -> HttpResponse:
        """That was all."""
        return HttpResponse(self._head, b''.join(self._pieces), trailers)


class StreamedBody:
    """An AnswerStream."""

    __slots__ = ('_ended', '_error', '_held', '_size', '_tap', '_waiting', 'trailers')

    def __init__(self, tap: FlowControl) -> None:
        self._tap: FlowControl | None = tap
        self._held: list[bytes] = []
        self._size = 0
        self._waiting: Deferred[bytes] | None = None
        self._ended = False
        self._error: CallFailed | None = None
        self.trailers: Fields = ()

    # The reader's side.

    def read(self) -> Deferred[bytes]:
        """See AnswerStream."""
        if self._waiting is not None:
            raise RuntimeError('The body of an answer is read by one reader, one piece at a time')
        if self._held:
            return succeed(self._take())
        if self._error is not None:
            return fail(self._error)
        if self._ended:
            return succeed(b'')
        waiting = self._waiting = Deferred(self._given_up)
        return waiting

    def close(self) -> None:
        """See AnswerStream."""
        self._held.clear()
        if self._error is None and not self._ended:
            tap = self._tap
            self.fail(StreamClosed('the body of the answer was closed before its end'))
            if tap is not None:
                tap.shut()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        piece = await self.read()
        if not piece:
            raise StopAsyncIteration
        return piece

    # The connection's side.

    def piece(self, data: bytes) -> None:
        """More of it."""
        waiting = self._waiting
        if waiting is not None:
            self._waiting = None
            waiting.callback(data)
            return
        self._held.append(data)
        self._size += len(data)
        if self._size >= HELD and self._tap is not None:
            self._tap.pause()

    def end(self, trailers: Trailers) -> None:
        """That was all."""
        self._ended = True
        self._tap = None
        self.trailers = trailers
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(b'')

    def fail(self, error: CallFailed) -> None:
        """There will be no more."""
        self._error = error
        self._tap = None
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.errback(error)

    def _take(self) -> bytes:
        held = self._held
        data = held[0] if len(held) == 1 else b''.join(held)
        held.clear()
        self._size = 0
        if self._tap is not None:
            self._tap.resume()
        return data

    def _given_up(self, waiting: Deferred[bytes]) -> None:
        self._waiting = None
        self.close()


def too_large(most: int) -> TooLarge:
    return TooLarge(f'the body of the answer is longer than the {most} bytes that this call allows')
