"""Waiting for what must come, never longer than said: long enough for a machine that gives no processor for seconds."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from threading import Event
from typing import TypeVar

T = TypeVar('T')
_LOOK_EVERY, _LOOK_SELDOM = 0.02, 0.5  # seconds


def until(found: Callable[[], T], what: str, within: float = 60.0) -> T:
    """What `found` gives once it gives something true. Raises AssertionError naming `what` where it never does."""
    never, began = Event(), time.monotonic()
    end = began + within
    while not (value := found()):
        looked = time.monotonic()
        if looked > end:
            raise AssertionError(f'{what}: not within {within:g} s')
        # Looking that takes long, as a command does, would take the processor from what it waits for.
        never.wait(min(max(_LOOK_EVERY, 2 * (looked - began)), _LOOK_SELDOM))
        began = time.monotonic()
    return value


def allowed(seconds: float) -> float:
    """The wall time that something which takes at most `seconds` on a free processor may take now: more where more
    processes are ready to run than there are processors, by the load average of the last minute. The exact bound is
    shown by a unit test with a clock."""
    return seconds * max(1.0, 2 * os.getloadavg()[0] / (os.cpu_count() or 1)) + 0.5
