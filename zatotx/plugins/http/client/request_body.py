"""Request bodies that are produced while they are sent."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from math import inf
from typing import Any

from twisted.python.failure import Failure

from zatotx.plugins.http.client.call import BodySource
from zatotx.plugins.http.server.response_stream import ResponseStream, StreamWriter


class IteratorBody:
    """A BodySource of an async iterator: it can be sent only once."""

    repeatable = False

    def __init__(self, pieces: AsyncIterator[bytes], length: int | None = None) -> None:
        self._pieces = pieces
        self.length = length

    def pieces(self) -> AsyncIterator[bytes]:
        return self._pieces


class BodyUpload:
    """Writes a source's pieces no faster than the peer reads them. Calls `ended(None)` when all is written,
    `ended(failure)` when the source failed, or its length differs from what it declared."""

    __slots__ = ('_length', '_on_end', '_remaining', '_stream', '_writer')

    def __init__(
        self, source: BodySource, writer: StreamWriter, clock: Any, on_end: Callable[[Failure | None], None]
    ) -> None:
        self._length = source.length
        self._remaining = source.length or 0
        self._writer = writer
        self._on_end = on_end
        self._stream = ResponseStream(source.pieces(), writer, clock, inf)

    def start(self) -> None:
        """Start sending. May call `ended` at once."""
        chunked = self._length is None
        self._stream.start(self._writer.write if chunked else self._write_counted, chunked=chunked, on_end=self._finish)

    def resume(self) -> None:
        """Continue: the peer has received everything written so far."""
        self._stream.resume()

    def cancel(self) -> None:
        """Stop sending: the source is closed, and `ended` is not called."""
        self._on_end = _ignore
        self._stream.cancel()

    def _write_counted(self, data: bytes) -> None:
        self._remaining -= len(data)
        if self._remaining < 0:
            raise ValueError(f'The source of the body gives more than the {self._length} bytes that it said')
        self._writer.write(data)

    def _finish(self, failure: Failure | None) -> None:
        if failure is None and self._remaining:
            details = f'The source of the body ended {self._remaining} bytes before the {self._length} that it said'
            failure = Failure(ValueError(details))
        self._on_end(failure)


def _ignore(failure: Failure | None) -> None:
    """Ignore the end of a cancelled upload."""
