"""The object type of rate limits, which channels use."""

from __future__ import annotations

from typing import Annotated

from zatotx.schema.meta import ObjectType, ZatoApi, field
from zatotx.schema.secrets import ConfigObject

CHANNEL, PRINCIPAL, ADDRESS = 'channel', 'principal', 'address'  # what a limit counts together
LOCAL, OPEN, CLOSED = 'local', 'open', 'closed'  # how exact limits behave without Redis
MAX_REQUESTS = 1_000_000  # requests: maximum of a limit, and of a burst
MAX_PERIOD = 31 * 86_400  # seconds: maximum period of a limit

_SECONDS = {'s': 1, 'm': 60, 'h': 3_600, 'd': 86_400}
_INVALID_RATE = 'must be a number of requests and a span of time, such as 100/1m, 10/s, 5000/d or, in seconds, 100/60'
_MAX_REFILL_SECONDS = 100 * 86_400  # maximum number of seconds to refill a whole burst


def parse_rate(limit: str) -> tuple[int, int] | None:
    """Parse a rate limit, such as '100/1m', '10/s' or '100/60'. Returns the number of requests and the number of
    seconds, or None for other text."""
    count, _, span = (part.strip() for part in limit.partition('/'))
    unit = _SECONDS.get(span[-1:].lower(), 0)
    length = (span[:-1].strip() or '1') if unit else span
    if not all(number.isascii() and number.isdigit() and len(number) < 10 for number in (count, length)):
        return None
    return int(count), int(length) * (unit or 1)


def _limit_error(limit: str) -> str:
    rate = parse_rate(limit)
    if rate is None:
        return _INVALID_RATE
    count, seconds = rate
    if not 1 <= count <= MAX_REQUESTS:
        return f'must be of 1 to {MAX_REQUESTS} requests'
    return '' if 1 <= seconds <= MAX_PERIOD else 'must be over a span of one second to 31 days'


class RateLimit(ConfigObject, frozen=True, kw_only=True):
    """A rate limit, which is a maximum number of requests per period, for a channel, a caller or an address."""

    name: Annotated[str, field('Name of the limit, used by channels to refer to it', min_length=1, max_length=200)]
    is_active: Annotated[bool, field('Whether the limit is enforced')] = True
    limit: Annotated[
        str, field('Requests per period: 100/1m, 10/s, 5000/d; 100/60 is in seconds', check=_limit_error)
    ]
    burst: (
        Annotated[int, field('Number of requests allowed at once; none = as many as the limit allows per period',
                             ge=1, le=MAX_REQUESTS)] | None
    ) = None
    per: Annotated[
        str,
        field('What is counted together: the requests of a channel, of an authenticated caller (on all channels with '
              'this limit), or of an address', choices=(CHANNEL, PRINCIPAL, ADDRESS)),
    ] = CHANNEL
    exact: Annotated[
        bool, field('Whether all servers count together, in Redis; otherwise each server counts separately')
    ] = True
    when_redis_is_away: Annotated[
        str,
        field('What happens to an exact limit without Redis: each server counts separately, the limit is not '
              'enforced, or all requests are rejected', choices=(LOCAL, OPEN, CLOSED)),
    ] = LOCAL

    @property
    def rate(self) -> tuple[int, int, int]:
        """Requests, seconds and burst."""
        count, seconds = parse_rate(self.limit) or (1, 1)
        return count, seconds, self.burst or count


def _find_errors(value: RateLimit) -> list[tuple[str, str]]:
    count, seconds, burst = value.rate
    if burst * seconds > _MAX_REFILL_SECONDS * count:
        return [('burst', 'must be smaller: at this limit it would take more than 100 days until it can be had again')]
    return []


RATE_LIMIT = ObjectType(
    key='rate_limit',
    struct=RateLimit,
    section='rate_limit',
    title='Rate limit',
    zato=ZatoApi(prefix='rate-limit'),
    validate=_find_errors,
)
