"""The log of evictions."""

from __future__ import annotations

from typing import cast

from twisted.internet.task import Clock
from twisted.logger import ILogObserver, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from zatotx.redis.cache_evictions import CacheEvictions
from zatotx.rules.redis.cache_size_limits import CacheSizeLimits


class EvictionTests(SynchronousTestCase):
    def test_once_a_minute(self) -> None:
        """The first eviction of a cache is logged at once, further ones once a minute with their number."""
        events: list[str] = []
        observe = cast(ILogObserver, lambda event: events.append(formatEvent(event)))
        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        clock = Clock()
        evictions = CacheEvictions(clock, CacheSizeLimits(3, 1000))
        for _ in range(5):
            evictions.add('a', 2)
        evictions.add('b', 1)
        self.assertEqual([event.partition(': ')[2].split()[0] for event in events], ['2', '1'])
        self.assertIn("The cache 'a' is full (3 entries or 1000 bytes)", events[0])
        clock.advance(60)
        evictions.add('a', 1)
        self.assertIn(': 9 least recently used', events[2])
