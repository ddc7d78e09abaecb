"""The backoff of logins after wrong passwords."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from zatotx.rules.security.login_backoff import LoginBackoff


class LoginBackoffTests(SynchronousTestCase):
    def test_growing_waits(self) -> None:
        """After the free failures each further one doubles the wait, up to 15 seconds."""
        backoff, now, waits = LoginBackoff(4), 100.0, []
        for _ in range(9):
            backoff.record_failure('a', now)
            waits.append(backoff.retry_after('a', now))
            now += waits[-1]
            self.assertEqual(backoff.retry_after('a', now), 0.0)
        self.assertEqual(waits, [0.0, 0.0, 0.0, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0])

    def test_keys_are_independent(self) -> None:
        """Failures of one key never delay another one."""
        backoff = LoginBackoff(1)
        backoff.record_failure('10.0.0.1 admin', 0.0)
        self.assertEqual(backoff.retry_after('10.0.0.1 admin', 0.0), 1.0)
        self.assertEqual(backoff.retry_after('10.0.0.2 admin', 0.0), 0.0)

    def test_failures_are_forgotten(self) -> None:
        """A success, and ten minutes without a failure, clear the count."""
        backoff = LoginBackoff(2)
        for _ in range(2):
            backoff.record_failure('a', 0.0)
            backoff.record_failure('b', 0.0)
        backoff.record_success('a')
        self.assertEqual((backoff.retry_after('a', 0.0), backoff.retry_after('b', 0.0)), (0.0, 1.0))
        backoff.record_failure('b', 600.0)
        self.assertEqual(backoff.retry_after('b', 600.0), 0.0)

    def test_bounded_memory(self) -> None:
        """Only the keys with the latest failures are stored."""
        backoff = LoginBackoff(1, max_keys=2)
        for name in 'abac':
            backoff.record_failure(name, 0.0)
        self.assertEqual([backoff.retry_after(name, 0.0) > 0 for name in 'abc'], [True, False, True])
