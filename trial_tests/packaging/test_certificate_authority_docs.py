"""The how-to "The certificate authority", followed to the letter."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.walkthrough import follow

ROOT = Path(__file__).resolve().parents[2]


class CertificateAuthorityPageTests(SynchronousTestCase):
    def test_the_page(self) -> None:
        """A server with TLS, an authority elsewhere, and what is renewed and revoked."""
        page = (ROOT / 'docs' / 'certificate-authority.md').read_text('utf-8')
        follow(self, page, is_whole=True)
