"""Logs evictions from full caches."""

from __future__ import annotations

from collections import Counter
from typing import Any

from twisted.logger import Logger

from zatotx.rules.redis.cache_size_limits import CacheSizeLimits

_INTERVAL = 60.0  # seconds between two entries about one cache


class CacheEvictions:
    """Counts evictions per cache, and logs the first at once and further ones at most once a minute."""

    _log = Logger('zatotx.redis')

    def __init__(self, clock: Any, limits: CacheSizeLimits) -> None:
        """`clock`: seconds()."""
        self._clock = clock
        self._limits = limits
        self._unlogged: Counter[str] = Counter()
        self._logged_at: dict[str, float] = {}

    def add(self, cache: str, count: int) -> None:
        """Count entries that had to give way."""
        self._unlogged[cache] += count
        now = self._clock.seconds()
        if cache in self._logged_at and now - self._logged_at[cache] < _INTERVAL:
            return
        self._logged_at[cache] = now
        self._log.warn(
            'The cache {cache!r} is full ({entries} entries or {size} bytes): {count} least recently used entries were'
            ' evicted. Raise max_entries or max_bytes in [cache], or set a shorter expiry.',
            cache=cache, entries=self._limits.max_entries, size=self._limits.max_bytes, count=self._unlogged.pop(cache),
        )  # fmt: skip
