"""The how-to "FTP servers", followed to the letter."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.ports import free_port
from trial_tests.support.walkthrough import follow

ROOT = Path(__file__).resolve().parents[2]


class FtpPageTests(SynchronousTestCase):
    def test_ftp_servers(self) -> None:
        """From a connection to services that use it, their test, and what is seen when a server is away."""
        page = (ROOT / 'docs' / 'ftp.md').read_text('utf-8')
        page = page.replace('$ pip install pyftpdlib\n…\n', '').replace('2121', str(free_port()))
        follow(self, page)
