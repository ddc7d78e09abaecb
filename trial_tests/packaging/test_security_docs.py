"""The pages on security definitions, followed."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.walkthrough import follow

PAGES = Path(__file__).resolve().parents[2] / 'docs'


class PageTests(SynchronousTestCase):
    def test_definitions(self) -> None:
        """Each command runs as it stands there, and prints what the page says."""
        follow(self, (PAGES / 'security-definitions.md').read_text('utf-8'))

    def test_tokens_and_certificates(self) -> None:
        """Likewise, with openssl as the issuer and as the authority."""
        follow(self, (PAGES / 'tokens-and-certificates.md').read_text('utf-8'))
