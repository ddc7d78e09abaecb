"""An answer whose body a service makes piece by piece."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from math import inf
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from zatotx.plugins.http.server.buffered_writer import BufferedWriter
from zatotx.wire.http1.response_writer import LAST_CHUNK, chunk

BURST = 256 * 1024  # written in one go before others get their turn
_PIECE_COST = 256  # what a piece counts for beside its bytes: tiny ones must not hold the reactor either


class ResponseStream:
    """Pulls pieces from the service and writes them no faster than the client takes them.

    `due` is when the next piece must be there: a service may think about each piece as long as about a whole answer.
    `sent` counts bytes of the body. `head` is that of the answer until it goes out: with the first piece, or as soon as
    that must be waited for, so that a service which fails before can be told of in its place.
    """

    __slots__ = ('_clock', '_outlet', '_resume', '_source', '_span', '_task', '_write', 'due', 'head', 'sent')

    def __init__(
        self, source: AsyncIterator[bytes], outlet: BufferedWriter, clock: Any, span: float, head: bytes = b''
    ) -> None:
        self.head = head
        self._source = source
        self._outlet = outlet
        self._clock = clock
        self._span = span
        self._resume: Deferred[None] | None = None
        self._task: Deferred[None] | None = None
        self._write: Callable[[bytes], None] = outlet.write
        self.due = inf
        self.sent = 0

    def start(self, write: Callable[[bytes], None], *, framed: bool, ended: Callable[[Failure | None], None]) -> None:
        """Begin. `framed` = in chunks; else the end of the connection ends the body. `ended(None)` is called when all
        of it is written, `ended(failure)` when the service broke off."""
        self._write = write
        task = self._task = Deferred.fromCoroutine(self._run(framed))
        if not task.called and self.head:
            self._put(b'')
        task.addCallbacks(lambda _: ended(None), ended)

    def drained(self) -> None:
        """The client has caught up."""
        resume, self._resume = self._resume, None
        if resume is not None:
            resume.callback(None)

    def cancel(self) -> None:
        """Nobody reads it any more."""
        if self._task is not None:
            self._task.cancel()

    async def _run(self, framed: bool) -> None:
        try:
            await self._pump(framed)
        finally:
            await close(self._source)
            self.due = inf
        self._put(LAST_CHUNK if framed else b'')

    def _put(self, data: bytes) -> None:
        if self.head:
            data, self.head = self.head + data, b''
        if data:
            self._write(data)

    async def _pump(self, framed: bool) -> None:
        burst = 0
        self.due = self._clock.seconds() + self._span
        async for piece in self._source:
            if piece:
                self._put(chunk(piece) if framed else piece)
            self.sent += len(piece)
            burst += len(piece) + _PIECE_COST
            if burst >= BURST:
                burst = 0
                await deferLater(self._clock, 0)
            if self._outlet.behind:
                await self._caught_up()
            self.due = self._clock.seconds() + self._span

    async def _caught_up(self) -> None:
        self.due = inf  # from here it is the client who is waited for: the write deadline is the outlet's
        self._resume = Deferred()
        await self._resume


def discard_stream(source: AsyncIterator[bytes]) -> None:
    """Close a stream that nobody will read. Its own complaints about that interest nobody."""
    Deferred.fromCoroutine(close(source)).addErrback(lambda failure: None)


async def close(source: AsyncIterator[bytes]) -> None:
    """Let an async generator run its `finally` blocks; other iterators have nothing to close."""
    aclose = getattr(source, 'aclose', None)
    if aclose is not None:
        await aclose()
