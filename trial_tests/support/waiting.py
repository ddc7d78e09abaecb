"""Waiting for what must come, never longer than said: long enough for a machine that gives no processor for seconds."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from threading import Event
from typing import TypeVar

T = TypeVar('T')
_LOOK_EVERY = 0.02


def until(found: Callable[[], T], what: str, within: float = 60.0) -> T:
    """What `found` gives once it gives something true. Raises AssertionError naming `what` where it never does."""
    never, end = Event(), time.monotonic() + within
    while not (value := found()):
        if time.monotonic() > end:
            raise AssertionError(f'{what}: not within {within:g} s')
        never.wait(_LOOK_EVERY)
    return value


def allowed(seconds: float) -> float:
    """The wall time that something which takes at most `seconds` on a free processor may take now: more where more
    processes are ready to run than there are processors, by the load average of the last minute. The exact bound is
    shown by a unit test with a clock."""
    return seconds * max(1.0, 2 * os.getloadavg()[0] / (os.cpu_count() or 1)) + 0.5
