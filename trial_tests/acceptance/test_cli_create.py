"""`zatotx create`: a cluster, and its components one by one."""

from __future__ import annotations

import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.broker import Broker, free_offset, remove
from trial_tests.support.command import Said, zatotx


class CreateTests(SynchronousTestCase):
    """A cluster is put together from single components."""

    def setUp(self) -> None:
        self.broker = Broker(Path(tempfile.mkdtemp(prefix='zatotx-test-')) / 'cluster', free_offset())
        self.addCleanup(remove, self.broker)
        self.path = str(self.broker.path)

    def create(self, *words: object) -> Said:
        return zatotx('create', *map(str, words))

    def test_cluster(self) -> None:
        """Nodes share database, Redis and key; all components start, without findings; a user of the web admin is
        created once."""
        offset = self.broker.offset
        self.assertEqual(self.create('cluster', self.path, '--cluster-name', 'prod').code, 0)
        self.assertEqual(self.create('web-admin', self.path).code, 1)  # there is no server to call
        for words in (('server', 17010), ('connector', 17031), ('web-admin', 8183)):
            said = self.create(words[0], self.path, '--port', words[1] + offset)
            self.assertEqual(said.code, 0, said)
        said = self.create('server', self.path)  # after the port of server1
        self.assertIn(f'server2   http://127.0.0.1:{17011 + offset}', said.out)
        path = self.broker.path / 'web-admin' / 'config' / 'break-glass.toml'
        first = path.read_text()
        self.broker.must('update', 'password', self.path, 'break-glass', '--password', 'a-Long-password-2')
        self.assertEqual(self.broker.credentials()['break_glass'],
                         {'username': 'break-glass', 'password': 'a-Long-password-2'})
        self.assertNotIn(path.read_text(), (first, 'a-Long-password-2'))
        self.broker.must('start', self.path)
        self.assertEqual(self.broker.run('doctor', self.path).code, 0)
        user = ('user', self.path, 'ann', '--role', 'operator', '--password', 'a-Long-password-1')
        self.assertEqual(self.create(*user).code, 0)
        said = self.create(*user)
        self.assertEqual(said.code, 1)
        self.assertIn("'ann' exists already", said.text)
        self.assertIn('prod', self.broker.must('info', self.path))

    def test_odb(self) -> None:
        """Tables are created once; a cluster can be added to them, and only once by its name."""
        self.broker.path.parent.mkdir(exist_ok=True)
        url = f'sqlite:///{self.broker.path.parent / "odb.db"}'
        self.assertIn('has the tables of an ODB now', self.create('odb', '--odb-url', url).out)
        self.assertIn('is an ODB already', self.create('odb', '--odb-url', url).out)
        words = ('--cluster-name', 'prod', '--odb-url', url)
        self.assertEqual(self.create('cluster', self.path, *words).code, 0)
        said = self.create('cluster', f'{self.path}2', *words)
        self.assertEqual(said.code, 1)
        self.assertFalse(Path(f'{self.path}2').exists())
