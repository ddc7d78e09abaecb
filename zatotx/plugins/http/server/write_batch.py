"""Writes the responses of one reactor iteration together.

Twisted's own write costs two changes of the epoll set and a reactor iteration per response; sending each at once wakes
the peer for each, which is even more expensive on a busy machine. So plain TCP connections batch their output, and one
call at the end of the iteration writes it all.
"""

from __future__ import annotations

from typing import Any, Protocol


class Flushable(Protocol):
    """A writer with batched output."""

    def flush(self) -> None: ...


class WriteBatch:
    """The writers to flush at the end of this reactor iteration."""

    __slots__ = ('_clock', '_writers')

    def __init__(self, clock: Any) -> None:
        self._clock = clock
        self._writers: list[Flushable] = []

    def add(self, writer: Flushable) -> None:
        """Flush this writer at the end of the iteration. Call it once per iteration."""
        if not self._writers:
            self._clock.callLater(0, self._flush)
        self._writers.append(writer)

    def _flush(self) -> None:
        writers, self._writers = self._writers, []
        for writer in writers:
            writer.flush()
