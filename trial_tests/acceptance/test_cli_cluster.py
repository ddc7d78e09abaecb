"""What the command line asks of a running cluster, and of one that does not run."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.broker import Broker, create, shared
from trial_tests.support.command import Said, sentences, zatotx
from trial_tests.support.waiting import until
from zatotx.odb import offline_operations

MODULE = """
    from zatotx import Service

    class One(Service):
        name = 'cli.{name}'

        async def handle(self):
            self.response.payload = {{'version': {version}, 'sent': self.request.payload}}
"""
PACKAGE = {
    '__init__.py': 'from .inner import Two',
    'inner.py': "from zatotx import Service\n\nclass Two(Service):\n    name = 'cli.two'\n\n"
                "    async def handle(self):\n        self.response.payload = {'package': True}\n",
}
CHANNEL = """
    security:
      - {name: cli.user, type: basic_auth, username: cli.user, realm: API, password: "${CLI_PASSWORD}"}
    channel_rest:
      - {name: cli.open, url_path: /cli/open, service: cli.open, security: cli.user, data_format: json}
"""


class ClusterTests(SynchronousTestCase):
    """One environment of one server that runs when a test begins. Each test has a service of its own."""

    def setUp(self) -> None:
        self.broker: Broker = shared('cluster', create)
        self.path = self.broker.path
        self.good('start')

    def run_on(self, command: str, *args: object, **more: object) -> Said:
        return zatotx(*command.split(), self.path, *args, **more)  # type: ignore[arg-type]

    def good(self, command: str, *args: object, **more: object) -> str:
        said = self.run_on(command, *args, **more)
        self.assertEqual(said.code, 0, said)
        return said.out

    def fails(self, command: str, *args: object, **more: object) -> str:
        said = self.run_on(command, *args, **more)
        self.assertEqual((said.code, len(sentences(said.err))), (1, 1), said)
        self.assertNotIn('Traceback', said.err)
        return said.err

    def module(self, name: str, version: int = 1) -> Path:
        return self.broker.write(f'{name}.py', MODULE.format(name=name, version=version))

    def test_deploying_and_invoking(self) -> None:
        """A deployed file serves the next request; versions go back and forth; a bad file is named with its line and
        changes nothing."""
        self.assertIn('one.py version 1: cli.one', self.good('hot-deploy', self.module('one')))
        self.assertEqual(json.loads(self.good('service invoke', 'cli.one', '--payload', '[1]')),
                         {'version': 1, 'sent': [1]})
        self.good('hot-deploy', self.module('one', 2))
        self.assertEqual(json.loads(self.good('service invoke', 'cli.one'))['version'], 2)
        self.assertIn('one.py version 1', self.good('service rollback', 'cli.one'))
        self.assertEqual(json.loads(self.good('service invoke', 'cli.one'))['version'], 1)
        self.good('service rollback', 'one.py', '--to', 2)
        self.assertIn('one.py:2', self.fails('hot-deploy', self.broker.write('one.py', 'import os\nclass X(')))
        self.assertEqual(json.loads(self.good('service invoke', 'cli.one'))['version'], 2)
        self.assertIn('99', self.fails('service rollback', 'cli.one', '--to', 99))

    def test_packages(self) -> None:
        """A directory is deployed as a package; one that is none is refused before anything is sent."""
        package = self.broker.path.parent / 'input' / 'pack'
        package.mkdir(parents=True)
        self.assertIn('__init__.py', self.fails('hot-deploy', package))
        for name, text in PACKAGE.items():
            (package / name).write_text(text)
        self.assertIn('cli.two', self.good('hot-deploy', package))
        self.assertEqual(json.loads(self.good('service invoke', 'cli.two')), {'package': True})

    def test_a_file_that_is_not_there(self) -> None:
        """It is named, and none of the others is deployed."""
        self.assertIn('nowhere.py', self.fails('hot-deploy', self.module('beside'), '/nowhere.py'))
        self.assertNotIn('cli.beside', self.good('service list'))

    def test_listing(self) -> None:
        """What was deployed; with --all the broker's own; as JSON for programs."""
        self.good('hot-deploy', self.module('listed'))
        self.assertIn('listed.py version 1', self.good('service list'))
        self.assertNotIn('zato.ping', self.good('service list'))
        rows = json.loads(self.good('service list', '--all', '--format', 'json'))
        self.assertEqual(sorted(row['name'] for row in rows), [row['name'] for row in rows])
        self.assertTrue({'cli.listed', 'zato.ping'} <= {row['name'] for row in rows})

    def test_payload_from_a_pipe_and_headers(self) -> None:
        """`-` reads standard input, `@FILE` a file; headers go along."""
        self.good('hot-deploy', self.module('piped'))
        options = ('--payload', '-', '--headers', 'X-A=b=c')
        out = self.good('service invoke', 'cli.piped', *options, stdin='{"a": "ó"}'.encode())
        self.assertEqual(json.loads(out)['sent'], {'a': 'ó'})
        file = self.broker.write('payload.json', '{"b": 1}')
        out = self.good('service invoke', 'cli.piped', '--payload', f'@{file}')
        self.assertEqual(json.loads(out)['sent'], {'b': 1})
        self.assertIn("did you mean 'cli.piped'?", self.fails('service invoke', 'cli.pipd'))

    def test_any_part_serves(self) -> None:
        """What concerns the cluster may be asked of Redis's directory too."""
        self.assertEqual(zatotx('service', 'invoke', self.path / 'redis', 'zato.ping').code, 0)

    def test_enmasse(self) -> None:
        """Nothing on a dry run; live on return; the same again changes nothing; the export imports back."""
        self.good('hot-deploy', self.module('open'))
        file = self.broker.write('cli.yaml', CHANNEL)
        env = {'CLI_PASSWORD': 's3cret'}
        self.assertIn('Would change 2 objects', self.good('enmasse', '--import', '--input', file, '--dry-run', env=env))
        self.assertEqual(self.broker.ask('POST', '/cli/open').status, 404)
        self.assertIn('Changed 2 objects', self.good('enmasse', '--import', '--input', file, env=env))
        self.assertEqual(self.broker.ask('POST', '/cli/open').status, 401)
        strangers = self.broker.write('open.yaml', CHANNEL.replace('security: cli.user', 'security: null'))
        report = self.good('enmasse', '--import', '--input', strangers, '--dry-run', env=env)
        opened = "Open to anyone, because neither security nor groups are set: channel_rest 'cli.open'."
        self.assertIn(f"channel_rest 'cli.open': security: 'cli.user' → None\n{opened}\nWould change 1", report)
        self.assertIn('Changed 0 objects, left 2', self.good('enmasse', '--import', '--input', file, env=env))
        missing = self.path / 'no' / 'such.yaml'
        self.assertIn(f'directory: {missing}\n', zatotx('enmasse', self.path, '--export', '--output', missing).err)
        exported = self.good('enmasse', '--export')
        self.assertNotIn('s3cret', exported)
        target = self.path.parent / 'all.yaml'
        self.good('enmasse', '--export', '--include-secrets', '--output', target)
        self.assertIn('Changed 0 objects', self.good('enmasse', '--import', '--input', '-', stdin=target.read_bytes()))

    def test_enmasse_names_all_mistakes_at_once(self) -> None:
        """Missing variables and what the cluster finds, a line each; a file that cannot be read."""
        self.good('hot-deploy', self.module('opened'))
        file = self.broker.write('cli.yaml', CHANNEL.replace('service: cli.open', 'service: cli.openned, colour: red'))
        first, *lines = self.fails('enmasse', '--import', '--input', file).splitlines()
        self.assertEqual(first, f'Error: {file} has 3 errors, nothing was imported:')
        self.assertEqual(sorted(lines), [
            "  channel_rest 'cli.open': colour: unknown, did you mean cors?",
            "  channel_rest 'cli.open': service: there is no service called 'cli.openned', did you mean 'cli.opened'?",
            "  security 'cli.user': password: the environment has no variable 'CLI_PASSWORD'",
        ])
        only = self.broker.write('only.yaml', '''
            security:
              - {name: cli.only, type: basic_auth, username: cli.only, password: "${CLI_PASSWORD}"}
        ''')
        self.assertIn('CLI_PASSWORD', self.fails('enmasse', '--import', '--input', only))
        self.assertNotIn('cli.only', self.good('enmasse', '--export'))
        self.assertIn('/nowhere.yaml', self.fails('enmasse', '--import', '--input', '/nowhere.yaml'))
        self.assertEqual(self.run_on('enmasse', '--import').code, 2)

    def test_info(self) -> None:
        """Cluster, parts and kinds, for people and for programs."""
        facts = json.loads(self.good('info', '--format', 'json'))
        self.assertEqual(facts['kinds']['http'], {'enabled': True})
        self.assertEqual([part['name'] for part in facts['components']], ['redis', 'server1'])
        self.assertEqual(facts['server']['name'], 'server1')
        self.assertIn('leader', facts['cluster'])
        self.assertIn(facts['cluster']['name'], self.good('info'))

    def test_passwords_of_a_running_cluster(self) -> None:
        """In force at once, in credentials.toml too; other users have no place there; unknown ones are named."""
        self.good('update password', 'admin.invoke', '--password', 'first "one"')
        self.good('service invoke', 'zato.ping')
        self.good('update password', 'pubapi', stdin=b'from a pipe\n')
        self.good('update password', 'admin', '--password', 'of the web admin')
        login = {'username': 'admin', 'password': 'of the web admin'}
        self.assertEqual(self.broker.ask('POST', '/zato/admin/login', body=json.dumps(login).encode()).status, 200)
        self.assertIn('reference', self.fails('update password', 'pubapi', stdin=b'${PUBAPI}'))
        self.assertEqual(self.credentials()['pubapi']['password'], 'from a pipe')
        self.assertEqual(
            self.broker.ask('POST', '/zato/json/zato.ping', fields=self.broker.pubapi(), body=b'{}').status, 200
        )
        self.assertIn("'nobody'", self.fails('update password', 'nobody', stdin=b'x'))
        self.assertEqual(self.run_on('update password', 'pubapi', stdin=b'').code, 2)

    def credentials(self) -> dict[str, dict[str, str]]:
        return tomllib.loads((self.path / 'credentials.toml').read_text())

    def test_passwords_while_stopped(self) -> None:
        """Written to the database, and known after the start."""
        self.good('stop')
        self.assertIn("'nobody'", self.fails('update password', 'nobody', stdin=b'x'))
        self.good('update password', 'admin.invoke', '--password', 'while stopped')
        self.good('start')
        self.assertIn('pong', self.good('service invoke', 'zato.ping'))

    def test_a_password_that_the_cluster_does_not_know(self) -> None:
        """The sentence says how to make them agree again, and that works while the cluster runs."""
        file = self.path / 'credentials.toml'
        file.write_text(file.read_text().replace(self.credentials()['api']['password'], 'forgotten'))
        self.assertIn('zatotx update password', self.fails('service list'))
        self.assertIn('within 2 s', self.good('update password', 'admin.invoke', '--password', 'known again'))
        until(lambda: self.run_on('service list').code == 0, 'the new password')

    def test_nothing_runs(self) -> None:
        """What needs a server says so, and how to start one."""
        self.good('stop')
        for command, *args in (('service invoke', 'zato.ping'), ('service list',), ('hot-deploy', self.module('one')),
                               ('enmasse', '--export'), ('service rollback', 'cli.one')):
            self.assertIn(f'zatotx start {self.path}', self.fails(str(command), *args))
        self.assertEqual(json.loads(self.good('info', '--format', 'json'))['server'], None)
        self.assertIn('server1', self.good('component-version'))

    def test_upgrading(self) -> None:
        """Servers must be stopped if they cannot use the tables of the new version."""
        incompatible = self.patch(offline_operations, 'COMPATIBLE_SINCE', '9999')
        self.assertIn('server1 must be stopped first', self.fails('odb upgrade'))
        incompatible.restore()
        self.assertIn('Nothing to do', self.good('odb upgrade'))
        self.good('stop')
        self.assertEqual(self.good('odb current'), 'current\n')
        self.assertIn('objects at revision', self.good('odb check'))
