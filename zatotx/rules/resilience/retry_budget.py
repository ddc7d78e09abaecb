"""A budget of retries: they may be at most a share of all requests, so that retries cannot multiply an overload. Pure.

Each request adds its share to the balance, and each retry takes one from it. The initial balance lets a few requests be
retried when there is little traffic.
"""

from __future__ import annotations

MIN_RETRIES = 10  # retries that are possible without traffic, and after a pause
MAX_BALANCE = 100.0  # retries that a quiet period can save up


class RetryBudget:
    """`share`: how many retries there may be for each request, from 0 to 1."""

    __slots__ = ('_balance', 'share')

    def __init__(self, share: float) -> None:
        self.share = share
        self._balance = float(MIN_RETRIES) if share else 0.0

    def add_request(self) -> None:
        """Counts a request."""
        balance = self._balance + self.share
        self._balance = balance if balance < MAX_BALANCE else MAX_BALANCE

    def take_retry(self) -> bool:
        """Returns whether one more retry is allowed, and counts it."""
        if self._balance < 1:
            return False
        self._balance -= 1
        return True
