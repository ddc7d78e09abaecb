"""Size limits of the caches that services use, and validation of an entry's size."""

from __future__ import annotations

from attrs import frozen

DEFAULT_MAX_ENTRIES = 10_000
DEFAULT_MAX_BYTES = 64 * 1024 * 1024
DEFAULT_CACHE = 'default'


@frozen
class CacheSizeLimits:
    """The maximum size of each cache. When a cache exceeds its maximum size, its least recently used entries are
    evicted."""

    max_entries: int = DEFAULT_MAX_ENTRIES
    max_bytes: int = DEFAULT_MAX_BYTES  # of keys and serialized values


DEFAULT_LIMITS = CacheSizeLimits()


def size_error(cache: str, key: str, size: int, limits: CacheSizeLimits) -> str:
    """Return an error message if an entry is too large to be stored, otherwise ''."""
    if size <= limits.max_bytes:
        return ''
    return (f'The entry {key[:100]!r} of {size} bytes is larger than the whole cache {cache!r}, which holds'
            f' {limits.max_bytes}: raise max_bytes in [cache]')
