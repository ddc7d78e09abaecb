"""`zatotx quickstart create`: all of an environment or nothing of it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tomllib
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.broker import free_offset
from trial_tests.support.command import Said, sentences, zatotx
from trial_tests.support.waiting import until
from zatotx.cli.environment.atomic_files import is_private

ZATOTX = str(Path(sys.executable).with_name('zatotx'))


class QuickstartTests(SynchronousTestCase):
    """What is at PATH afterwards, and what was said."""

    def setUp(self) -> None:
        self.parent = Path(self.mktemp()).absolute()
        self.parent.mkdir()
        self.path = self.parent / 'qs'

    def create(self, *options: object) -> Said:
        return zatotx('quickstart', 'create', self.path, *options)

    def left(self) -> list[str]:
        return sorted(entry.name for entry in self.parent.iterdir())

    def test_what_it_makes(self) -> None:
        """Redis, database, servers, connectors and a load balancer on ports of their own, one key for all; steps are
        counted, and at the end stands what to know and what to do next."""
        offset = free_offset()  # check-config says where a port is taken, by a client's chance too
        said = self.create('--servers', 3, '--port-offset', offset, '--cluster-name', 'mine')
        self.assertEqual(said.code, 0, said)
        self.assertEqual(
            sorted(p.name for p in self.path.iterdir()),
            ['ca', 'connector1', 'credentials.toml', 'load-balancer', 'odb', 'redis', 'server1', 'server2', 'server3',
             'web-admin'],
        )
        self.assertEqual(said.out.count('/10] '), 10)
        for text in ('Cluster   mine', f'http://127.0.0.1:{17012 + offset}',
                     f'Balancer  http://127.0.0.1:{11223 + offset}', 'admin.invoke, pubapi',
                     f'zatotx start {self.path}', str(self.path / 'credentials.toml')):
            self.assertIn(text, said.out)
        keys = {(self.path / name / 'config' / 'secret.key').read_text()
                for name in ('server1', 'server2', 'server3', 'connector1')}  # fmt: skip
        self.assertEqual(len(keys), 1)
        self.assertEqual(zatotx('check-config', self.path).code, 0)

    def test_authority(self) -> None:
        """PATH/ca issues certificates for the load balancer's agent and its clients, and with --tls for the servers,
        which listen with them."""
        said = self.create('--tls', '--servers', 2, '--cluster-name', 'żółw/1', '--port-offset', free_offset())
        self.assertEqual(said.code, 0, said)
        self.assertIn('server2   https://127.0.0.1:', said.out)
        names = [line.split()[0] for line in zatotx('ca', 'list', self.path).out.splitlines()[1:]]
        self.assertEqual(names, ['lb-agent', 'web-admin', 'cli', 'w_1-server1', 'w_1-server2'])
        settings = tomllib.loads((self.path / 'server2' / 'config' / 'server.toml').read_text())
        self.assertIn(':privateKey=tls/zato-server-priv-key.pem:certKey=tls/zato-server-cert.pem:',
                      settings['http']['listen'][0])  # fmt: skip
        link = self.path / 'server2' / 'tls' / 'zato-server-cert.pem'
        self.assertTrue(link.resolve(strict=True).name.startswith('w_1-server2-cert-'))
        self.assertEqual(zatotx('check-config', self.path).code, 0)

    def test_agent_without_tls(self) -> None:
        """With --no-tls-agent the load balancer's agent listens without TLS, and otherwise with a certificate that
        leads to PATH/ca."""
        self.create('--no-tls-agent', '--port-offset', free_offset())
        settings = tomllib.loads((self.path / 'load-balancer' / 'config' / 'lb.toml').read_text())
        self.assertEqual((settings['agent']['enabled'], settings['agent']['certificate']), (True, ''))
        self.path = self.parent / 'second'
        self.create('--port-offset', free_offset())
        settings = tomllib.loads((self.path / 'load-balancer' / 'config' / 'lb.toml').read_text())
        for name in ('certificate', 'key', 'ca', 'crl'):
            file = (self.path / 'load-balancer' / settings['agent'][name]).resolve(strict=True)
            self.assertTrue(file.is_relative_to(self.path / 'ca'), file)

    def test_credentials(self) -> None:
        """Users, ports, and passwords that nothing else shows and no other environment shares."""
        first = self.create('--port-offset', 20500)
        made = tomllib.loads((self.path / 'credentials.toml').read_text())
        self.assertEqual(made['ports'], {'server1': 37510, 'server2': 37511, 'connector1': 37531,
                                         'load-balancer': 31723, 'lb-agent': 40651, 'web-admin': 28683})  # fmt: skip
        self.assertEqual([made[name]['username'] for name in ('web_admin', 'api', 'pubapi')],
                         ['admin', 'admin.invoke', 'pubapi'])
        passwords = {made[name]['password'] for name in ('web_admin', 'api', 'pubapi', 'break_glass')}
        self.assertEqual(len(passwords), 4)
        for password in passwords:
            self.assertTrue(re.fullmatch('[A-Za-z0-9]{32}', password), password)
            self.assertNotIn(password, first.out + first.err)
        self.assertRegex(first.out, 'Cluster   quickstart-[0-9a-f]{5}\n')

    def test_closed_to_others(self) -> None:
        """Whatever the umask, the database included."""
        before = os.umask(0)
        try:
            self.create()
        finally:
            os.umask(before)
        self.assertTrue((self.path / 'odb' / 'zatotx.db').is_file())
        self.assertEqual([str(entry) for entry in self.path.rglob('*') if not is_private(entry)], [])

    def test_it_may_be_moved(self) -> None:
        """Nothing in it says where it is."""
        self.create()
        moved = self.path.rename(self.parent / 'elsewhere')
        self.assertEqual(zatotx('odb', 'check', moved).code, 0)

    def test_wrong_usage_leaves_nothing(self) -> None:
        """Ports out of range, a database and a Redis of kinds that are not known, a place that is taken."""
        for options, expected in (
            (('--port-offset', 60000), 'out of range'),
            (('--odb-url', 'oracle://x/y'), '--odb-url'),
            (('--odb-url', 'nonsense'), '--odb-url'),
            (('--redis-url', 'http://x'), '--redis-url'),
        ):
            said = self.create(*options)
            self.assertEqual((said.code, len(sentences(said.err))), (2, 1), said)
            self.assertIn(expected, said.err)
            self.assertEqual(self.left(), [])
        self.create()
        said = self.create()
        self.assertEqual(said.code, 1)
        self.assertIn('is not empty', said.err)

    def test_a_database_that_has_such_a_cluster(self) -> None:
        """It is named, and neither environment nor database is changed."""
        database = self.parent / 'shared.db'
        options = ('--odb-url', f'sqlite:///{os.path.relpath(database)}', '--cluster-name', 'one')
        self.assertEqual(self.create(*options).code, 0)
        self.assertEqual(zatotx('odb', 'check', self.path).code, 0)
        self.path = self.parent / 'second'
        said = self.create(*options)
        self.assertEqual(said.code, 1)
        self.assertIn("'one'", said.err)
        self.assertEqual(self.left(), ['qs', 'shared.db'])

    def test_a_port_in_use_is_told(self) -> None:
        """It may be free by the time of the start, so it is a note."""
        with socket.create_server(('127.0.0.1', 0)) as taken:
            port = taken.getsockname()[1]
            said = self.create('--servers', 1, '--port-offset', port - 17010)
        self.assertEqual(said.code, 0, said)
        self.assertIn(f'port {port} is in use', said.err)

    def test_killed_at_any_moment(self) -> None:
        """After kill -9 there is a whole environment or none, and the next run cleans up and succeeds."""
        command = [ZATOTX, 'quickstart', 'create', str(self.path), '--servers', '1']
        for step in ('[1/', '[2/', '[3/', '[4/'):
            process = subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, 'PYTHONUNBUFFERED': '1'})
            assert process.stdout is not None
            stdout = process.stdout
            until(lambda stdout=stdout, step=step: stdout.readline().decode().startswith(step), step)  # type: ignore[misc]
            process.send_signal(signal.SIGKILL)
            process.wait(60)
            stdout.close()
            if self.path.exists():
                self.assertEqual(zatotx('check-config', self.path).code, 0)
                break
        said = self.create() if not self.path.exists() else zatotx('odb', 'check', self.path)
        self.assertEqual(said.code, 0, said)
        self.assertEqual([name for name in self.left() if name != 'qs'], [])
