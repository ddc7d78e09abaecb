"""RateLimit header fields of responses. Pure.

Writes both the fields of the IETF draft (draft-ietf-httpapi-ratelimit-headers, since version 08: `RateLimit-Policy` and
`RateLimit`), which describe every limit, and the three that today's clients read (`RateLimit-Limit`, `-Remaining`,
`-Reset`, in that draft up to version 06), which describe the most restrictive one.

A limit is described as its bucket: a burst of `q` requests, which recovers within `w` seconds; `r` are left, and the
bucket is full again within `t` seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from zatotx.rules.limits.rate_buckets import SECOND, Rate

_PRINTABLE = ''.join(map(chr, range(32, 127))).translate(str.maketrans('', '', '%"\\'))


class RateLimitHeaders:
    """The header fields for a set of limits: a template that is filled in for each response."""

    __slots__ = ('_rates', '_template')

    def __init__(self, names: Sequence[str], rates: Sequence[Rate]) -> None:
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
        """Returns the header lines for buckets that are `leads` nanoseconds ahead of the clock."""
        if not leads:
            return b''
        if len(leads) == 1:  # the usual case
            rate, ahead = self._rates[0], leads[0]
            remaining, reset = rate.remaining(ahead), ceil_seconds(ahead)
            return self._template % (remaining, reset, rate.burst, remaining, reset)
        values: list[int] = []
        strictest: tuple[int, int, int] | None = None
        for rate, ahead in zip(self._rates, leads, strict=True):
            remaining, reset = rate.remaining(ahead), ceil_seconds(ahead)
            values += (remaining, reset)
            if strictest is None or (remaining, -reset) < (strictest[1], -strictest[2]):
                strictest = rate.burst, remaining, reset
        return self._template % (*values, *(strictest or (0, 0, 0)))


class RateLimitState:
    """The state of the rate limits that apply to a request."""

    __slots__ = ('fields', 'leads')

    def __init__(self, fields: RateLimitHeaders, leads: Sequence[int] = ()) -> None:
        self.fields = fields
        self.leads = leads

    def header_lines(self) -> bytes:
        """Returns the header lines of the response."""
        return self.fields.encode(self.leads)


def ceil_seconds(nanoseconds: int) -> int:
    """Converts nanoseconds to seconds, rounded up."""
    return -(-nanoseconds // SECOND)
