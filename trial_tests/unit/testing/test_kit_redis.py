"""The Redis in memory of the test kit passes the contract of the real one."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import TestCase

from zatotx.interfaces.cache import StoredEntry
from zatotx.interfaces.redis import RedisError
from zatotx.model.errors import ServiceUnavailable
from zatotx.rules.redis.cache_size_limits import CacheSizeLimits
from zatotx.testing.cache_contract import CacheStoreContract
from zatotx.testing.data_dictionary_contract import DataDictionaryContract
from zatotx.testing.kit_redis.cache_store import MemoryCacheStore
from zatotx.testing.kit_redis.client import MemoryRedis
from zatotx.testing.kit_redis.data_dictionary_store import MemoryDataDictionaryStore
from zatotx.testing.kit_redis.service_redis import MemoryServiceRedis, memory_service_redis
from zatotx.testing.service_redis_contract import ServiceRedisContract


class MemoryDataDictionaryTests(DataDictionaryContract, TestCase):
    def setUp(self) -> None:
        self.made = MemoryDataDictionaryStore(MemoryRedis(Clock()))

    def dictionary_store(self) -> MemoryDataDictionaryStore:
        return self.made


class MemoryCacheStoreTests(CacheStoreContract, TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.memory = MemoryRedis(self.clock)
        self.caches: dict[str, dict[str, StoredEntry]] = {}

    def store(self, limits: CacheSizeLimits) -> MemoryCacheStore:
        return MemoryCacheStore(self.memory, self.clock.seconds, limits, self.caches)

    async def later(self, seconds: float) -> None:
        self.clock.advance(seconds)


class MemoryServiceRedisTests(ServiceRedisContract, TestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.made = memory_service_redis(self.clock)

    def service_redis(self) -> MemoryServiceRedis:
        return self.made

    async def later(self, seconds: float) -> None:
        self.clock.advance(seconds)

    async def test_outage(self) -> None:
        """A test can make Redis fail, and wipe it."""
        memory = self.made.memory
        await self.call('set', 'a', 1)
        memory.fail_with(ServiceUnavailable(None, 'Redis is unavailable'))
        for attempt in (
            self.made.commands.execute('GET', 'a'),
            self.made.commands.execute_batch([('GET', 'a')]),
            self.made.commands.execute_transaction([('GET', 'a')]),
        ):
            self.failureResultOf(attempt, ServiceUnavailable)
        memory.fail_with(None)
        self.assertEqual(await self.call('get', 'a'), '1')
        memory.wipe()
        self.assertIsNone(await self.call('get', 'a'))

    async def test_what_it_lacks(self) -> None:
        """Commands that it does not have are errors that say so."""
        with self.assertRaisesRegex(RedisError, 'need a real Redis'):
            await self.made.commands.execute('XADD', 's', '*', 'a', 1)
        with self.assertRaisesRegex(RedisError, 'runs no Lua'):
            await self.call('eval', 'return 1', 0)
