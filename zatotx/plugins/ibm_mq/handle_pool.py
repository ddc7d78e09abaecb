"""A pool of handles, which are the connections of one outgoing connection to the queue manager. Idle handles are
reused. All functions run in the threads of calls.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock

from .mqi_interfaces import QueueManagerHandle


class HandlePool:
    """A pool of handles, which are opened with `connect`. A handle may be used in any thread, but by one call at a
    time."""

    def __init__(self, connect: Callable[[], QueueManagerHandle]) -> None:
        self._connect = connect
        self._lock = Lock()
        self._idle: list[QueueManagerHandle] = []
        self._is_open = True

    def acquire(self) -> tuple[QueueManagerHandle, bool]:
        """Return a handle, and whether it is new. Blocks while it connects. Raises MqiError."""
        with self._lock:
            if self._idle:
                return self._idle.pop(), False
        return self._connect(), True

    def release(self, handle: QueueManagerHandle) -> None:
        """Take a handle back that works."""
        with self._lock:
            if self._is_open:
                self._idle.append(handle)
                return
        handle.close()

    def discard(self, handle: QueueManagerHandle) -> None:
        """Close a handle that does not work, and the idle ones, which have lost the same queue manager."""
        with self._lock:
            idle, self._idle = self._idle, []
        for one in (handle, *idle):
            one.close()

    def close(self) -> None:
        """Close the idle handles; the others are closed when their calls end."""
        with self._lock:
            self._is_open = False
            idle, self._idle = self._idle, []
        for one in idle:
            one.close()
