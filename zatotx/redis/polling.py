"""Waiting for something in Redis."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from twisted.internet.task import deferLater

T = TypeVar('T')

_FIRST, _LONGEST = 0.02, 0.25  # seconds between looks


async def poll(
    clock: Any, look: Callable[[], Awaitable[T | None]], *, within: float, random: Callable[[], float],
) -> T | None:
    """What `look` gives once it gives something, or None after `within` seconds; it is asked once in any case.

    By looking again and again, with growing pauses and full jitter from the middle on: a word over pub/sub could be
    lost, and a key's own events are switched off in most servers. `random` gives numbers in [0, 1). Raises what `look`
    raises. Cancelling it cancels the look under way.
    """
    end = clock.seconds() + within
    pause = _FIRST
    while (found := await look()) is None:
        left = end - clock.seconds()
        if left <= 0:
            return None
        await deferLater(clock, min(left, pause * (0.5 + random())))
        pause = min(pause * 1.5, _LONGEST)
    return found
