"""The how-to "The agent of the load balancer", followed to the letter."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.walkthrough import follow

ROOT = Path(__file__).resolve().parents[2]


class AgentPageTests(SynchronousTestCase):
    def test_the_page(self) -> None:
        """Servers are taken out and put back, a configuration is applied, and a program calls the API."""
        follow(self, (ROOT / 'docs' / 'load-balancer-agent.md').read_text('utf-8'), is_whole=True)
