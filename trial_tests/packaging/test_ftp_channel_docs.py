"""The how-to "receiving files by FTP", followed to the letter."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.walkthrough import follow

ROOT = Path(__file__).resolve().parents[2]


class FtpChannelPageTests(SynchronousTestCase):
    def test_receiving_files(self) -> None:
        """From a channel to the files that its service has processed, and a live edit."""
        follow(self, (ROOT / 'docs' / 'ftp-channel.md').read_text('utf-8'))
