"""The how-to "Load balancer", followed to the letter."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.walkthrough import follow

ROOT = Path(__file__).resolve().parents[2]


class LoadBalancerPageTests(SynchronousTestCase):
    def test_load_balancer(self) -> None:
        """From the first request to the exported configurations, with a changed and a refused configuration."""
        follow(self, (ROOT / 'docs' / 'load-balancer.md').read_text('utf-8'), is_whole=True)
