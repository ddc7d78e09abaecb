"""Looking at the frames of other threads without a crash.

CPython 3.11 makes the frames that are asked for, and the dict of their variables, as they are asked for; that may begin
a garbage collection, a collection runs Python code (`gc.callbacks`, finalizers), and that lets the other thread go on.
Where its frame ends meanwhile, the interpreter writes to where it was, and ends by a segmentation fault. While nothing
is collected nothing of this happens (CPython turns the collector off in `sys._current_frames` for such a reason,
gh-106883); from 3.12 on no allocation begins a collection.
"""

from __future__ import annotations

import gc
from threading import Lock


class GcDisabled:
    """`with` it no allocation begins a collection, in whatever thread; several threads may be inside at a time."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._inside = 0
        self._was_on = False

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._was_on = gc.isenabled()
                gc.disable()
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside and self._was_on:
                gc.enable()


uncollected = GcDisabled()
