"""A clock that stands still, and runs what threads hand to the reactor when the test asks for it."""

from __future__ import annotations

from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

from twisted.internet.task import Clock

PATIENCE = 60.0  # seconds that a thread may take on a busy machine before the test fails


class ThreadClock(Clock):
    """IReactorTime and IReactorFromThreads without a reactor."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: SimpleQueue[Callable[[], Any]] = SimpleQueue()

    def callFromThread(self, function: Callable[..., Any], *args: Any) -> None:
        """See IReactorFromThreads."""
        self._calls.put(lambda: function(*args))

    def turn(self) -> None:
        """Wait for the next call of a thread, and run it."""
        try:
            self._calls.get(timeout=PATIENCE)()
        except Empty:
            raise AssertionError('No thread called the reactor') from None
