"""Tests that run the commands on the pages about security definitions."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.walkthrough import follow

PAGES = Path(__file__).resolve().parents[2] / 'docs'


class PageTests(SynchronousTestCase):
    def test_definitions(self) -> None:
        """Each command on the page runs and prints the output shown there."""
        follow(self, (PAGES / 'security-definitions.md').read_text('utf-8'))

    def test_tokens_and_certificates(self) -> None:
        """The same for tokens and certificates, with openssl as the issuer and certificate authority."""
        follow(self, (PAGES / 'tokens-and-certificates.md').read_text('utf-8'))
