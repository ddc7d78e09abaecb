"""`zatotx info`: what an environment is, whether it runs or not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.broker import free_offset, quickstart
from trial_tests.support.command import zatotx
from trial_tests.support.served import one_server
from zatotx.cli.environment.cluster_info import node_row_to_dict, without_stopped_workers
from zatotx.interfaces.config import NodeRow


class StoppedTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp()).absolute() / 'qs'
        quickstart(self.path, '--servers', 2, '--port-offset', free_offset())

    def facts(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(zatotx('info', self.path, '--format', 'json').out)
        return found

    def test_nothing_runs(self) -> None:
        """Parts, kinds, revision, nodes, where ODB and Redis are; nobody leads and no server speaks."""
        facts = self.facts()
        self.assertEqual((facts['cluster']['leader'], facts['server']), (None, None))
        self.assertGreaterEqual(facts['cluster']['revision'], 0)
        self.assertEqual(facts['kinds']['http'], {'enabled': True})
        self.assertEqual([part['name'] for part in facts['components']], ['redis', 'server1', 'server2'])
        self.assertIn('zatotx.db', facts['odb']['url'])
        self.assertIn('redis.sock', facts['redis']['url'])
        self.assertEqual([n['state'] for n in facts['nodes'] if n['state'] == 'running'], [])

    def test_what_is_away(self) -> None:
        """An ODB that is gone is a reason beside the facts, not the end of them; passwords are shown nowhere."""
        hidden = zatotx('encrypt', self.path, '--secret', 'redis://u:s3cret@127.0.0.1:1/1').out.strip()
        settings = self.path / 'server1' / 'config' / 'server.toml'
        settings.write_text(settings.read_text().replace('unix://../redis/redis.sock', hidden))
        (self.path / 'odb' / 'zatotx.db').unlink()
        facts = self.facts()
        self.assertIn('zatotx.db', facts['odb']['problem'])
        self.assertEqual(facts['nodes'], [])
        self.assertIn('127.0.0.1:1', facts['redis']['url'])
        text = zatotx('info', self.path).out
        self.assertNotIn('s3cret', json.dumps(facts) + text)
        self.assertIn('KIND', text)

    def test_nodes(self) -> None:
        """A row is running, gone when nothing was heard of it, or stopped."""
        row = NodeRow(id=1, name='a', up_status='running', seen_at=100.0, host='h', bind_port=5, worker=1)
        self.assertEqual([node_row_to_dict(row, now)['state'] for now in (101.0, 150.0)], ['running', 'gone'])
        self.assertEqual(node_row_to_dict(row, 101.0)['address'], 'h:5')
        self.assertEqual(node_row_to_dict(NodeRow(id=1, name='a', up_status='clean-down'), 1.0)['state'], 'stopped')

    def test_workers_that_were(self) -> None:
        """A stopped server has a row, a worker that took over for a moment has none; one that died is told of."""
        rows = [NodeRow(id=number, name='a', up_status=status, worker=number)
                for number, status in enumerate(('clean-down', 'running', 'clean-down'))]
        self.assertEqual([row.worker for row in without_stopped_workers(rows)], [0, 1])


class RunningTests(SynchronousTestCase):
    def test_it_runs(self) -> None:
        """The server says how long, the node's row that it is up, at which revision."""
        broker = one_server()
        facts = json.loads(broker.must('info', str(broker.path), '--format', 'json'))
        self.assertGreaterEqual(facts['server']['uptime'], 0)
        (row,) = facts['nodes']
        self.assertEqual((row['name'], row['state'], row['worker']), ('server1', 'running', 0))
        self.assertGreater(row['revision'], 0)
        text = broker.must('info', str(broker.path))
        for words in ('revision', 'NODE', 'server1', 'ODB', 'Redis'):
            self.assertIn(words, text)
