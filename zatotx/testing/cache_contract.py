"""Contract tests that every implementation of ICacheStore must pass, both the in-memory implementation and the
implementation in Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING

from zope.interface.verify import verifyObject

from zatotx.interfaces.cache import ICacheStore
from zatotx.rules.redis.cache_size_limits import CacheSizeLimits

if TYPE_CHECKING:
    from twisted.trial.unittest import TestCase as Case
else:
    Case = object


class CacheStoreContract(Case):
    """Contract tests of ICacheStore."""

    def store(self, limits: CacheSizeLimits) -> ICacheStore:
        """Return a store; all stores of a test have the same entries."""
        raise NotImplementedError

    async def later(self, seconds: float) -> None:
        """Let that many seconds pass."""
        raise NotImplementedError

    def small(self) -> ICacheStore:
        """Return a store with room for three entries."""
        return self.store(CacheSizeLimits(3, 1000))

    async def test_entry(self) -> None:
        """An entry has its data and the times and number of its uses."""
        store = self.small()
        verifyObject(ICacheStore, store)
        self.assertEqual(list(await store.get('c', ['a'])), [])
        written = await store.set('c', ['a'], b'\xff1', 0)
        self.assertEqual((list(written.written), written.evicted, written.entries, written.size), (['a'], 0, 1, 3))
        (first,) = await store.get('c', ['a'], touch=False)
        self.assertEqual((first.key, first.data, first.hits, first.last_read), ('a', b'\xff1', 0, 0))
        self.assertGreater(first.last_write, 0)
        self.assertEqual((first.prev_write, first.expiry, first.expires_at), (0, 0, 0))
        await self.later(0.01)
        await store.get('c', ['a'])
        (second,) = await store.get('c', ['a', 'none'])
        self.assertEqual(second.hits, 2)
        self.assertGreaterEqual(second.last_read, second.prev_read)
        self.assertGreater(second.prev_read, first.last_write)
        await store.set('c', ['a'], b'2', 0)
        (third,) = await store.get('c', ['a'], touch=False)
        self.assertEqual((third.data, third.hits, third.prev_write), (b'2', 2, first.last_write))
        self.assertEqual(list(await store.get('another', ['a'])), [])

    async def test_keys(self) -> None:
        """Entries are listed, deleted and cleared; caches do not share entries."""
        store = self.store(CacheSizeLimits(10_000, 10_000_000))
        keys = [f'key {at} é' for at in range(1200)]
        await store.set('c', keys, b'x', 0)
        await store.set('d', ['a'], b'x', 0)
        self.assertEqual(set(await store.keys('c')), set(keys))
        self.assertEqual(len(await store.get('c', keys)), 1200)
        self.assertEqual(list(await store.delete('c', [keys[0], 'none'])), [keys[0]])
        written = await store.set('c', [keys[0], keys[1]], b'y', 0, only_existing=True)
        self.assertEqual(list(written.written), [keys[1]])
        self.assertEqual(await store.clear('c'), 1199)
        self.assertEqual(list(await store.keys('c')), [])
        self.assertEqual(list(await store.keys('d')), ['a'])

    async def test_expiry(self) -> None:
        """An entry is gone when its time has passed; reads do not extend it, and `expire` changes it."""
        store = self.small()
        await store.set('c', ['a', 'b', 'kept'], b'x', 0.3)
        (entry,) = await store.get('c', ['a'])
        self.assertEqual(entry.expiry, 0.3)
        self.assertAlmostEqual(entry.expires_at, entry.last_write + 0.3, 4)
        self.assertEqual(list(await store.expire('c', ['kept', 'none'], 0)), ['kept'])
        self.assertEqual(list(await store.expire('c', ['b'], 100)), ['b'])
        await self.later(0.4)
        self.assertEqual(set(await store.keys('c')), {'b', 'kept'})
        self.assertEqual([one.key for one in await store.get('c', ['a', 'b', 'kept'])], ['b', 'kept'])
        self.assertEqual(list(await store.delete('c', ['a'])), [])
        await store.set('c', ['a'], b'x', 0)
        (entry,) = await store.get('c', ['a'])
        self.assertEqual((entry.hits, entry.prev_write), (1, 0))
        self.assertEqual(await store.clear('c'), 3)

    async def test_entries_are_bounded(self) -> None:
        """Beyond the number of entries, the least recently used give way."""
        store = self.small()
        for key in 'abc':
            await store.set('c', [key], b'x', 0)
            await self.later(0.001)
        await store.get('c', ['a'])
        await self.later(0.001)
        self.assertEqual([one.position for one in await store.get('c', ['a', 'c', 'b'], touch=False)], [0, 1, 2])
        self.assertEqual((await store.set('c', ['d'], b'x', 0)).evicted, 1)
        self.assertEqual(set(await store.keys('c')), {'a', 'c', 'd'})

    async def test_bytes_are_bounded(self) -> None:
        """Beyond the number of bytes, the least recently used give way; an entry that is too large is refused."""
        store = self.store(CacheSizeLimits(100, 1000))
        for key in 'abc':
            await store.set('c', [key], b'x' * 300, 0)
            await self.later(0.001)
        await store.set('c', ['b'], b'x' * 390, 0)
        self.assertEqual(set(await store.keys('c')), {'a', 'b', 'c'})
        await self.later(0.001)
        self.assertEqual((await store.set('c', ['d'], b'x' * 300, 0)).evicted, 1)
        self.assertEqual(set(await store.keys('c')), {'b', 'c', 'd'})
        with self.assertRaisesRegex(ValueError, 'larger than the whole cache'):
            await store.set('c', ['e'], b'x' * 1001, 0)
        self.assertEqual(len(await store.keys('c')), 3)
        await store.delete('c', ['b', 'c', 'd'])
        for key in 'abc':
            self.assertEqual((await store.set('c', [key], b'x' * 300, 0)).evicted, 0)
