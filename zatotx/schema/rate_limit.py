"""Rate limits: how often channels that name them may be called."""

from __future__ import annotations

from typing import Annotated

from zatotx.schema.masking import ConfigObject
from zatotx.schema.meta import ObjectType, ZatoApi, field

CHANNEL, PRINCIPAL, ADDRESS = 'channel', 'principal', 'address'  # what is counted together
LOCAL, OPEN, CLOSED = 'local', 'open', 'closed'  # what becomes of exact limits without Redis
MOST = 1_000_000  # requests of a limit, and of a burst
LONGEST = 31 * 86_400  # seconds of a limit

_SECONDS = {'s': 1, 'm': 60, 'h': 3_600, 'd': 86_400}
_FORM = 'must be a number of requests and a span of time, such as 100/1m, 10/s, 5000/d or, in seconds, 100/60'
_AT_LENGTH = 100 * 86_400  # seconds in which a whole burst can be had again, at most


def parse_rate(limit: str) -> tuple[int, int] | None:
    """Requests and seconds of a limit as people write it: '100/1m', '10/s', '100/60'. None for any other text."""
    count, _, span = (part.strip() for part in limit.partition('/'))
    unit = _SECONDS.get(span[-1:].lower(), 0)
    length = (span[:-1].strip() or '1') if unit else span
    if not all(number.isascii() and number.isdigit() and len(number) < 10 for number in (count, length)):
        return None
    return int(count), int(length) * (unit or 1)


def _limit_mistake(limit: str) -> str:
    pace = parse_rate(limit)
    if pace is None:
        return _FORM
    count, seconds = pace
    if not 1 <= count <= MOST:
        return f'must be of 1 to {MOST} requests'
    return '' if 1 <= seconds <= LONGEST else 'must be over a span of one second to 31 days'


class RateLimit(ConfigObject, frozen=True, kw_only=True):
    """So many requests in so much time, of one channel, one caller or one address."""

    name: Annotated[str, field('Name of the limit, by which channels have it', min_length=1, max_length=200)]
    is_active: Annotated[bool, field('Whether it holds')] = True
    limit: Annotated[
        str, field('Requests in a span of time: 100/1m, 10/s, 5000/d; 100/60 is in seconds', check=_limit_mistake)
    ]
    burst: (
        Annotated[int, field('Requests that may come at once; none = as many as the limit has', ge=1, le=MOST)] | None
    ) = None
    per: Annotated[
        str,
        field('What is counted together: the requests of a channel, of whoever is logged in (on all channels that have '
              'the limit), or of an address', choices=(CHANNEL, PRINCIPAL, ADDRESS)),
    ] = CHANNEL
    exact: Annotated[
        bool, field('Whether all servers count together, in Redis; otherwise each server counts for itself')
    ] = True
    when_redis_is_away: Annotated[
        str,
        field('What becomes of an exact limit then: each server counts for itself, it does not hold, or nobody is '
              'let in', choices=(LOCAL, OPEN, CLOSED)),
    ] = LOCAL

    @property
    def pace(self) -> tuple[int, int, int]:
        """Requests, seconds, and requests at once."""
        count, seconds = parse_rate(self.limit) or (1, 1)
        return count, seconds, self.burst or count


def _mistakes(value: RateLimit) -> list[tuple[str, str]]:
    count, seconds, burst = value.pace
    if burst * seconds > _AT_LENGTH * count:
        return [('burst', 'must be smaller: at this limit it would take more than 100 days until it can be had again')]
    return []


RATE_LIMIT = ObjectType(
    key='rate_limit',
    struct=RateLimit,
    section='rate_limit',
    title='Rate limit',
    zato=ZatoApi(prefix='rate-limit'),
    check=_mistakes,
)
