"""Disables garbage collection while the stack frames of other threads are inspected, which avoids a crash of CPython
3.11.

CPython 3.11 creates frame objects, and the dict of their variables, on demand. The allocation can start a garbage
collection, which runs Python code (`gc.callbacks`, finalizers) and so lets the other thread continue. If its frame ends
meanwhile, the interpreter writes to freed memory and crashes with a segmentation fault. Without a collection this
cannot happen; CPython disables the collector in `sys._current_frames` for a similar reason (gh-106883). From 3.12 on,
allocations do not start a collection.
"""

from __future__ import annotations

import gc
from threading import Lock


class GcDisabled:
    """A reentrant context manager that prevents garbage collection in all threads while it is active."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._depth = 0
        self._was_enabled = False

    def __enter__(self) -> None:
        with self._lock:
            if not self._depth:
                self._was_enabled = gc.isenabled()
                gc.disable()
            self._depth += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._depth -= 1
            if not self._depth and self._was_enabled:
                gc.enable()


gc_disabled = GcDisabled()
