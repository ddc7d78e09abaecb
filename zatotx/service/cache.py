"""Implements `self.cache`, the caches that all servers of a cluster share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred

from zatotx.interfaces.cache import ICacheStore, StoredEntry
from zatotx.interfaces.redis import LeaseHeld
from zatotx.model.errors import ServiceUnavailable, Timeout
from zatotx.rules.redis.cache_key_matching import SELECTIONS, select_matching_keys
from zatotx.rules.redis.cache_size_limits import DEFAULT_CACHE
from zatotx.service.cache_values import decode_value, encode_value
from zatotx.service.redis_coroutine_runner import RedisCoroutineRunner

BUILTIN = 'builtin'
_LOAD_TTL, _LOAD_WAIT = 10.0, 30.0  # seconds: of the lease while a loader runs, and to wait for another server's


@frozen
class CacheEntry:
    """A cache entry with Zato's fields. Times are Unix time in seconds, or 0.0 for an event that has not happened."""

    key: str
    value: Any
    last_read: float
    prev_read: float
    last_write: float
    prev_write: float
    expiry: float  # seconds, as given; 0.0 = never
    expires_at: float
    hits: int
    position: int  # 0 = the most recently used


class SharedCache:
    """One cache that all servers share. In async services its methods return awaitables, and in synchronous services
    results.

    Values are None, bool, int, float, str, bytes, aware datetimes, lists and dicts of them; tuples come back as lists,
    others raise TypeError. `expiry` is in seconds from the write, 0.0 = never. Raises Timeout and ServiceUnavailable
    naming Redis.
    """

    def __init__(self, access: RedisCoroutineRunner, name: str) -> None:
        self.name = name
        self._access = access

    def get(self, key: str, default: Any = None, details: bool = False) -> Any:
        """Return a value, or a CacheEntry with `details`; `default` if there is none. Counts as a read."""

        async def read() -> Any:
            entries = await self._store.get(self.name, (_check_key(key),))
            return _shown(entries[0], details) if entries else default

        return self._access.run(read)

    def set(self, key: str, value: Any, expiry: float = 0.0, details: bool = False) -> Any:
        """Write a value; returns its CacheEntry with `details`. When the cache is full, its least recently used entries
        give way. Raises ValueError for a value that is larger than the whole cache."""

        async def write() -> Any:
            await self._set((_check_key(key),), value, expiry)
            entries = await self._store.get(self.name, (key,), touch=False) if details else ()
            return _shown(entries[0], True) if entries else None

        return self._access.run(write)

    def delete(self, key: str) -> Any:
        """Delete an entry. Returns whether there was one."""

        async def delete() -> bool:
            return bool(await self._store.delete(self.name, (_check_key(key),)))

        return self._access.run(delete)

    def expire(self, key: str, expiry: float = 0.0) -> Any:
        """Set when an entry expires, in seconds from now; 0.0 = never. Returns whether there is one."""

        async def expire() -> bool:
            return bool(await self._store.expire(self.name, (_check_key(key),), _check_expiry(expiry)))

        return self._access.run(expire)

    def has_key(self, key: str) -> Any:
        """Return whether there is an entry. Does not count as a read."""

        async def check() -> bool:
            return bool(await self._store.get(self.name, (_check_key(key),), touch=False))

        return self._access.run(check)

    def keys(self) -> Any:
        """Return all keys, sorted."""

        async def keys() -> list[str]:
            return sorted(await self._store.keys(self.name))

        return self._access.run(keys)

    def values(self, details: bool = False) -> Any:
        """Return all values, in the order of their keys. Does not count as reads."""

        async def values() -> list[Any]:
            return [value for _, value in await self._items(details)]

        return self._access.run(values)

    def items(self, details: bool = False) -> Any:
        """Return pairs of all keys and values, in the order of the keys. Does not count as reads."""
        return self._access.run(lambda: self._items(details))

    def clear(self) -> Any:
        """Delete all entries. Returns their number."""

        async def clear() -> int:
            return await self._store.clear(self.name)

        return self._access.run(clear)

    def load(self, key: str, loader: Callable[[], Any], expiry: float = 0.0) -> Any:
        """Return a value, or call `loader` to get it and write it to the cache: once in the whole cluster, however many
        calls need it at the same time.

        In async services `loader` may be a coroutine function. What it raises is raised to all who wait on this server,
        and nothing is cached. If Redis is unavailable, the value is loaded, once at a time on each server, and not
        cached. If another server takes longer than 30 s to load, it is loaded here, too.
        """
        if self._access.is_on_reactor:
            return self._load_on_reactor(_check_key(key), loader, expiry)
        return self._load_in_thread(_check_key(key), loader, expiry)

    def select(self, operation: str, selection: str, argument: str | Sequence[str], **options: Any) -> Any:
        """Execute an operation (get, set, delete, expire) on the entries whose keys match. See `get_by_prefix` …"""

        async def run() -> Any:
            keys = select_matching_keys(await self._store.keys(self.name), selection, argument)
            if operation == 'get':
                entries = await self._store.get(self.name, keys)
                return {entry.key: _shown(entry, options.get('details', False)) for entry in entries}
            if operation == 'set':
                return await self._set(keys, options['value'], options.get('expiry', 0.0), only_existing=True)
            if operation == 'delete':
                return list(await self._store.delete(self.name, keys))
            return list(await self._store.expire(self.name, keys, _check_expiry(options.get('expiry', 0.0))))

        return self._access.run(run)

    @property
    def _store(self) -> ICacheStore:
        store: ICacheStore = self._access.redis.cache_store
        return store

    async def _set(
        self, keys: Sequence[str], value: Any, expiry: float, *, only_existing: bool = False
    ) -> list[str]:
        data = encode_value(value)
        result = await self._store.set(self.name, keys, data, _check_expiry(expiry), only_existing=only_existing)
        if keys:
            self._access.redis.cache_usage.note_write(self.name, result)
        return list(result.written)

    async def _items(self, details: bool) -> list[tuple[str, Any]]:
        entries = await self._store.get(self.name, sorted(await self._store.keys(self.name)), touch=False)
        return [(entry.key, _shown(entry, details)) for entry in entries]

    async def _find(self, key: str) -> tuple[StoredEntry | None, bool]:
        """Return an entry, and whether Redis is available."""
        try:
            entries = await self._store.get(self.name, (key,))
        except (ServiceUnavailable, Timeout):
            return None, False
        return (entries[0] if entries else None), True

    async def _load_on_reactor(self, key: str, loader: Callable[[], Any], expiry: float) -> Any:
        flights = self._access.redis.cache_flights
        while True:
            entry, is_available = await self._find(key)
            if entry is not None:
                return decode_value(entry.data)
            waiters = flights.get((self.name, key))
            if waiters is None:
                break
            waiter: Deferred[tuple[bool, Any]] = Deferred()
            waiters.append(waiter)
            is_done, value = await waiter
            if is_done:
                return value
        waiters = flights[self.name, key] = []
        result: tuple[bool, Any] | Exception = (False, None)  # of a loader that was cancelled: another one loads
        try:
            value = await self._load_alone(key, loader, expiry, is_available)
            result = (True, value)
            return value
        except CancelledError:
            raise
        except Exception as error:
            result = error
            raise
        finally:
            del flights[self.name, key]
            for waiter in waiters:
                if not waiter.called:
                    waiter.errback(result) if isinstance(result, Exception) else waiter.callback(result)

    async def _load_alone(self, key: str, loader: Callable[[], Any], expiry: float, is_available: bool) -> Any:
        """Load a value while no other server does."""
        lease = await self._acquire(key) if is_available else None
        try:
            entry = (await self._find(key))[0] if lease is not None else None
            if entry is not None:  # another server has loaded it meanwhile
                return decode_value(entry.data)
            value = loader()
            if isinstance(value, Awaitable):
                value = await value
            await self._keep(key, value, expiry, is_available)
            return value
        finally:
            if lease is not None:
                await lease.release()

    def _load_in_thread(self, key: str, loader: Callable[[], Any], expiry: float) -> Any:
        run = self._access.run
        entry, is_available = run(lambda: self._find(key))
        lease = run(lambda: self._acquire(key)) if entry is None and is_available else None
        try:
            if lease is not None:
                entry, is_available = run(lambda: self._find(key))
            if entry is not None:
                return decode_value(entry.data)
            value = loader()
            run(lambda: self._keep(key, value, expiry, is_available))
            return value
        finally:
            if lease is not None:
                self._access.call_on_reactor(lease.release)

    async def _acquire(self, key: str) -> Any:
        """Return the lease to load a key; None if another server loads for too long, or Redis is unavailable."""
        try:
            return await self._access.redis.leases.acquire(
                f'cache-load:{self.name}:{key}', ttl=_LOAD_TTL, wait=_LOAD_WAIT
            )
        except (LeaseHeld, ServiceUnavailable, Timeout):
            return None

    async def _keep(self, key: str, value: Any, expiry: float, is_available: bool) -> None:
        encode_value(value)  # raises TypeError during an outage, too
        if is_available:
            with suppress(ServiceUnavailable, Timeout):
                await self._set((key,), value, expiry)


class Caches(SharedCache):
    """The object `self.cache`. It has the methods of the default cache, and gives access to other caches by name."""

    def __init__(self, service: Any) -> None:
        super().__init__(RedisCoroutineRunner(service._zatotx), DEFAULT_CACHE)

    @property
    def default(self) -> SharedCache:
        """The default cache."""
        return self

    def get_cache(self, kind: str, name: str) -> SharedCache:
        """Return a cache by name: `get_cache('builtin', 'rates')`. It exists while it has entries."""
        if kind != BUILTIN:
            raise ValueError(f'The kind of a cache is {BUILTIN!r}, not {kind!r}')
        if not isinstance(name, str) or not name:
            raise TypeError(f'The name of a cache is text, not {name!r}')
        return SharedCache(self._access, name)


def _check_key(key: object) -> str:
    if not isinstance(key, str) or not key:
        raise TypeError(f'The key of a cache entry is text, not {key!r:.100}')
    return key


def _check_expiry(expiry: Any) -> float:
    if isinstance(expiry, bool) or not isinstance(expiry, (int, float)) or not 0 <= expiry < 1e10:
        raise ValueError(f'The expiry of a cache entry is in seconds, 0 = never, not {expiry!r:.100}')
    return float(expiry)


def _shown(entry: StoredEntry, details: bool) -> Any:
    value = decode_value(entry.data)
    if not details:
        return value
    return CacheEntry(
        key=entry.key, value=value, last_read=entry.last_read, prev_read=entry.prev_read, last_write=entry.last_write,
        prev_write=entry.prev_write, expiry=entry.expiry, expires_at=entry.expires_at, hits=entry.hits,
        position=entry.position,
    )  # fmt: skip


def _getting(selection: str) -> Callable[..., Any]:
    def get(self: SharedCache, argument: str | Sequence[str], details: bool = False) -> Any:
        return self.select('get', selection, argument, details=details)

    return get


def _setting(selection: str) -> Callable[..., Any]:
    def set_(self: SharedCache, argument: str | Sequence[str], value: Any, expiry: float = 0.0) -> Any:
        return self.select('set', selection, argument, value=value, expiry=expiry)

    return set_


def _deleting(selection: str) -> Callable[..., Any]:
    def delete(self: SharedCache, argument: str | Sequence[str]) -> Any:
        return self.select('delete', selection, argument)

    return delete


def _expiring(selection: str) -> Callable[..., Any]:
    def expire(self: SharedCache, argument: str | Sequence[str], expiry: float = 0.0) -> Any:
        return self.select('expire', selection, argument, expiry=expiry)

    return expire


# get_by_prefix, set_by_prefix, delete_by_prefix, expire_by_prefix, get_contains …
for _selection in SELECTIONS:
    for _operation, _make in (('get', _getting), ('set', _setting), ('delete', _deleting), ('expire', _expiring)):
        _method = _make(_selection)
        _method.__name__ = f'{_operation}_{_selection}'
        _method.__doc__ = f'{_operation.capitalize()} the entries whose keys match. See `select`.'
        setattr(SharedCache, _method.__name__, _method)
