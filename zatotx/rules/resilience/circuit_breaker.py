"""A circuit breaker. Pure: `now` is in seconds on a monotonic clock.

While closed, it admits every call and counts consecutive failures; a success resets the count, so that occasional
failures never open it. After the configured number of failures it opens and rejects calls for `reset` seconds. Then it
is half-open: it admits one trial call, whose result closes or reopens it. If the trial call is abandoned, the next call
is the trial.
"""

from __future__ import annotations

from math import inf

CLOSED, OPEN, HALF_OPEN = 'closed', 'open', 'half-open'


class CircuitBreaker:
    """Opens after `failures` consecutive failures, for `reset` seconds at a time.

    An admitted call gets a ticket and reports its end exactly once, with `succeeded`, `failed` or `left`. Tickets
    issued before the last state change are ignored: a call that began before the breaker opened says nothing about the
    peer's current state.
    """

    __slots__ = ('_failures', '_retry_at', '_ticket', 'limit', 'opened', 'reset', 'state')

    def __init__(self, failures: int, reset: float) -> None:
        self.limit = failures
        self.state = CLOSED
        self.opened = 0  # number of times it opened, not counting failed trial calls
        self.reset = reset
        self._failures = 0  # consecutive failures
        self._ticket = 0  # incremented with each state change
        self._retry_at = -inf  # when the next trial call is allowed

    def enter(self, now: float) -> int | None:
        """Returns a ticket, or None if the call is rejected."""
        if self.state is CLOSED:
            return self._ticket
        if self.state is HALF_OPEN or now < self._retry_at:
            return None
        self._change(HALF_OPEN)
        return self._ticket

    def succeeded(self, ticket: int) -> None:
        """Reports that a call succeeded."""
        if ticket == self._ticket:
            self._failures = 0
            if self.state is not CLOSED:
                self._change(CLOSED)

    def failed(self, ticket: int, now: float) -> None:
        """Reports that a call failed."""
        if ticket != self._ticket:
            return
        self._failures += 1
        if self._failures >= self.limit:  # a failed trial call adds to the failures that opened it
            self.opened += self.state is CLOSED
            self._retry_at = now + self.reset
            self._change(OPEN)

    def left(self, ticket: int) -> None:
        """Reports that a call was abandoned. If it was the trial call, the next call is the trial."""
        if ticket == self._ticket and self.state is HALF_OPEN:
            self._change(OPEN)

    def wait(self, now: float) -> float:
        """Returns the seconds until a call is admitted; 0 if it may be now."""
        return 0.0 if self.state is CLOSED else max(0.0, self._retry_at - now)

    def _change(self, state: str) -> None:
        self.state = state
        self._ticket += 1
