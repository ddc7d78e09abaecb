"""The usage of the caches of services, for metrics, and the log of evictions from full caches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from twisted.logger import Logger

from zatotx.interfaces.cache import CacheWrite
from zatotx.interfaces.meters import MetricRow
from zatotx.rules.redis.cache_size_limits import CacheSizeLimits

_INTERVAL = 60.0  # seconds between two entries of the log about one cache
MAX_CACHES = 100  # names of caches in metrics; the evictions of further ones are counted together
_OTHERS = '(others)'


class CacheUsage:
    """Counts the evictions of each cache since the start of the process, and stores its size after the last write of
    this process. The first eviction is logged immediately, and further evictions at most once a minute."""

    _log = Logger('zatotx.redis')

    def __init__(self, clock: Any, limits: CacheSizeLimits) -> None:
        """`clock`: seconds()."""
        self._clock = clock
        self._limits = limits
        self._evicted: Counter[str] = Counter()
        self._sizes: dict[str, tuple[int, int]] = {}  # entries and bytes
        self._unlogged: Counter[str] = Counter()
        self._logged_at: dict[str, float] = {}

    def note_write(self, cache: str, write: CacheWrite) -> None:
        """Note a write, and the entries that it has evicted."""
        is_known = cache in self._sizes or len(self._sizes) < MAX_CACHES
        if is_known:
            self._sizes[cache] = write.entries, write.size
        name = cache if is_known else _OTHERS
        self._evicted[name] += write.evicted
        if write.evicted:
            self._log_eviction(name, write.evicted)

    def rows(self) -> Iterator[MetricRow]:
        """Yield the figures of the metrics zatotx_cache_*."""
        yield 'zatotx_cache_max_entries', (), self._limits.max_entries
        yield 'zatotx_cache_max_bytes', (), self._limits.max_bytes
        for name, count in self._evicted.items():
            yield 'zatotx_cache_evictions', (name,), count
        for name, (entries, size) in self._sizes.items():
            yield 'zatotx_cache_entries', (name,), entries
            yield 'zatotx_cache_bytes', (name,), size

    def _log_eviction(self, cache: str, count: int) -> None:
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
