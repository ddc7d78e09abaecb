"""Whether a call of a peer is made again, when, and how much load all that may add. Pure: `now` is a parameter."""

from __future__ import annotations

from collections.abc import Callable, Collection
from email.utils import parsedate_to_datetime

import msgspec

from zatotx.rules.resilience.backoff import next_delay

# Methods that only ask (RFC 9110 §9.2.1): asking twice does no harm. PUT and DELETE may be repeated too by their
# definition (§9.2.2); as many peers do not keep to it, their owner has to say so.
SAFE = frozenset(('GET', 'HEAD', 'OPTIONS', 'TRACE'))
_PASSING = frozenset((502, 503, 504))  # statuses of somebody who may be well a moment later
_TOO_MANY = 429
_LONGEST_PAUSE = 10.0  # seconds of backoff; what Retry-After says may be longer
_DIGITS = 9  # of Retry-After: thirty years are enough


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How a connection repeats calls."""

    attempts: int = 1  # in all, the first one included
    backoff: float = 0.2  # seconds: the longest pause before the second attempt, doubled for each further one
    methods: Collection[str] = SAFE  # that may be repeated as such

    def may(self, method: str, *, keyed: bool) -> bool:
        """Whether a request that the peer has got may be sent again. `keyed`: it has an Idempotency-Key."""
        return keyed or method in self.methods


class FailedAttempt(msgspec.Struct, frozen=True, kw_only=True):
    """How an attempt ended that a further one may mend."""

    status: int = 0  # of the answer; 0 = there was none
    reached: bool = True  # the peer may have got the request
    retry_after: float | None = None  # seconds, as the answer asks for


def retry_delay(
    repeats: RetryPolicy, made: int, tried: FailedAttempt, *, again: bool, random: Callable[[], float]
) -> float | None:
    """Seconds to wait before the next attempt, or None where there is to be none. `made`: attempts so far; `again`:
    what `RetryPolicy.may` says of the request; `random` gives numbers in [0, 1).

    What never reached the peer is repeated whatever its method is. Of answers, those that say "not now" are: 502, 503,
    504, and 429 where it says when. The pause is exponential with full jitter, and never shorter than the peer asks.
    """
    if made >= repeats.attempts or (tried.reached and not again):
        return None
    if tried.status == _TOO_MANY:
        if tried.retry_after is None:
            return None
    elif tried.status and tried.status not in _PASSING:
        return None
    delay = next_delay(made - 1, random, base=repeats.backoff, cap=max(_LONGEST_PAUSE, repeats.backoff))
    return delay if tried.retry_after is None else max(delay, tried.retry_after)


def is_transient_status(status: int) -> bool:
    """Whether an answer of that status may be another one a moment later."""
    return status in _PASSING or status == _TOO_MANY


def retry_after(value: bytes | None, now: float) -> float | None:
    """Seconds that a field Retry-After asks for (RFC 9110 §10.2.3: a number, or a date); None where there is none, or
    it says nothing that can be read. `now`: seconds since the epoch."""
    if value is None:
        return None
    if value.isdigit():
        return float(value) if len(value) <= _DIGITS else None
    try:
        return max(0.0, parsedate_to_datetime(value.decode('ascii')).timestamp() - now)
    except (ValueError, OverflowError):
        return None


class RetryBudget:
    """Keeps the retries of a connection to a `share` of its calls, so that a peer that is overloaded gets little more
    of us than before; `least` are granted in any case, as a connection with few calls could repeat none of them
    otherwise. Both are counted in this window of some seconds and the one before it.
    """

    __slots__ = ('_before', '_calls', '_least', '_next', '_retries', '_share', '_window')

    def __init__(self, *, share: float = 0.2, least: int = 10, window: float = 10.0) -> None:
        self._share, self._least, self._window = share, least, window
        self._calls = self._retries = 0
        self._before = (0, 0)  # calls and retries of the window before
        self._next = 0.0  # when the next window begins

    def called(self, now: float) -> None:
        """A call begins."""
        if now >= self._next:
            self._turn(now)
        self._calls += 1

    def take(self, now: float) -> bool:
        """Whether one more retry is within the budget; it is counted then."""
        if now >= self._next:
            self._turn(now)
        calls, retries = self._before
        if retries + self._retries + 1 > max(self._least, self._share * (calls + self._calls)):
            return False
        self._retries += 1
        return True

    def _turn(self, now: float) -> None:
        """A window begins. What lies further back than one counts no more."""
        recent = now < self._next + self._window
        self._before = (self._calls, self._retries) if recent else (0, 0)
        self._calls = self._retries = 0
        self._next = (self._next if recent else now) + self._window
