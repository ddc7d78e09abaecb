"""The page on security definitions, followed."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.walkthrough import follow

PAGE = Path(__file__).resolve().parent.parent / 'docs' / 'security-definitions.md'


class PageTests(SynchronousTestCase):
    def test_the_page(self) -> None:
        """Each command runs as it stands there, and prints what the page says."""
        follow(self, PAGE.read_text('utf-8'))
