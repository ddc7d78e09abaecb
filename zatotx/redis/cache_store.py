"""Stores the entries of self.cache in Redis. Each change is made by one Lua script, so that the cache remains
consistent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from twisted.internet.defer import Deferred
from zope.interface import implementer

from zatotx.interfaces.cache import CacheWrite, ICacheStore, StoredEntry
from zatotx.interfaces.redis import IScriptRunner, LuaScript
from zatotx.redis.key_names import RedisKeys
from zatotx.rules.redis.cache_size_limits import CacheSizeLimits, size_error

_BATCH = 500  # keys per call of a script, so that none blocks Redis for long

# A cache consists of hashes of values and of metadata by key, sorted sets of expiry times and of the order of use, and
# the number of bytes. Expired entries are removed when they are met, and up to 100 of them by each call.
_PRELUDE = """
local values, meta, expires, used, bytes = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local clock = redis.call('TIME')
local now = string.format('%.6f', clock[1] + clock[2] / 1000000)
local function remove(key)
    local size = redis.call('HSTRLEN', values, key)
    if redis.call('HDEL', values, key) == 0 then
        return false
    end
    redis.call('HDEL', meta, key)
    redis.call('ZREM', expires, key)
    redis.call('ZREM', used, key)
    redis.call('DECRBY', bytes, size + #key)
    return true
end
for _, key in ipairs(redis.call('ZRANGEBYSCORE', expires, '-inf', now, 'LIMIT', 0, 100)) do
    remove(key)
end
local function exists(key)
    local at = redis.call('ZSCORE', expires, key)
    if at and tonumber(at) <= tonumber(now) then
        remove(key)
        return false
    end
    return redis.call('HEXISTS', values, key) == 1
end
local function touch(key)
    redis.call('ZADD', used, now, key)
end
local function read_meta(key)
    local text = redis.call('HGET', meta, key)
    if not text then
        return {'0', '0', '0', '0', '0', '0'}
    end
    local fields = {}
    for field in string.gmatch(text, '%S+') do
        fields[#fields + 1] = field
    end
    return fields
end
local function write_meta(key, fields)
    redis.call('HSET', meta, key, table.concat(fields, ' '))
end
local function set_expiry(key, expiry)
    if tonumber(expiry) > 0 then
        redis.call('ZADD', expires, string.format('%.6f', now + expiry), key)
    else
        redis.call('ZREM', expires, key)
    end
end
"""

_GET = LuaScript('get cache entries', _PRELUDE + """
local found = {}
for at = 2, #ARGV do
    local key = ARGV[at]
    if exists(key) then
        local fields = read_meta(key)
        if ARGV[1] == '1' then
            fields[1], fields[2], fields[6] = now, fields[1], tostring(tonumber(fields[6]) + 1)
            write_meta(key, fields)
            touch(key)
        end
        local position = redis.call('ZREVRANK', used, key)
        local expires_at = redis.call('ZSCORE', expires, key) or '0'
        found[#found + 1] = {key, redis.call('HGET', values, key), fields[1], fields[2], fields[3], fields[4],
                             fields[5], expires_at, fields[6], position}
    end
end
return found
""")

_SET = LuaScript('set cache entries', _PRELUDE + """
local data, expiry, only_existing = ARGV[1], ARGV[2], ARGV[3]
local max_entries, max_bytes = tonumber(ARGV[4]), tonumber(ARGV[5])
local written = {}
for at = 6, #ARGV do
    local key = ARGV[at]
    local existed = exists(key)
    if existed or only_existing == '0' then
        local previous = 0
        if existed then
            previous = redis.call('HSTRLEN', values, key) + #key
        end
        redis.call('HSET', values, key, data)
        redis.call('INCRBY', bytes, #data + #key - previous)
        local fields = read_meta(key)
        fields[3], fields[4], fields[5] = now, fields[3], expiry
        write_meta(key, fields)
        touch(key)
        set_expiry(key, expiry)
        written[#written + 1] = key
    end
end
local evicted = 0
while redis.call('HLEN', values) > max_entries or tonumber(redis.call('GET', bytes) or '0') > max_bytes do
    local oldest = redis.call('ZRANGE', used, 0, 0)
    if #oldest == 0 then
        break
    end
    remove(oldest[1])
    evicted = evicted + 1
end
return {written, evicted, redis.call('HLEN', values), tonumber(redis.call('GET', bytes) or '0')}
""")

_DELETE = LuaScript('delete cache entries', _PRELUDE + """
local deleted = {}
for at = 1, #ARGV do
    if exists(ARGV[at]) and remove(ARGV[at]) then
        deleted[#deleted + 1] = ARGV[at]
    end
end
return deleted
""")

_EXPIRE = LuaScript('expire cache entries', _PRELUDE + """
local changed = {}
for at = 2, #ARGV do
    local key = ARGV[at]
    if exists(key) then
        local fields = read_meta(key)
        fields[5] = ARGV[1]
        write_meta(key, fields)
        set_expiry(key, ARGV[1])
        changed[#changed + 1] = key
    end
end
return changed
""")

_KEYS = LuaScript('list cache keys', _PRELUDE + """
local expired = {}
for _, key in ipairs(redis.call('ZRANGEBYSCORE', expires, '-inf', now)) do
    expired[key] = true
end
local keys = {}
for _, key in ipairs(redis.call('HKEYS', values)) do
    if not expired[key] then
        keys[#keys + 1] = key
    end
end
return keys
""")

_CLEAR = LuaScript('clear a cache', """
local count = redis.call('HLEN', KEYS[1])
redis.call('UNLINK', KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5])
return count
""")


@implementer(ICacheStore)
class RedisCacheStore:
    """Implements ICacheStore in Redis. All servers of a cluster share the caches."""

    def __init__(self, scripts: IScriptRunner, keys: RedisKeys, kind: str, limits: CacheSizeLimits) -> None:
        """`kind`: the part of the keys' names before the name of the cache."""
        self._scripts = scripts
        self._keys = keys
        self._kind = kind
        self._limits = limits

    def get(self, cache: str, keys: Sequence[str], *, touch: bool = True) -> Deferred[Sequence[StoredEntry]]:
        """See ICacheStore."""

        async def read() -> list[StoredEntry]:
            return [_entry(reply) for reply in await self._run_in_batches(_GET, cache, (int(touch),), keys)]

        return Deferred.fromCoroutine(read())

    def set(
        self, cache: str, keys: Sequence[str], data: bytes, expiry: float, *, only_existing: bool = False
    ) -> Deferred[CacheWrite]:
        """See ICacheStore."""

        async def write() -> CacheWrite:
            for key in keys:
                if error := size_error(cache, key, len(key.encode()) + len(data), self._limits):
                    raise ValueError(error)
            options = (data, repr(float(expiry)), int(only_existing), self._limits.max_entries, self._limits.max_bytes)
            written: list[str] = []
            evicted = entries = size = 0
            for batch in _batches(keys):
                one, gave_way, entries, size = await self._scripts.run(_SET, self._names(cache), (*options, *batch))
                written += map(_text, one)
                evicted += gave_way
            return CacheWrite(written=written, evicted=evicted, entries=entries, size=size)

        return Deferred.fromCoroutine(write())

    def delete(self, cache: str, keys: Sequence[str]) -> Deferred[Sequence[str]]:
        """See ICacheStore."""
        return Deferred.fromCoroutine(self._texts(_DELETE, cache, (), keys))

    def expire(self, cache: str, keys: Sequence[str], expiry: float) -> Deferred[Sequence[str]]:
        """See ICacheStore."""
        return Deferred.fromCoroutine(self._texts(_EXPIRE, cache, (repr(float(expiry)),), keys))

    def keys(self, cache: str) -> Deferred[Sequence[str]]:
        """See ICacheStore."""
        reply: Deferred[Any] = self._scripts.run(_KEYS, self._names(cache))
        return reply.addCallback(lambda keys: list(map(_text, keys)))

    def clear(self, cache: str) -> Deferred[int]:
        """See ICacheStore."""
        return self._scripts.run(_CLEAR, self._names(cache))

    async def _texts(
        self, script: LuaScript, cache: str, options: tuple[object, ...], keys: Sequence[str]
    ) -> list[str]:
        return [_text(key) for key in await self._run_in_batches(script, cache, options, keys)]

    async def _run_in_batches(
        self, script: LuaScript, cache: str, options: tuple[object, ...], keys: Sequence[str]
    ) -> list[Any]:
        replies: list[Any] = []
        for batch in _batches(keys):
            replies += await self._scripts.run(script, self._names(cache), (*options, *batch))
        return replies

    def _names(self, cache: str) -> tuple[str, ...]:
        name = quote(cache, safe='')
        return tuple(self._keys.key(self._kind, name, part) for part in ('values', 'meta', 'expires', 'used', 'bytes'))


def _batches(keys: Sequence[str]) -> list[Sequence[str]]:
    return [keys[at:at + _BATCH] for at in range(0, len(keys), _BATCH)]


def _entry(reply: Sequence[Any]) -> StoredEntry:
    key, data, *times, hits, position = reply
    last_read, prev_read, last_write, prev_write, expiry, expires_at = map(float, times)
    return StoredEntry(
        key=_text(key), data=data.encode() if isinstance(data, str) else data, last_read=last_read,
        prev_read=prev_read, last_write=last_write, prev_write=prev_write, expiry=expiry, expires_at=expires_at,
        hits=int(hits), position=int(position),
    )  # fmt: skip


def _text(key: Any) -> str:
    return key if isinstance(key, str) else key.decode('utf-8', 'surrogateescape')
