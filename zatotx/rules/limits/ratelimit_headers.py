"""What a client is told of the rate limits that hold for it, as header fields. Pure.

Both the fields of the IETF's draft (draft-ietf-httpapi-ratelimit-headers, since version 08: `RateLimit-Policy` and
`RateLimit`), which tell of every limit, and the three that clients of today read (`RateLimit-Limit`, `-Remaining`,
`-Reset`, in that draft up to version 06), which tell of the one that has least left.

A limit is told as its bucket: `q` requests may come at once, and so many can be had again within `w` seconds; `r` are
left, and within `t` seconds the bucket is full again.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from zatotx.rules.limits.gcra import SECOND, Rate

_PRINTABLE = ''.join(map(chr, range(32, 127))).translate(str.maketrans('', '', '%"\\'))


class RateLimitHeaders:
    """The fields about certain limits: made once, filled in for each answer."""

    __slots__ = ('_rates', '_template')

    def __init__(self, names: Sequence[str], rates: Sequence[Rate]) -> None:
        self._rates = tuple(rates)
        told = [quote(name, safe=_PRINTABLE) for name in names]  # a string of structured fields is ASCII (RFC 9651)
        escaped = [name.replace('%', '%%') for name in told]
        policies = ', '.join(
            f'"{name}";q={rate.burst};w={ceil_seconds(rate.tolerance)}'
            for name, rate in zip(escaped, rates, strict=True)
        )
        standings = ', '.join(f'"{name}";r=%d;t=%d' for name in escaped)
        self._template = (
            f'RateLimit-Policy: {policies}\r\nRateLimit: {standings}\r\n'
            'RateLimit-Limit: %d\r\nRateLimit-Remaining: %d\r\nRateLimit-Reset: %d\r\n'
        ).encode('ascii')

    def lines(self, aheads: Sequence[int]) -> bytes:
        """Lines of a head, where the buckets are so many nanoseconds ahead."""
        if not aheads:
            return b''
        if len(aheads) == 1:  # as mostly
            rate, ahead = self._rates[0], aheads[0]
            left, reset = rate.left(ahead), ceil_seconds(ahead)
            return self._template % (left, reset, rate.burst, left, reset)
        told: list[int] = []
        least: tuple[int, int, int] | None = None
        for rate, ahead in zip(self._rates, aheads, strict=True):
            left, reset = rate.left(ahead), ceil_seconds(ahead)
            told += (left, reset)
            if least is None or (left, -reset) < (least[1], -least[2]):
                least = rate.burst, left, reset
        return self._template % (*told, *(least or (0, 0, 0)))


class RateLimitState:
    """How it stands with the limits of a request."""

    __slots__ = ('aheads', 'fields')

    def __init__(self, fields: RateLimitHeaders, aheads: Sequence[int] = ()) -> None:
        self.fields = fields
        self.aheads = aheads

    def lines(self) -> bytes:
        """Lines of the answer's head."""
        return self.fields.lines(self.aheads)


def ceil_seconds(nanoseconds: int) -> int:
    """Whole ones, none too few."""
    return -(-nanoseconds // SECOND)
