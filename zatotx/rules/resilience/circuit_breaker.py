"""A circuit breaker that rejects calls to a failing peer. Pure: `now` is in seconds on a monotonic clock.

While closed, it admits every call and counts consecutive failures; a success resets the count, so that occasional
failures never open it. After the configured number of failures it opens and rejects calls for `reset_timeout` seconds.
Then it is half-open: it admits one trial call, whose result closes or reopens it. If the trial call is abandoned, the
next call is the trial.
"""

from __future__ import annotations

from math import inf

CLOSED, OPEN, HALF_OPEN = 'closed', 'open', 'half-open'


class CircuitBreaker:
    """A circuit breaker that opens after `failure_threshold` consecutive failures, and rejects calls for
    `reset_timeout` seconds.

    An admitted call gets a ticket and reports its end exactly once, with `record_success`, `record_failure` or
    `record_abandoned`. Tickets issued before the last state change are ignored: a call that began before the breaker
    opened says nothing about the peer's current state.
    """

    __slots__ = ('_failures', '_retry_at', '_ticket', 'failure_threshold', 'reset_timeout', 'state', 'times_opened')

    def __init__(self, failure_threshold: int, reset_timeout: float) -> None:
        self.failure_threshold = failure_threshold
        self.state = CLOSED
        self.times_opened = 0  # number of times it opened, not counting failed trial calls
        self.reset_timeout = reset_timeout
        self._failures = 0  # consecutive failures
        self._ticket = 0  # incremented with each state change
        self._retry_at = -inf  # when the next trial call is allowed

    def acquire(self, now: float) -> int | None:
        """Return a ticket, or None if the call is rejected."""
        if self.state is CLOSED:
            return self._ticket
        if self.state is HALF_OPEN or now < self._retry_at:
            return None
        self._change(HALF_OPEN)
        return self._ticket

    def record_success(self, ticket: int) -> None:
        """Report that a call succeeded."""
        if ticket == self._ticket:
            self._failures = 0
            if self.state is not CLOSED:
                self._change(CLOSED)

    def record_failure(self, ticket: int, now: float) -> None:
        """Report that a call failed."""
        if ticket != self._ticket:
            return
        self._failures += 1
        if self._failures >= self.failure_threshold:  # a failed trial call adds to the failures that opened it
            self.times_opened += self.state is CLOSED
            self._retry_at = now + self.reset_timeout
            self._change(OPEN)

    def record_abandoned(self, ticket: int) -> None:
        """Report that a call was abandoned. If it was the trial call, the next call is the trial."""
        if ticket == self._ticket and self.state is HALF_OPEN:
            self._change(OPEN)

    def wait_time(self, now: float) -> float:
        """Return the seconds until a call is admitted; 0 if it may be now."""
        return 0.0 if self.state is CLOSED else max(0.0, self._retry_at - now)

    def _change(self, state: str) -> None:
        self.state = state
        self._ticket += 1
