"""Attempts at the ODB that come one after another, where one that gets no answer speaks for those that wait."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from attrs import define, field
from twisted.internet.defer import Deferred, DeferredLock, ensureDeferred

from zatotx.model.errors import ServiceUnavailable, Timeout


@define(eq=False)
class CoalescingLock:
    """One attempt at a time. Those who wait share: one that began after they came serves them too, and where the ODB is
    found away, all fail. Each trying for itself, one after the other, they would wait a deadline each."""

    _lock: DeferredLock = field(factory=DeferredLock)
    _begun: int = 0
    _failed: int = 0
    _why: Exception = field(factory=lambda: ServiceUnavailable(None, 'The ODB is away'))

    @property
    def taken(self) -> bool:
        """Whether an attempt is under way."""
        return bool(self._lock.locked)

    async def take(self, attempt: Callable[[], Awaitable[None]]) -> None:
        """Make the attempt when it is its turn. Raises what it raises."""
        begun, failed = self._begun, self._failed
        await self._lock.run(lambda: ensureDeferred(self._attempt(attempt, begun, failed)))

    def over(self) -> Deferred[None]:
        """Fires when what is under way, and what waits now, is done."""
        done: Deferred[None] = self._lock.run(lambda: None)
        return done

    async def _attempt(self, attempt: Callable[[], Awaitable[None]], begun: int, failed: int) -> None:
        if self._failed != failed:
            raise self._why
        if self._begun != begun:
            return
        self._begun += 1
        try:
            await attempt()
        except (ServiceUnavailable, Timeout) as error:
            self._failed, self._why = self._failed + 1, error
            raise
