"""Interface of the cache storage on which `self.cache` is based."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen
from twisted.internet.defer import Deferred
from zope.interface import Interface


@frozen(kw_only=True)
class StoredEntry:
    """A stored cache entry. Times are Unix time in seconds, or 0.0 for an event that has not happened."""

    key: str
    data: bytes
    last_read: float
    prev_read: float
    last_write: float
    prev_write: float
    expiry: float  # seconds after the write; 0.0 = never
    expires_at: float
    hits: int
    position: int  # 0 = the most recently used


@frozen(kw_only=True)
class CacheWrite:
    """The result of writing to a cache: the written keys and the number of evicted entries."""

    written: Sequence[str]  # the keys
    evicted: int = 0  # entries that had to give way
    entries: int = 0  # in the cache afterwards
    size: int = 0  # bytes of its keys and values afterwards


class ICacheStore(Interface):
    """Stores named caches, each limited by its number of entries and bytes. A full cache evicts the least recently used
    entries. Every method fails with the errors of ICommands.execute."""

    def get(cache: str, keys: Sequence[str], *, touch: bool = True) -> Deferred[Sequence[StoredEntry]]:
        """Return the entries that exist among the keys. With `touch`, this counts as a read."""

    def set(
        cache: str, keys: Sequence[str], data: bytes, expiry: float, *, only_existing: bool = False
    ) -> Deferred[CacheWrite]:
        """Write the same data to all keys, or to those that exist. Fails with ValueError for data that is larger than
        the cache."""

    def delete(cache: str, keys: Sequence[str]) -> Deferred[Sequence[str]]:
        """Delete entries; fires with the keys of those that existed."""

    def expire(cache: str, keys: Sequence[str], expiry: float) -> Deferred[Sequence[str]]:
        """Set when entries expire, in seconds from now, 0.0 = never; fires with the keys of those that exist."""

    def keys(cache: str) -> Deferred[Sequence[str]]:
        """Return all keys, unsorted."""

    def clear(cache: str) -> Deferred[int]:
        """Delete all entries; fires with their number."""
