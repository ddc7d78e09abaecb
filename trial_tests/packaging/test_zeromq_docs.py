"""The how-to "ZeroMQ", followed to the letter."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.ports import free_port
from trial_tests.support.walkthrough import follow

ROOT = Path(__file__).resolve().parents[2]


class ZeroMqPageTests(SynchronousTestCase):
    def test_zeromq(self) -> None:
        """From channels and connections to messages both ways, a peer that is away, keys, and a test of a service."""
        page = (ROOT / 'docs' / 'zeromq.md').read_text('utf-8')
        for port in range(5555, 5559):
            page = page.replace(f'127.0.0.1:{port}', f'127.0.0.1:{free_port()}')
        follow(self, page, is_whole=True)
