"""A lock that coalesces waiting attempts to read the ODB: one attempt serves all callers that waited for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from attrs import define, field
from twisted.internet.defer import Deferred, DeferredLock, ensureDeferred

from zatotx.model.errors import ServiceUnavailable, Timeout


@define(eq=False)
class CoalescingLock:
    """Allows one attempt at a time. An attempt that starts after a caller began to wait serves that caller too; if it
    fails because the ODB is unavailable, all waiting callers fail. If each of them tried again in turn, each would wait
    for its own timeout."""

    _lock: DeferredLock = field(factory=DeferredLock)
    _started_count: int = 0
    _failed_count: int = 0
    _last_error: Exception = field(factory=lambda: ServiceUnavailable(None, 'The ODB is unavailable'))

    @property
    def is_held(self) -> bool:
        """Whether an attempt is in progress."""
        return bool(self._lock.locked)

    async def run(self, attempt: Callable[[], Awaitable[None]]) -> None:
        """Run the attempt under the lock, unless one that started meanwhile serves this caller. Raises what the attempt
        raises."""
        started, failed_before = self._started_count, self._failed_count
        await self._lock.run(lambda: ensureDeferred(self._attempt(attempt, started, failed_before)))

    def wait_until_idle(self) -> Deferred[None]:
        """Return a Deferred that fires when the attempt in progress and all that wait now have finished."""
        done: Deferred[None] = self._lock.run(lambda: None)
        return done

    async def _attempt(self, attempt: Callable[[], Awaitable[None]], started: int, failed_before: int) -> None:
        if self._failed_count != failed_before:
            raise self._last_error
        if self._started_count != started:
            return
        self._started_count += 1
        try:
            await attempt()
        except (ServiceUnavailable, Timeout) as error:
            self._failed_count, self._last_error = self._failed_count + 1, error
            raise
