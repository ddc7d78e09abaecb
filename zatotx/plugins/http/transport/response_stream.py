"""Streams a response body that the service produces in pieces."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from math import inf
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from zatotx.wire.http1.response_writer import LAST_CHUNK, write_chunk

MAX_BURST = 256 * 1024  # bytes written in one go before the reactor serves other connections
_PIECE_COST = 256  # added to the size of each piece: many tiny ones must not block the reactor either


class StreamWriter(Protocol):
    """The interface of the writer of a streamed body. `is_backlogged` says whether a part of the written data has not
    been received by the peer yet."""

    is_backlogged: bool

    def write(self, data: bytes) -> None: ...


class ResponseStream:
    """Reads the pieces of a body from the service and writes them with backpressure from the client.

    `deadline` is when the next piece must be ready: each piece may take as long as a whole response. `sent_bytes`
    counts bytes of the body. `head` is the response's head until it is sent: with the first piece, or as soon as that
    has to be waited for, so that a service which fails before gets an error response instead.
    """

    __slots__ = (
        '_clock',
        '_drained',
        '_piece_timeout',
        '_source',
        '_task',
        '_write',
        '_writer',
        'deadline',
        'head',
        'sent_bytes',
    )

    def __init__(
        self, source: AsyncIterator[bytes], writer: StreamWriter, clock: IReactorTime, piece_timeout: float,
        head: bytes = b'',
    ) -> None:
        self.head = head
        self._source = source
        self._writer = writer
        self._clock = clock
        self._piece_timeout = piece_timeout
        self._drained: Deferred[None] | None = None
        self._task: Deferred[None] | None = None
        self._write: Callable[[bytes], None] = writer.write
        self.deadline = inf
        self.sent_bytes = 0

    def start(self, write: Callable[[bytes], None], *, chunked: bool, on_end: Callable[[Failure | None], None]) -> None:
        """Start sending. `chunked` = in chunks; otherwise the end of the connection ends the body. Calls `on_end(None)`
        when all is written, `on_end(failure)` when the service failed."""
        self._write = write
        task = self._task = Deferred.fromCoroutine(self._run(chunked))
        if not task.called and self.head:
            self._put(b'')
        task.addCallbacks(lambda _: on_end(None), on_end)

    def resume(self) -> None:
        """Continue: the client has received everything written so far."""
        drained, self._drained = self._drained, None
        if drained is not None:
            drained.callback(None)

    def cancel(self) -> None:
        """Stop: the client has disconnected."""
        if self._task is not None:
            self._task.cancel()

    async def _run(self, chunked: bool) -> None:
        try:
            await self._pump(chunked)
        finally:
            await close_stream(self._source)
            self.deadline = inf
        self._put(LAST_CHUNK if chunked else b'')

    def _put(self, data: bytes) -> None:
        if self.head:
            data, self.head = self.head + data, b''
        if data:
            self._write(data)

    async def _pump(self, chunked: bool) -> None:
        burst = 0
        self.deadline = self._clock.seconds() + self._piece_timeout
        async for piece in self._source:
            if piece:
                self._put(write_chunk(piece) if chunked else piece)
            self.sent_bytes += len(piece)
            burst += len(piece) + _PIECE_COST
            if burst >= MAX_BURST:
                burst = 0
                await deferLater(self._clock, 0)
            if self._writer.is_backlogged:
                await self._wait_for_client()
            self.deadline = self._clock.seconds() + self._piece_timeout

    async def _wait_for_client(self) -> None:
        self.deadline = inf  # from here on it waits for the client: BufferedWriter has the write timeout
        self._drained = Deferred()
        await self._drained


def discard_stream(source: AsyncIterator[bytes]) -> None:
    """Close a stream that is no longer read. Errors of its cleanup are ignored."""
    Deferred.fromCoroutine(close_stream(source)).addErrback(lambda failure: None)


async def close_stream(source: AsyncIterator[bytes]) -> None:
    """Close an async generator, so that its `finally` blocks run. Other iterators need no closing."""
    aclose = getattr(source, 'aclose', None)
    if aclose is not None:
        await aclose()
