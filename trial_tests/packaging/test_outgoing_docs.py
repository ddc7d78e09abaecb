"""The how-to "calling other systems", followed to the letter."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.walkthrough import follow

ROOT = Path(__file__).resolve().parents[2]


class OutgoingPageTests(SynchronousTestCase):
    def test_calling_other_systems(self) -> None:
        """From a connection to a service that calls it, its test, and what is seen when it breaks."""
        follow(self, (ROOT / 'docs' / 'outgoing.md').read_text('utf-8'))
