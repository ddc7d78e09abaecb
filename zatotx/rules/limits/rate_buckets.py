"""Rate limiting with the generic cell rate algorithm (GCRA) of ITU-T I.371, in integer nanoseconds. Pure: no I/O.

The state of a bucket is one point in time, the theoretical arrival time. Each call advances it by one interval; a call
is admitted if it is then at most the tolerance ahead of now. So a bucket needs one number, expires by itself, and never
admits more than its burst plus what its rate allows, in any period.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

import msgspec

SECOND = 1_000_000_000  # nanoseconds
MAX_TOLERANCE = 104 * 86_400 * SECOND  # maximum tolerance: integers stay exact in the doubles of Redis's Lua


class GcraRate(msgspec.Struct, frozen=True):
    """A rate limit in the form that GCRA uses: the interval between calls, and the burst tolerance, both in
    nanoseconds."""

    interval: int  # nanoseconds between calls
    tolerance: int  # nanoseconds: interval times burst

    @classmethod
    def from_limit(cls, count: int, seconds: int, burst: int) -> GcraRate:
        """Create a rate of `count` calls per `seconds` with `burst`. Rounds the interval up, so that the rate is never
        exceeded. Raises ValueError if a full burst would take longer than LONGEST to recover."""
        interval = -(-seconds * SECOND // count)
        if interval * burst > MAX_TOLERANCE:
            raise ValueError(f'at this rate {burst} calls take longer than 104 days')
        return cls(interval, interval * burst)

    @property
    def burst(self) -> int:
        """Number of calls allowed at once."""
        return self.tolerance // self.interval

    def admits(self, ahead: int) -> bool:
        """Return whether a bucket that is `ahead` nanoseconds ahead admits one more call."""
        return ahead + self.interval <= self.tolerance

    def remaining_calls(self, ahead: int) -> int:
        """Return the number of calls admitted now."""
        return max(0, self.tolerance - ahead) // self.interval

    def wait_time(self, ahead: int) -> int:
        """Return the nanoseconds until the next call is admitted; 0 = now."""
        return max(0, ahead + self.interval - self.tolerance)


def count_admitted_calls(rates: Sequence[GcraRate], leads: Sequence[int], calls: int) -> int:
    """Return the number of calls, at most `calls`, that every rate limit admits. `leads[i]` is the time in nanoseconds
    by which the bucket of limit `i` is ahead of the current time."""
    return min(calls, *(rate.remaining_calls(ahead) for rate, ahead in zip(rates, leads, strict=True)))


class RateBuckets:
    """Rate-limit buckets by name, in bounded memory: about `max_buckets` of the most recently used buckets are kept.

    `now` is in nanoseconds on a monotonic clock.
    """

    __slots__ = ('_half', '_old', '_young')

    def __init__(self, max_buckets: int = 100_000) -> None:
        # When the young half is full it becomes the old one; the previous old half is dropped.
        self._half = max(1, max_buckets // 2)
        self._young: dict[str, int] = {}
        self._old: dict[str, int] = {}

    def charge(self, name: str, rate: GcraRate, now: int) -> int:
        """Return how many nanoseconds the bucket is ahead of the clock. Counts the call if the bucket admits it."""
        arrival_time = self._young.get(name)
        if arrival_time is None:
            arrival_time = self._old.get(name, 0)
            if len(self._young) >= self._half:
                self._young, self._old = {}, self._young
        if arrival_time < now:
            arrival_time = now
        ahead = arrival_time - now
        self._young[name] = arrival_time + rate.interval if ahead + rate.interval <= rate.tolerance else arrival_time
        return ahead

    def refund(self, name: str, rate: GcraRate) -> None:
        """Refund a counted call that did not take place."""
        arrival_time = self._young.get(name) or self._old.get(name)
        if arrival_time is not None:
            self._young[name] = arrival_time - rate.interval


# RateLimit header fields of responses. Pure.
#
# Writes both the fields of the IETF draft (draft-ietf-httpapi-ratelimit-headers, since version 08: `RateLimit-Policy`
# and `RateLimit`), which describe every limit, and the three that today's clients read (`RateLimit-Limit`,
# `-Remaining`, `-Reset`, in that draft up to version 06), which describe the most restrictive one.
#
# A limit is described as its bucket: a burst of `q` requests, which recovers within `w` seconds; `r` are left, and
# the bucket is full again within `t` seconds.

_PRINTABLE = ''.join(map(chr, range(32, 127))).translate(str.maketrans('', '', '%"\\'))


class RateLimitHeaders:
    """Formats the rate-limit header fields of responses. The template is built once for a set of limits."""

    __slots__ = ('_rates', '_template')

    def __init__(self, names: Sequence[str], rates: Sequence[GcraRate]) -> None:
        self._rates = tuple(rates)
        quoted = [quote(name, safe=_PRINTABLE) for name in names]  # strings of structured fields are ASCII (RFC 9651)
        escaped = [name.replace('%', '%%') for name in quoted]
        policies = ', '.join(
            f'"{name}";q={rate.burst};w={ceil_seconds(rate.tolerance)}'
            for name, rate in zip(escaped, rates, strict=True)
        )
        states = ', '.join(f'"{name}";r=%d;t=%d' for name in escaped)
        self._template = (
            f'RateLimit-Policy: {policies}\r\nRateLimit: {states}\r\n'
            'RateLimit-Limit: %d\r\nRateLimit-Remaining: %d\r\nRateLimit-Reset: %d\r\n'
        ).encode('ascii')

    def encode(self, leads: Sequence[int]) -> bytes:
        """Return the header lines for buckets that are `leads` nanoseconds ahead of the clock."""
        if not leads:
            return b''
        if len(leads) == 1:  # the usual case
            rate, ahead = self._rates[0], leads[0]
            remaining, reset = rate.remaining_calls(ahead), ceil_seconds(ahead)
            return self._template % (remaining, reset, rate.burst, remaining, reset)
        states = [
            (rate.remaining_calls(ahead), ceil_seconds(ahead), rate.burst)
            for rate, ahead in zip(self._rates, leads, strict=True)
        ]
        values = [value for remaining, reset, _ in states for value in (remaining, reset)]
        remaining, reset, burst = min(states, key=lambda state: (state[0], -state[1]))
        return self._template % (*values, burst, remaining, reset)


class RateLimitState:
    """The state of the rate limits that apply to one request."""

    __slots__ = ('fields', 'leads')

    def __init__(self, fields: RateLimitHeaders, leads: Sequence[int] = ()) -> None:
        self.fields = fields
        self.leads = leads

    def header_lines(self) -> bytes:
        """Return the header lines of the response."""
        return self.fields.encode(self.leads)


def ceil_seconds(nanoseconds: int) -> int:
    """Convert nanoseconds to seconds, rounded up."""
    return -(-nanoseconds // SECOND)
