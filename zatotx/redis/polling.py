"""Polling for a condition in Redis."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from twisted.internet.task import deferLater

T = TypeVar('T')

_FIRST_PAUSE, _MAX_PAUSE = 0.02, 0.25  # seconds between two polls


async def poll(
    clock: Any, check: Callable[[], Awaitable[T | None]], *, timeout: float, random: Callable[[], float],
) -> T | None:
    """Call `check` until it returns something other than None; returns that, or None after `timeout` seconds. `check`
    is called at least once.

    The pauses grow and have jitter. Polling is used because a pub/sub message could be lost, and keyspace notifications
    are disabled on most servers. `random` returns numbers in [0, 1). Raises what `check` raises. Cancelling cancels the
    current call of `check`.
    """
    end = clock.seconds() + timeout
    pause = _FIRST_PAUSE
    while (result := await check()) is None:
        left = end - clock.seconds()
        if left <= 0:
            return None
        await deferLater(clock, min(left, pause * (0.5 + random())))
        pause = min(pause * 1.5, _MAX_PAUSE)
    return result
