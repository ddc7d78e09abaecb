"""How long to wait before trying again."""

from __future__ import annotations

from collections.abc import Callable

_MOST_DOUBLINGS = 32  # past it every cap is reached, and 2 ** attempt would only grow without use


def next_delay(attempt: int, random: Callable[[], float], *, base: float = 0.1, cap: float = 5.0) -> float:
    """Seconds to wait before try number `attempt` + 1: exponential backoff with full jitter, so that clients that lost
    one server together do not come back together.

    `attempt` counts the failures so far from 0; `random` gives numbers in [0, 1); `base` is the longest first delay
    and `cap` the longest of all, in seconds.
    """
    return random() * min(cap, base * float(2 ** min(max(attempt, 0), _MOST_DOUBLINGS)))
