"""The in-memory storage of self.cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from attrs import define, evolve, field
from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from zatotx.interfaces.cache import CacheWrite, ICacheStore, StoredEntry
from zatotx.rules.redis.cache_size_limits import DEFAULT_LIMITS, CacheSizeLimits, size_error
from zatotx.testing.kit_redis.client import MemoryRedis


@implementer(ICacheStore)
@define(eq=False)
class MemoryCacheStore:
    """An in-memory ICacheStore that uses a MemoryRedis. When the MemoryRedis fails or loses its data, the store does
    the same."""

    redis: MemoryRedis
    now: Callable[[], float]
    limits: CacheSizeLimits = DEFAULT_LIMITS
    # cache -> key -> entry, the least recently used first; `expires_at` is time on the clock of `now`
    caches: dict[str, dict[str, StoredEntry]] = field(factory=dict)

    def __attrs_post_init__(self) -> None:
        self.redis.on_wipe.append(self.caches.clear)

    def get(self, cache: str, keys: Sequence[str], *, touch: bool = True) -> Deferred[Sequence[StoredEntry]]:
        """See ICacheStore."""
        return self._done(lambda: [entry for key in keys if (entry := self._read(cache, key, touch)) is not None])

    def set(
        self, cache: str, keys: Sequence[str], data: bytes, expiry: float, *, only_existing: bool = False
    ) -> Deferred[CacheWrite]:
        """See ICacheStore."""
        return self._done(lambda: self._set(cache, keys, data, expiry, only_existing))

    def delete(self, cache: str, keys: Sequence[str]) -> Deferred[Sequence[str]]:
        """See ICacheStore."""
        return self._done(lambda: [key for key in keys if self._entries(cache).pop(key, None) is not None])

    def expire(self, cache: str, keys: Sequence[str], expiry: float) -> Deferred[Sequence[str]]:
        """See ICacheStore."""

        def change() -> list[str]:
            entries = self._entries(cache)
            found = [key for key in keys if key in entries]
            for key in found:
                entries[key] = evolve(entries[key], expiry=expiry, expires_at=self._expires_at(expiry))
            return found

        return self._done(change)

    def keys(self, cache: str) -> Deferred[Sequence[str]]:
        """See ICacheStore."""
        return self._done(lambda: list(self._entries(cache)))

    def clear(self, cache: str) -> Deferred[int]:
        """See ICacheStore."""

        def clear() -> int:
            entries = self._entries(cache)
            count = len(entries)
            entries.clear()
            return count

        return self._done(clear)

    def _done(self, function: Callable[[], Any]) -> Deferred[Any]:
        if self.redis.error is not None:
            return fail(self.redis.error)
        try:
            return succeed(function())
        except ValueError as error:
            return fail(error)

    def _entries(self, cache: str) -> dict[str, StoredEntry]:
        """Return the entries of a cache that have not expired."""
        entries, now = self.caches.setdefault(cache, {}), self.now()
        for key in [key for key, entry in entries.items() if entry.expires_at and entry.expires_at <= now]:
            del entries[key]
        return entries

    def _expires_at(self, expiry: float) -> float:
        return self.now() + expiry if expiry > 0 else 0.0

    def _read(self, cache: str, key: str, touch: bool) -> StoredEntry | None:
        entries = self._entries(cache)
        entry = entries.get(key)
        if entry is None:
            return None
        if touch:
            entry = evolve(entry, last_read=self.now(), prev_read=entry.last_read, hits=entry.hits + 1)
            del entries[key]
            entries[key] = entry
        return evolve(entry, position=list(reversed(entries)).index(key))

    def _set(self, cache: str, keys: Sequence[str], data: bytes, expiry: float, only_existing: bool) -> CacheWrite:
        entries, written = self._entries(cache), []
        for key in keys:
            if error := size_error(cache, key, len(key.encode()) + len(data), self.limits):
                raise ValueError(error)
            previous = entries.pop(key, None)
            if previous is None and only_existing:
                continue
            entries[key] = StoredEntry(
                key=key, data=data, last_read=previous.last_read if previous else 0.0,
                prev_read=previous.prev_read if previous else 0.0, last_write=self.now(),
                prev_write=previous.last_write if previous else 0.0, expiry=float(expiry),
                expires_at=self._expires_at(expiry), hits=previous.hits if previous else 0, position=0,
            )  # fmt: skip
            written.append(key)
        evicted = 0
        while len(entries) > self.limits.max_entries or _size(entries) > self.limits.max_bytes:
            del entries[next(iter(entries))]
            evicted += 1
        return CacheWrite(written=written, evicted=evicted, entries=len(entries), size=_size(entries))


def _size(entries: dict[str, StoredEntry]) -> int:
    return sum(len(key.encode()) + len(entry.data) for key, entry in entries.items())
