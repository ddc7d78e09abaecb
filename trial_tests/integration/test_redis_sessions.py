"""Sessions of the web admin's users: in memory and in a real Redis."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from trial_tests.support.redis import KEYS, RedisCase
from zatotx.interfaces.admin_sessions import MAX_AGE
from zatotx.model.errors import ServiceUnavailable
from zatotx.redis.session_store import RedisSessionStore
from zatotx.testing.memory_redis_components import MemorySessionStore
from zatotx.testing.redis_contracts import SessionStoreContract


class MemorySessionTests(SessionStoreContract, TestCase):
    """The double."""

    def setUp(self) -> None:
        self.clock = Clock()

    def session_store(self) -> MemorySessionStore:
        return MemorySessionStore(self.clock, self.SHORT)

    async def later(self, seconds: float) -> None:
        self.clock.advance(seconds)

    async def test_unavailable(self) -> None:
        """The double can be made unavailable."""
        sessions = self.session_store()
        sessions.error = ServiceUnavailable(None, 'Redis is unavailable')
        self.failureResultOf(sessions.use('1:a'), ServiceUnavailable)


class RedisSessionTests(RedisCase, SessionStoreContract):
    """The real implementation."""

    async def setUp(self) -> None:  # type: ignore[override]
        super().setUp()
        self.client_in_use = await self.client()

    def session_store(self, **options: Any) -> RedisSessionStore:
        return RedisSessionStore(client=self.client_in_use, keys=KEYS, idle_timeout=self.SHORT, **options)

    async def test_old_sessions_end(self) -> None:
        """A session ends at its maximum age, however often it is used; no token is in Redis, only what the caller gives
        as the key, which expires."""
        times = [1000.0]
        sessions = self.session_store(now=lambda: times[0])
        await sessions.open('1:a')
        self.assertTrue(await sessions.use('1:a'))
        times[0] += MAX_AGE
        self.assertFalse(await sessions.use('1:a'))
        remaining = int(str(await self.client_in_use.execute('PTTL', KEYS.key('session', '1:a'))))
        self.assertTrue(0 < remaining <= self.SHORT * 1000)
