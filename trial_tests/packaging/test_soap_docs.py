"""The how-to of SOAP, followed."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.walkthrough import follow

PAGE = Path(__file__).resolve().parents[2] / 'docs' / 'soap.md'


class PageTests(SynchronousTestCase):
    def test_the_page(self) -> None:
        """Each command runs as it stands there, and prints what the page says."""
        follow(self, PAGE.read_text('utf-8'))
