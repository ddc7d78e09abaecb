"""The demo that `make run` shows, on a server."""

from __future__ import annotations

import json
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.broker import Broker, create, remove
from trial_tests.support.rawhttp import basic

EXAMPLES = Path(__file__).resolve().parent.parent / 'examples'


class DemoTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.broker: Broker = create()
        self.addCleanup(remove, self.broker)
        self.broker.must('start', str(self.broker.path))
        self.assertEqual(self.broker.deploy(EXAMPLES / 'demo.py', EXAMPLES / 'classic.py').code, 0)
        document = (EXAMPLES / 'demo.yaml').read_text('utf-8').replace('${DEMO_PASSWORD}', 'sesame')
        self.broker.configure(document)

    def test_demo(self) -> None:
        """demo.echo answers the JSON it was sent, whatever its type; the others greet and convert."""
        fields = {'Content-Type': 'application/json', **basic('api.user', 'sesame')}
        values: list[object] = [{'a': [1, None, 'ž']}, [], 'text', '', 42, 1.5, True, None]
        for value in values:
            answer = self.broker.ask('POST', '/demo/echo', fields=fields, body=json.dumps(value).encode())
            self.assertEqual((answer.status, json.loads(answer.body)), (200, value))
        hello = self.broker.ask('GET', '/demo/hello/Ada?lang=fr')
        self.assertEqual(json.loads(hello.body), {'greeting': 'Bonjour, Ada!'})
        warm = self.broker.ask('GET', '/demo/to-fahrenheit/30')
        self.assertEqual(json.loads(warm.body), {'response': {'celsius': 30.0, 'fahrenheit': 86.0}})
