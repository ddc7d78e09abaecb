"""A circuit breaker: who keeps failing is left alone for a while. Pure: `now` is any clock in seconds that never goes
back.

Closed, it lets every call through and counts failures in a row: one success forgets them, so that a peer that fails now
and then is never cut off. That many in a row open it: nobody is let through for `reset` seconds. After them it is half
open: one call is let through as a probe, and its end closes or opens it again. Where a probe ends without a verdict,
because its caller gave up, the next call is the probe.
"""

from __future__ import annotations

from math import inf

CLOSED, OPEN, HALF_OPEN = 'closed', 'open', 'half-open'


class CircuitBreaker:
    """Opens after `failures` in a row, for `reset` seconds at a time.

    Who is let through gets a ticket and brings it back exactly once, by `succeeded`, `failed` or `left`. A ticket of an
    earlier time changes nothing: a call that began before the breaker opened says nothing about the peer as it is now.
    """

    __slots__ = ('_row', '_ticket', '_until', 'limit', 'opened', 'reset', 'state')

    def __init__(self, failures: int, reset: float) -> None:
        self.limit = failures
        self.state = CLOSED
        self.opened = 0  # how often it did, probes that failed aside
        self.reset = reset
        self._row = 0  # failures, since the last success
        self._ticket = 0  # of the time that began when it last changed its state
        self._until = -inf  # when the next probe may go

    def enter(self, now: float) -> int | None:
        """A ticket, or None for who is not let through."""
        if self.state is CLOSED:
            return self._ticket
        if self.state is HALF_OPEN or now < self._until:
            return None
        self._change(HALF_OPEN)
        return self._ticket

    def succeeded(self, ticket: int) -> None:
        """The peer answered as it should."""
        if ticket == self._ticket:
            self._row = 0
            if self.state is not CLOSED:
                self._change(CLOSED)

    def failed(self, ticket: int, now: float) -> None:
        """It did not."""
        if ticket != self._ticket:
            return
        self._row += 1
        if self._row >= self.limit:  # a probe's failure comes on top of those that opened it
            self.opened += self.state is CLOSED
            self._until = now + self.reset
            self._change(OPEN)

    def left(self, ticket: int) -> None:
        """Nobody will know: the caller gave up. The time of a probe begins again with the next call."""
        if ticket == self._ticket and self.state is HALF_OPEN:
            self._change(OPEN)

    def wait(self, now: float) -> float:
        """Seconds until somebody is let through again; 0 while that may be now."""
        return 0.0 if self.state is CLOSED else max(0.0, self._until - now)

    def _change(self, state: str) -> None:
        self.state = state
        self._ticket += 1
