"""The usage of services on a real Redis; the store in memory passes the same contract."""

from __future__ import annotations

from twisted.trial.unittest import TestCase

from trial_tests.support.redis import KEYS, RedisCase
from zatotx.interfaces.statistics import IUsageStore
from zatotx.redis.client import ScriptRunner
from zatotx.redis.service_usage_store import RECORDS_KEPT, RedisUsageStore
from zatotx.rules.statistics.calendar_periods import MINUTE, RETENTION
from zatotx.testing.memory_usage_store import MemoryUsageStore
from zatotx.testing.usage_contract import ONE, UsageStoreContract


class RedisUsageStoreTests(RedisCase, UsageStoreContract):
    """On a real Redis."""

    async def setUp(self) -> None:  # type: ignore[override]
        super().setUp()
        self.shared = await self.client()
        self._store = RedisUsageStore(self.shared, ScriptRunner(self.shared), KEYS)

    def usage_store(self) -> IUsageStore:
        store: IUsageStore = self._store
        return store

    async def test_expiration(self) -> None:
        """Records and periods expire."""
        await self._store.record('a', {60: {'crm': ONE}})
        await self._store.store(MINUTE, {60: {'crm': ONE}})
        for key, most in ((KEYS.key('stats-records', '60'), RECORDS_KEPT), (KEYS.key('stats', 'minute', '60'),
                                                                           RETENTION[MINUTE])):  # fmt: skip
            left = await self.shared.execute('TTL', key)
            assert isinstance(left, int)
            self.assertTrue(most - 60 < left <= most, key)


class MemoryUsageStoreTests(UsageStoreContract, TestCase):
    """In memory."""

    def setUp(self) -> None:
        self._store = MemoryUsageStore()

    def usage_store(self) -> IUsageStore:
        store: IUsageStore = self._store
        return store
