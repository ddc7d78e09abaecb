"""The how-to "SQL databases", followed to the letter."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.walkthrough import follow

ROOT = Path(__file__).resolve().parents[2]


class SqlPageTests(SynchronousTestCase):
    def test_sql_databases(self) -> None:
        """From a connection to services that use it, their test, and what is seen when a database is away."""
        follow(self, (ROOT / 'docs' / 'sql.md').read_text('utf-8'))
