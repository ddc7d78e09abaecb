"""A request's body that is made while it goes out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from math import inf
from typing import Any

from twisted.python.failure import Failure

from zatotx.plugins.http.client.call import BodySource
from zatotx.plugins.http.server.response_stream import ResponseStream


class BodyPieces:
    """A BodySource of any async iterator: it is sent once and cannot be sent again."""

    repeatable = False

    def __init__(self, pieces: AsyncIterator[bytes], length: int | None = None) -> None:
        self._pieces = pieces
        self.length = length

    def pieces(self) -> AsyncIterator[bytes]:
        return self._pieces


class BodyUpload:
    """Writes a source's pieces no faster than the peer takes them. `ended(None)` is called when all is written,
    `ended(failure)` when the source broke off, or gave more or less than it said."""

    __slots__ = ('_ended', '_left', '_length', '_stream', '_way_out')

    def __init__(self, source: BodySource, way_out: Any, clock: Any, ended: Callable[[Failure | None], None]) -> None:
        self._length = source.length
        self._left = source.length or 0
        self._way_out = way_out
        self._ended = ended
        self._stream = ResponseStream(source.pieces(), way_out, clock, inf)

    def start(self) -> None:
        """Begin. May call `ended` at once."""
        chunked = self._length is None
        self._stream.start(self._way_out.write if chunked else self._count, framed=chunked, ended=self._over)

    def drained(self) -> None:
        """The peer has caught up."""
        self._stream.drained()

    def cancel(self) -> None:
        """The rest is not wanted: the source is closed, and `ended` is not called."""
        self._ended = _nobody
        self._stream.cancel()

    def _count(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left < 0:
            raise ValueError(f'The source of the body gives more than the {self._length} bytes that it said')
        self._way_out.write(data)

    def _over(self, failure: Failure | None) -> None:
        if failure is None and self._left:
            short = f'The source of the body ended {self._left} bytes before the {self._length} that it said'
            failure = Failure(ValueError(short))
        self._ended(failure)


def _nobody(failure: Failure | None) -> None:
    """Nobody asks any more."""
