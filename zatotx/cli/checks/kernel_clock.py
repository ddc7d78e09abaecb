"""Detects whether NTP synchronizes the kernel's clock: adjtimex(2), read-only."""

from __future__ import annotations

import ctypes

_TIME_ERROR = 5  # the clock is not synchronized
_STRUCT = 256  # bytes, at least the size of struct timex on any platform; all zero = read only


def is_clock_unsynchronized() -> bool:
    """Whether the kernel reports that its clock is not synchronized. False if that cannot be determined."""
    try:
        state: int = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_STRUCT))
    except (OSError, AttributeError):
        return False
    return state == _TIME_ERROR
