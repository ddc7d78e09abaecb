"""Tests of `zatotx create load-balancer` and `zatotx lb export`."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.command import zatotx
from zatotx.lb.config.parser import parse_configuration


class CreateTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp()).absolute()

    def test_load_balancer(self) -> None:
        """It is complete and valid, only its owner can read it, and its statistics have a password of their own."""
        said = zatotx('create', 'load-balancer', self.path, '--server', '10.0.0.1:17010', '--server', '[::1]:17011',
                      '--cluster-name', 'prod', '--port', 11300)  # fmt: skip
        self.assertEqual(said.code, 0, said)
        self.assertIn('http://127.0.0.1:11300', said.out)
        configuration, errors = parse_configuration((self.path / 'config' / 'lb.toml').read_text(), self.path)
        self.assertEqual(errors, [])
        assert configuration is not None
        servers = configuration.backends['bck_http_plain'].servers
        self.assertEqual({name: (server.host, server.port) for name, server in servers.items()},
                         {'server1': ('10.0.0.1', 17010), 'server2': ('::1', 17011)})
        self.assertEqual((configuration.main.cluster, len(configuration.stats.password)), ('prod', 32))
        for file in self.path.rglob('*'):
            self.assertEqual(file.stat().st_mode & 0o077, 0, file)
        exported = zatotx('lb', 'export', self.path, '--for', 'haproxy')
        self.assertIn('server server2 [::1]:17011', exported.out)

    def test_wrong_usage(self) -> None:
        """What is no server, a name that cannot be quoted, and a directory that is taken are told, and nothing is
        created."""
        for words, expected in (
            (('--server', '10.0.0.1'), "'10.0.0.1' is not HOST:PORT"),
            (('--server', 'a b:1'), 'is not HOST:PORT'),
            (('--server', 'h:70000'), 'is not HOST:PORT'),
            (('--cluster-name', 'a"b'), '--cluster-name'),
            (('--port', 0), '--port'),
        ):
            said = zatotx('create', 'load-balancer', self.path, *words)
            self.assertEqual(said.code, 2, said)
            self.assertIn(expected, said.err)
            self.assertFalse(self.path.exists())
        self.path.mkdir()
        (self.path / 'file').touch()
        said = zatotx('create', 'load-balancer', self.path)
        self.assertEqual(said.code, 1)
        self.assertIn('is not empty', said.err)

    def test_export_of_errors(self) -> None:
        """A configuration with errors is not exported: they are told."""
        self.assertEqual(zatotx('create', 'load-balancer', self.path).code, 0)
        file = self.path / 'config' / 'lb.toml'
        file.write_text(file.read_text().replace('rise = 2', 'rise = 0'))
        said = zatotx('lb', 'export', self.path, '--for', 'envoy')
        self.assertEqual((said.code, said.out), (1, ''))
        self.assertIn('backends.bck_http_plain.check.rise', said.err)
