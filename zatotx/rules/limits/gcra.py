"""How often something may happen: the generic cell rate algorithm of ITU-T I.371, in whole nanoseconds. Pure.

What is limited has a bucket, and a bucket is one moment: until then it is used up at an even pace. Each call moves that
moment on by one interval; a call is admitted where the moment is then no further ahead of now than the burst allows. So
a bucket needs one number, forgets by itself, and never admits more than its burst and what its rate gives meanwhile, in
whatever span of time one looks at.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

SECOND = 1_000_000_000  # nanoseconds
LONGEST = 104 * 86_400 * SECOND  # of a tolerance: whole numbers stay exact in the doubles of Redis's Lua


class Rate(msgspec.Struct, frozen=True):
    """A pace, and how far ahead of it one may be."""

    interval: int  # nanoseconds from one call to the next
    tolerance: int  # nanoseconds: as many intervals as calls may come at once

    @classmethod
    def of(cls, count: int, seconds: int, burst: int) -> Rate:
        """So many calls in so many seconds, `burst` of them at once. The interval is rounded up: never more than that.
        Raises ValueError where a burst would take longer than LONGEST to be had again."""
        interval = -(-seconds * SECOND // count)
        if interval * burst > LONGEST:
            raise ValueError(f'at this rate {burst} calls take longer than 104 days')
        return cls(interval, interval * burst)

    @property
    def burst(self) -> int:
        """Calls that may come at once."""
        return self.tolerance // self.interval

    def admits(self, ahead: int) -> bool:
        """Whether a bucket that is so many nanoseconds ahead takes one more call."""
        return ahead + self.interval <= self.tolerance

    def left(self, ahead: int) -> int:
        """How many more calls it takes now."""
        return max(0, self.tolerance - ahead) // self.interval

    def wait(self, ahead: int) -> int:
        """Nanoseconds until it takes one more; 0 = now."""
        return max(0, ahead + self.interval - self.tolerance)


def admit_all(rates: Sequence[Rate], aheads: Sequence[int], calls: int) -> int:
    """How many of so many calls are admitted that each need room in all of these buckets."""
    return min(calls, *(rate.left(ahead) for rate, ahead in zip(rates, aheads, strict=True)))


class Buckets:
    """Buckets by name, in bounded memory: of those that were used longest ago only `most` are known.

    `now` is nanoseconds on any clock that never goes back.
    """

    __slots__ = ('_half', '_old', '_young')

    def __init__(self, most: int = 100_000) -> None:
        # When the young half is full it becomes the old one, and what nobody used since the last time is forgotten.
        self._half = max(1, most // 2)
        self._young: dict[str, int] = {}
        self._old: dict[str, int] = {}

    def charge(self, name: str, rate: Rate, now: int) -> int:
        """How many nanoseconds the bucket is ahead. Where it takes one more call, that one is counted."""
        until = self._young.get(name)
        if until is None:
            until = self._old.get(name, 0)
            if len(self._young) >= self._half:
                self._young, self._old = {}, self._young
        if until < now:
            until = now
        ahead = until - now
        self._young[name] = until + rate.interval if ahead + rate.interval <= rate.tolerance else until
        return ahead

    def give_back(self, name: str, rate: Rate) -> None:
        """One call that was counted did not take place."""
        until = self._young.get(name) or self._old.get(name)
        if until is not None:
            self._young[name] = until - rate.interval
