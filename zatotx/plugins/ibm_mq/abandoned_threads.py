"""Counts the abandoned threads of a process, and limits their number. A thread is abandoned if its call of the client
library does not return. MQI calls cannot be canceled, and each such thread keeps memory and a connection.
"""

from __future__ import annotations

MAX_STUCK = 16


class TooManyAbandonedThreads(Exception):  # noqa: N818 - it completes a sentence
    """The limit of abandoned threads is reached, so no further thread may be started."""


class AbandonedThreads:
    """The abandoned threads whose calls have not returned yet. `limit` is the maximum number of these threads."""

    def __init__(self, limit: int = MAX_STUCK) -> None:
        self.limit = limit
        self._threads: set[object] = set()

    def __len__(self) -> int:
        return len(self._threads)

    def add(self, thread: object) -> None:
        """A thread was given up."""
        self._threads.add(thread)

    def discard(self, thread: object) -> None:
        """A thread has ended, whether it was given up or not."""
        self._threads.discard(thread)

    def require_capacity(self) -> None:
        """Raise TooManyAbandonedThreads if no further thread may be started."""
        if len(self._threads) >= self.limit:
            raise TooManyAbandonedThreads(
                f'does not start another thread, as calls of the client library do not return in {len(self._threads)} '
                'threads: see to the queue manager or the network, or restart this process'
            )
