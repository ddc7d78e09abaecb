"""Exponential backoff with jitter."""

from __future__ import annotations

from collections.abc import Callable

_MAX_DOUBLINGS = 32  # all caps are reached by then; a larger power would be useless


def backoff_delay(attempt: int, random: Callable[[], float], *, base: float = 0.1, cap: float = 5.0) -> float:
    """Returns the seconds to wait before attempt number `attempt` + 1: exponential backoff with full jitter, so that
    clients that lost a server together do not return at the same time.

    `attempt` counts previous failures from 0; `random` returns numbers in [0, 1); `base` is the maximum of the first
    delay and `cap` the maximum of all delays, in seconds.
    """
    return random() * min(cap, base * float(2 ** min(max(attempt, 0), _MAX_DOUBLINGS)))
