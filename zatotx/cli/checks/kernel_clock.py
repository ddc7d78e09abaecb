"""Whether the kernel's clock is kept by NTP: adjtimex(2), read only."""

from __future__ import annotations

import ctypes

_TIME_ERROR = 5  # the clock is not synchronised
_STRUCT = 256  # bytes, more than struct timex has anywhere; all zero = change nothing


def is_clock_unsynchronized() -> bool:
    """True where the kernel says that nothing keeps its clock. Where it cannot be asked: False."""
    try:
        state: int = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_STRUCT))
    except (OSError, AttributeError):
        return False
    return state == _TIME_ERROR
