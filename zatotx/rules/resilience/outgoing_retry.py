"""Decides whether and when an outgoing call is retried, and limits the load that retries add. Pure: `now` is a
parameter.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from email.utils import parsedate_to_datetime

import msgspec

_MAX_DOUBLINGS = 32  # all caps are reached by then; a larger power would be useless


def backoff_delay(attempt: int, random: Callable[[], float], *, base: float = 0.1, cap: float = 5.0) -> float:
    """Return the delay in seconds after attempt number `attempt`: exponential backoff with full jitter, so that clients
    that lost a server at the same time do not return at the same time.

    `attempt` counts previous failures from 0; `random` returns numbers in [0, 1); `base` is the maximum of the first
    delay and `cap` the maximum of all delays, in seconds.
    """
    return random() * min(cap, base * float(2 ** min(max(attempt, 0), _MAX_DOUBLINGS)))


# Safe methods (RFC 9110 §9.2.1) may be retried. PUT and DELETE are idempotent by definition (§9.2.2), but since many
# servers do not implement them so, they must be enabled explicitly.
SAFE_METHODS = frozenset(('GET', 'HEAD', 'OPTIONS', 'TRACE'))
_TRANSIENT = frozenset((502, 503, 504))  # status codes of temporary errors
_TOO_MANY_REQUESTS = 429
_MAX_BACKOFF = 10.0  # maximum seconds of backoff; Retry-After may be longer
_MAX_DIGITS = 9  # maximum digits of Retry-After: thirty years suffice


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """The retry settings of an outgoing connection."""

    attempts: int = 1  # total, including the first
    backoff: float = 0.2  # seconds: maximum delay before the second attempt, doubled for each further one
    methods: Collection[str] = SAFE_METHODS  # methods that may be retried without an Idempotency-Key

    def is_retryable(self, method: str, *, has_idempotency_key: bool) -> bool:
        """Return whether a request that the peer may have received can be repeated. `has_idempotency_key`: it has an
        Idempotency-Key."""
        return has_idempotency_key or method in self.methods


class RetryableFailure(msgspec.Struct, frozen=True, kw_only=True):
    """A failed attempt of a call for which a retry may succeed."""

    status: int = 0  # of the response; 0 = no response
    reached_peer: bool = True  # the peer may have received the request
    retry_after: float | None = None  # seconds, from the response's Retry-After


def outgoing_retry_delay(
    policy: RetryPolicy, attempts: int, failure: RetryableFailure, *, is_retryable: bool, random: Callable[[], float]
) -> float | None:
    """Return the seconds to wait before the next attempt, or None if there is no further attempt. `attempts` is the
    number of attempts so far; `is_retryable` is the result of `RetryPolicy.is_retryable` for the request; `random`
    returns numbers in [0, 1).

    Requests that never reached the peer are retried whatever their method. Responses are retried if they report a
    temporary condition: 502, 503, 504, and 429 with Retry-After. The delay is exponential with full jitter, and never
    shorter than Retry-After.
    """
    if attempts >= policy.attempts or (failure.reached_peer and not is_retryable):
        return None
    if failure.status == _TOO_MANY_REQUESTS:
        if failure.retry_after is None:
            return None
    elif failure.status and failure.status not in _TRANSIENT:
        return None
    delay = backoff_delay(attempts - 1, random, base=policy.backoff, cap=max(_MAX_BACKOFF, policy.backoff))
    return delay if failure.retry_after is None else max(delay, failure.retry_after)


def is_transient_status(status: int) -> bool:
    """Return whether a response status indicates a temporary error."""
    return status in _TRANSIENT or status == _TOO_MANY_REQUESTS


def parse_retry_after(value: bytes | None, now: float) -> float | None:
    """Parse a Retry-After field (RFC 9110 §10.2.3: a number, or a date) and return seconds, or None if it is missing or
    invalid. `now` is in seconds since the epoch."""
    if value is None:
        return None
    if value.isdigit():
        return float(value) if len(value) <= _MAX_DIGITS else None
    try:
        return max(0.0, parsedate_to_datetime(value.decode('ascii')).timestamp() - now)
    except (ValueError, OverflowError):
        return None


class CallRetryBudget:
    """Limits the retries of a connection to a `share` of its calls, so that an overloaded peer gets little additional
    load. At least `min_retries` retries are allowed, since connections with few calls could not retry otherwise. The
    calls and retries of the current and the previous window of `window` seconds are counted."""

    __slots__ = ('_calls', '_min_retries', '_next_window', '_previous', '_retries', '_share', '_window')

    def __init__(self, *, share: float = 0.2, min_retries: int = 10, window: float = 10.0) -> None:
        self._share, self._min_retries, self._window = share, min_retries, window
        self._calls = self._retries = 0
        self._previous = (0, 0)  # calls and retries of the previous window
        self._next_window = 0.0  # when the next window begins

    def record_call(self, now: float) -> None:
        """Count a call."""
        if now >= self._next_window:
            self._start_window(now)
        self._calls += 1

    def try_acquire(self, now: float) -> bool:
        """Return whether one more retry is within the budget, and count it if so."""
        if now >= self._next_window:
            self._start_window(now)
        calls, retries = self._previous
        if retries + self._retries + 1 > max(self._min_retries, self._share * (calls + self._calls)):
            return False
        self._retries += 1
        return True

    def _start_window(self, now: float) -> None:
        """Start a new window. Discards windows before the previous one."""
        recent = now < self._next_window + self._window
        self._previous = (self._calls, self._retries) if recent else (0, 0)
        self._calls = self._retries = 0
        self._next_window = (self._next_window if recent else now) + self._window
