"""The how-to "AMQP", followed to the letter with a real RabbitMQ."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support import rabbitmq
from trial_tests.support.walkthrough import follow

ROOT = Path(__file__).resolve().parents[2]


class AmqpPageTests(SynchronousTestCase):
    def test_amqp(self) -> None:
        """From a broker to services that send and handle messages, their test, requests, and a dead letter."""
        page = (ROOT / 'docs' / 'amqp.md').read_text('utf-8')
        page = page.replace('port: 5672', f'port: {rabbitmq.shared().port}')
        page = page.replace('username: guest', f'username: {rabbitmq.USER}')
        follow(self, page.replace('AMQP_PASSWORD=guest', f'AMQP_PASSWORD={rabbitmq.PASSWORD}'), is_whole=True)
