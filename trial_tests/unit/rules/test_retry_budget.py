"""The budget of retries."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from zatotx.rules.resilience.retry_budget import MAX_RETRIES, MIN_RETRIES, RequestRetryBudget


class RetryBudgetTests(SynchronousTestCase):
    def retries(self, budget: RequestRetryBudget, requests: int) -> int:
        """How many of these requests, which all fail, are retried."""
        count = 0
        for _ in range(requests):
            budget.add_request()
            count += budget.take_retry()
        return count

    def test_share(self) -> None:
        """Retries are the share of the requests, beyond the first few."""
        for percent in (1, 20, 100):
            self.assertEqual(self.retries(RequestRetryBudget(percent), 1000), min(1000, MIN_RETRIES + 10 * percent))

    def test_no_retries(self) -> None:
        """A share of 0 allows none."""
        self.assertEqual(self.retries(RequestRetryBudget(0), 100), 0)

    def test_saved_retries_are_limited(self) -> None:
        """A long time without failures does not allow a storm of retries."""
        budget = RequestRetryBudget(20)
        for _ in range(100_000):
            budget.add_request()
        self.assertEqual(sum(budget.take_retry() for _ in range(1000)), MAX_RETRIES)
