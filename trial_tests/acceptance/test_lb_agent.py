"""The agent of a load balancer that runs as in production, with the certificates that quickstart has created."""

from __future__ import annotations

import json
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.broker import create, remove
from trial_tests.support.command import Said
from trial_tests.support.waiting import until
from zatotx.tap.lb import PID_FILE


class AgentTests(SynchronousTestCase):
    """A load balancer without servers."""

    def setUp(self) -> None:
        self.broker = create(parts=('load-balancer',))
        self.addCleanup(remove, self.broker)
        self.directory = self.broker.path / 'load-balancer'
        self.broker.must('start', str(self.directory))

    def run_command(self, *words: object) -> Said:
        return self.broker.run(*map(str, words))

    def states(self) -> dict[str, str]:
        said = self.run_command('lb', 'servers', self.broker.path, '--format', 'json')
        self.assertEqual(said.code, 0, said.text)
        return {row['name']: row['state'] for row in json.loads(said.out)}

    def log(self) -> str:
        return ''.join(path.read_text() for path in Path(self.directory / 'logs').glob('*.log'))

    def until_logged(self, part: str) -> None:
        """The log is written with a delay."""
        until(lambda: part in self.log(), f'{part!r} in the log')

    def test_administration(self) -> None:
        """A server is taken out, a configuration is applied without losing its comments, and certificates are renewed
        and revoked, all of it without a restart. After one, the server is still out."""
        path, pid_file = self.broker.path, self.directory / PID_FILE
        pid = pid_file.read_text()
        self.broker.must('lb', 'maint', str(path), 'server1')
        self.assertEqual(self.states(), {'server1': 'MAINT'})
        self.until_logged('CN=cli set the server server1 of bck_http_plain to maint')

        source = self.run_command('lb', 'config', path).out
        edited = self.broker.path / 'edited.toml'
        edited.write_text(source.replace('interval = 1', 'interval = "x"'))
        self.assertIn('interval', self.run_command('lb', 'apply', path, edited).err)
        edited.write_text(source.replace('"least_connections"', '"round_robin"'))
        self.broker.must('lb', 'apply', str(path), str(edited))
        self.assertEqual((self.directory / 'config' / 'lb.toml').read_text(), edited.read_text())

        self.broker.must('ca', 'renew', str(path), 'lb-agent', 'cli')
        self.states()
        self.until_logged('New connections use the certificates that are on disk now')
        self.broker.must('ca', 'revoke', str(path), 'cli')
        refused = self.run_command('lb', 'servers', path)
        self.assertEqual(refused.code, 1)
        self.assertIn('does not accept our client certificate: it was revoked', refused.err)
        self.until_logged("the certificate 'CN=cli' (serial ")
        self.broker.must('ca', 'create', 'client', str(path), 'cli')
        self.states()
        self.assertEqual(pid_file.read_text(), pid)

        self.broker.must('stop', str(self.directory))
        self.broker.must('start', str(self.directory))
        self.assertEqual(self.states(), {'server1': 'MAINT'})
