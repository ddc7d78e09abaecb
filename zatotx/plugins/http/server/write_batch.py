"""Answers of one turn of the reactor go out together.

Twisted's own write costs two changes of the epoll set and a turn of the reactor for each answer; sending each at once
costs a wake-up of the peer each, which on a busy machine is dearer still. So plain TCP connections put what they have
aside, and one call at the end of the turn sends it all.
"""

from __future__ import annotations

from typing import Any, Protocol


class Flushable(Protocol):
    """What has something to send."""

    def flush(self) -> None: ...


class WriteBatch:
    """Everything that waits for the end of this turn."""

    __slots__ = ('_clock', '_waiting')

    def __init__(self, clock: Any) -> None:
        self._clock = clock
        self._waiting: list[Flushable] = []

    def add(self, outlet: Flushable) -> None:
        """Flush this one when the turn ends. To be called once a turn."""
        if not self._waiting:
            self._clock.callLater(0, self._flush)
        self._waiting.append(outlet)

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        for outlet in waiting:
            outlet.flush()
