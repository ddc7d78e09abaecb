"""The demo that `make run` shows: on a server, and its own tests in memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.broker import Broker, create, remove
from trial_tests.support.rawhttp import basic
from trial_tests.support.served import one_server

EXAMPLES = Path(__file__).resolve().parents[2] / 'examples'


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


class ConnectionTests(SynchronousTestCase):
    def test_objects(self) -> None:
        """The services of each connection type can be deployed, and their objects imported."""
        broker = one_server()
        files = sorted(EXAMPLES.glob('*_*.yaml'))
        self.assertEqual(len(files), 5)
        deployed = broker.deploy(*(file.with_suffix('.py') for file in files))
        self.assertEqual(deployed.code, 0, deployed.text)
        variables = {f'{name}_PASSWORD': 'sesame' for name in ('AMQP', 'MQ', 'FTP', 'ARCHIVE')}
        for file in files:
            said = broker.run('enmasse', str(broker.path), '--import', '--dry-run', '--input', str(file), env=variables)
            self.assertEqual(said.code, 0, said.text)


class TestsOfTheDemo(SynchronousTestCase):
    """The tests that lie beside the examples, as users run theirs."""

    def run_by(self, *words: str) -> str:
        """What the runner of tests says; it must be content."""
        done = subprocess.run(
            [sys.executable, '-m', *words], cwd=EXAMPLES.parent, capture_output=True, text=True, timeout=120,
            env={**os.environ, 'PYTEST_ADDOPTS': '-p no:cacheprovider'},
        )  # fmt: skip
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout + done.stderr

    def test_pytest(self) -> None:
        """`pytest examples` finds them and they pass."""
        self.assertIn('20 passed', self.run_by('pytest', '-q', 'examples'))

    def test_trial(self) -> None:
        """`trial examples/test_demo.py` likewise."""
        place = self.mktemp()
        said = self.run_by('twisted.trial', f'--temp-directory={Path(place).resolve()}', 'examples/test_demo.py')
        self.assertIn('PASSED (successes=10)', said)

    def test_unittest(self) -> None:
        """The standard library's runner likewise."""
        self.assertIn('OK', self.run_by('unittest', 'examples/test_demo.py'))
