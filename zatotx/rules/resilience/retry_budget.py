"""A retry budget, which limits retries to a percentage of all requests, so that retries cannot multiply an overload.
Pure: no I/O.

Each request adds its share to the balance, and each retry takes one from it. The initial balance lets a few requests be
retried when there is little traffic.
"""

from __future__ import annotations

MIN_RETRIES = 10  # retries that are possible without traffic
MAX_RETRIES = 100  # retries that a quiet period can save up
_WHOLE = 100  # percent


class RequestRetryBudget:
    """Limits retries to `percent` percent of the requests."""

    __slots__ = ('_balance', 'percent')

    def __init__(self, percent: int) -> None:
        self.percent = percent
        self._balance = MIN_RETRIES * _WHOLE if percent else 0  # in hundredths of a retry

    def add_request(self) -> None:
        """Count a request."""
        if self._balance < MAX_RETRIES * _WHOLE:
            self._balance += self.percent

    def take_retry(self) -> bool:
        """Return whether one more retry is allowed, and count it."""
        if self._balance < _WHOLE:
            return False
        self._balance -= _WHOLE
        return True
