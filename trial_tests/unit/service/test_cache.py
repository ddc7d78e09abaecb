"""self.cache in async and `def` services."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from zatotx import Service, ServiceUnavailable, Timeout
from zatotx.service.cache import CacheEntry
from zatotx.service.cache_values import decode_value, encode_value
from zatotx.testing.service_test_case import ServiceTesting

VALUE = {'a': [1, 2.5, None, True, 'é', b'\xff'], 'at': datetime(2026, 1, 1, tzinfo=UTC), 1: {}}
loads: list[Deferred[Any]] = []


class Async(Service):
    name = 'cache.async'

    async def handle(self) -> None:
        cache = self.cache
        await cache.set('user:1', VALUE)
        entry = await cache.default.set('user:2', 'b', expiry=60, details=True)
        await cache.get_cache('builtin', 'other').set('user:3', 3)
        self.response.payload = [
            await cache.get('user:1'), entry.expiry, entry.expires_at - entry.last_write, await cache.get('none', 'd'),
            await cache.keys(), await cache.values(), await cache.items(), await cache.has_key('user:2'),
            await cache.expire('user:2', 100), await cache.delete('user:2'), await cache.delete('user:2'),
            await cache.get_cache('builtin', 'other').items(), await cache.clear(), await cache.has_key('user:1'),
        ]  # fmt: skip


class Plain(Service):
    name = 'cache.plain'

    def handle(self) -> None:
        cache = self.cache
        cache.set('user:1', VALUE)
        entry = cache.default.set('user:2', 'b', expiry=60, details=True)
        cache.get_cache('builtin', 'other').set('user:3', 3)
        self.response.payload = [
            cache.get('user:1'), entry.expiry, entry.expires_at - entry.last_write, cache.get('none', 'd'),
            cache.keys(), cache.values(), cache.items(), cache.has_key('user:2'),
            cache.expire('user:2', 100), cache.delete('user:2'), cache.delete('user:2'),
            cache.get_cache('builtin', 'other').items(), cache.clear(), cache.has_key('user:1'),
        ]  # fmt: skip


class Select(Service):
    """Calls one of the methods that select keys, after filling the cache."""

    name = 'cache.select'

    async def handle(self) -> None:
        for key in ('user:1', 'user:2', 'order:1', 'order:2x'):
            await self.cache.set(key, key)
        method, *arguments = self.request.payload
        reply = await getattr(self.cache, method)(*arguments)
        self.response.payload = [reply, await self.cache.keys(), await self.cache.values()]


class Load(Service):
    name = 'cache.load'

    async def handle(self) -> None:
        def loader() -> Deferred[Any]:
            loads.append(Deferred())
            return loads[-1]

        self.response.payload = await self.cache.load('rates', loader, expiry=60)


class LoadPlain(Service):
    name = 'cache.load-plain'

    def handle(self) -> None:
        self.response.payload = self.cache.load('rates', lambda: self.request.payload, 60)


class Entry(Service):
    name = 'cache.entry'

    async def handle(self) -> None:
        entry = await self.cache.get('user:1', details=True)
        self.response.payload = entry


class CacheTests(ServiceTesting, SynchronousTestCase):
    services = (Async, Plain, Select, Load, LoadPlain, Entry)

    def setUp(self) -> None:
        loads.clear()

    def test_both_forms(self) -> None:
        """Async services await, `def` services get results; both get the same."""
        expected = [VALUE, 60.0, 60.0, 'd', ['user:1', 'user:2'], [VALUE, 'b'], [('user:1', VALUE), ('user:2', 'b')],
                    True, True, True, False, [('user:3', 3)], 1, False]  # fmt: skip
        self.assertEqual(self.call(Async).payload, expected)
        self.redis.wipe()
        self.assertEqual(self.call(Plain).payload, expected)

    def test_selections(self) -> None:
        """Every operation works on the entries whose keys match."""
        all_keys = ['order:1', 'order:2x', 'user:1', 'user:2']
        for arguments, keys in (
            (['by_prefix', 'user:'], ['user:1', 'user:2']), (['by_suffix', ':1'], ['order:1', 'user:1']),
            (['by_regex', r'\w+:\d$'], ['order:1', 'user:1', 'user:2']), (['contains', 'r:2'], ['order:2x', 'user:2']),
            (['not_contains', '1'], ['order:2x', 'user:2']), (['contains_all', ['o', '1']], ['order:1']),
            (['contains_any', ['x', '1']], ['order:1', 'order:2x', 'user:1']),
        ):  # fmt: skip
            selection, argument = arguments
            reply, listed, _ = self.call(Select, [f'get_{selection}', argument]).payload
            self.assertEqual((reply, listed), ({key: key for key in keys}, all_keys))
            reply, _, values = self.call(Select, [f'set_{selection}', argument, 'new', 60]).payload
            self.assertEqual((reply, values.count('new')), (keys, len(keys)))
            reply, _, _ = self.call(Select, [f'expire_{selection}', argument, 5]).payload
            self.assertEqual(reply, keys)
            reply, listed, _ = self.call(Select, [f'delete_{selection}', argument]).payload
            self.assertEqual((reply, listed), (keys, [key for key in all_keys if key not in keys]))

    def test_details(self) -> None:
        """An entry has Zato's fields; it expires by the clock."""
        self.call(Select, ['expire', 'user:1', 5])
        self.clock.advance(1)
        entry = self.call(Entry).payload
        self.assertEqual(type(entry), CacheEntry)
        self.assertEqual((entry.key, entry.value, entry.hits, entry.position), ('user:1', 'user:1', 1, 0))
        self.assertEqual(entry.expiry, 5)
        self.assertEqual(entry.expires_at - entry.last_read, 4)
        self.clock.advance(4)
        self.assertIsNone(self.call(Entry).payload)

    def test_load_once(self) -> None:
        """Concurrent calls load a value once; later ones find it until it expires."""
        calls = [self.start(Load) for _ in range(5)]
        self.assertEqual(len(loads), 1)
        loads[0].callback({'EUR': 1})
        self.assertEqual([one.answer().payload for one in calls], [{'EUR': 1}] * 5)
        self.assertEqual(self.call(LoadPlain, 'unused').payload, {'EUR': 1})
        self.clock.advance(61)
        self.assertEqual(self.call(LoadPlain, 'new').payload, 'new')
        self.assertEqual(self.call(Load).payload, 'new')
        self.assertEqual(len(loads), 1)

    def test_load_error(self) -> None:
        """An error goes to all who wait, and nothing is cached."""
        calls = [self.start(Load) for _ in range(3)]
        loads[0].errback(ValueError('no rates'))
        for one in calls:
            with self.assertRaisesRegex(ValueError, 'no rates'):
                one.answer()
        self.assertEqual(self.call(LoadPlain, 'new').payload, 'new')

    def test_load_cancelled(self) -> None:
        """If the call that loads is over, another one loads."""
        first, second = self.start(Load, timeout=5), self.start(Load)
        self.clock.advance(6)
        with self.assertRaises(Timeout):
            first.answer()
        self.clock.advance(1)
        self.assertEqual(len(loads), 2)
        loads[1].callback('second')
        self.assertEqual(second.answer().payload, 'second')

    def test_load_elsewhere(self) -> None:
        """While another server loads a value, this one waits for it."""
        other = self.successResultOf(self.kit._redis.leases.acquire('cache-load:default:rates', ttl=10))
        running = self.start(Load)
        self.clock.advance(5)
        self.assertEqual(loads, [])
        self.kit._redis.cache_store.set('default', ['rates'], encode_value('theirs'), 0)
        other.release()
        self.clock.advance(1)
        self.assertEqual(running.answer().payload, 'theirs')
        self.assertEqual(loads, [])

    def test_load_without_redis(self) -> None:
        """During an outage, values are loaded without the cache; the other methods fail with the error of Redis."""
        self.redis.fail_with(ServiceUnavailable(None, 'Redis is unavailable'))
        self.assertEqual(self.call(LoadPlain, 'one').payload, 'one')
        self.assertEqual(self.call(LoadPlain, 'two').payload, 'two')
        running = [self.start(Load) for _ in range(2)]
        self.assertEqual(len(loads), 1)
        loads[0].callback('three')
        self.assertEqual([one.answer().payload for one in running], ['three', 'three'])
        with self.assertRaisesRegex(ServiceUnavailable, 'Redis is unavailable'):
            self.call(Entry)

    def test_errors(self) -> None:
        """Wrong keys, values, expiry times and patterns are errors that say what is wrong."""
        for arguments, error, text in (
            (['set', '', 1], TypeError, 'key of a cache entry is text'), (['get', 5], TypeError, 'is text, not 5'),
            (['set', 'a', 2**70], TypeError, 'cannot be cached'), (['set', 'a', 1, -1], ValueError, 'seconds'),
            (['set', 'a', 1, 'x'], ValueError, 'in seconds'), (['expire', 'a', True], ValueError, 'in seconds'),
            (['set', 'a', 'x' * 67_108_864], ValueError, 'max_bytes'),
            (['get_by_regex', '('], ValueError, 'not a regular expression'),
            (['get_cache', 'memcached', 'x'], ValueError, "kind of a cache is 'builtin'"),
            (['get_cache', 'builtin', ''], TypeError, 'name of a cache is text'),
        ):  # fmt: skip
            with self.assertRaisesRegex(error, text, msg=str(arguments)[:80]):
                self.call(Select, arguments)

    def test_values(self) -> None:
        """Tuples come back as lists; a dict of another class as a dict."""
        self.assertEqual(decode_value(encode_value((1, (2,)))), [1, [2]])
        with self.assertRaisesRegex(TypeError, r'\$ is of type set'):
            encode_value({1})
        with self.assertRaisesRegex(TypeError, r'\$.b\[0\]'):
            encode_value({'b': [object]})
        with self.assertRaisesRegex(TypeError, 'aware datetimes'):
            encode_value(datetime(2026, 1, 1))
        with self.assertRaisesRegex(TypeError, 'neither text nor an int'):
            encode_value({(1, 2): 3})
