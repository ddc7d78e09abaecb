"""The use of caches: metrics, and the log of evictions."""

from __future__ import annotations

from typing import cast

from twisted.internet.task import Clock
from twisted.logger import ILogObserver, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from zatotx.interfaces.cache import CacheWrite
from zatotx.redis.cache_usage import MAX_CACHES, CacheUsage
from zatotx.rules.redis.cache_limits import CacheLimits


def write(evicted: int, entries: int = 3, size: int = 30) -> CacheWrite:
    """The result of a write."""
    return CacheWrite(written=['key'], evicted=evicted, entries=entries, size=size)


class UsageTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.events: list[str] = []
        observe = cast(ILogObserver, lambda event: self.events.append(formatEvent(event)))
        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        self.clock = Clock()
        self.usage = CacheUsage(self.clock, CacheLimits(3, 1000))

    def test_evictions_are_logged(self) -> None:
        """The first eviction of a cache is logged at once, further ones once a minute with their number."""
        for _ in range(5):
            self.usage.note_write('a', write(2))
        self.usage.note_write('b', write(1))
        self.usage.note_write('c', write(0))
        self.assertEqual([event.partition(': ')[2].split()[0] for event in self.events], ['2', '1'])
        self.assertIn("The cache 'a' is full (3 entries or 1000 bytes)", self.events[0])
        self.clock.advance(60)
        self.usage.note_write('a', write(1))
        self.assertIn(': 9 least recently used', self.events[2])

    def test_metrics(self) -> None:
        """The limits, and for each cache its evictions and its size after the last write. Caches beyond MAX_CACHES are
        counted together."""
        self.usage.note_write('a', write(2))
        self.usage.note_write('a', write(0, 2, 17))
        self.assertEqual(list(self.usage.rows()), [
            ('zatotx_cache_max_entries', (), 3), ('zatotx_cache_max_bytes', (), 1000),
            ('zatotx_cache_evictions', ('a',), 2), ('zatotx_cache_entries', ('a',), 2),
            ('zatotx_cache_bytes', ('a',), 17),
        ])  # fmt: skip
        for number in range(MAX_CACHES + 5):
            self.usage.note_write(f'cache{number}', write(1))
        rows = {(name, *labels): value for name, labels, value in self.usage.rows()}
        self.assertEqual((rows['zatotx_cache_evictions', '(others)'], len(rows)), (6, 2 + 3 * MAX_CACHES + 1))
