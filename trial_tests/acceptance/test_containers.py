"""`zatotx run`: a cluster whose components are created from environment variables, as contrib/compose.yaml sets them.

No container engine runs here: each service of the compose file is a process in a directory of its own, with the command
and the environment of that service. Names of hosts are replaced by loopback addresses.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import tomlkit
import yaml
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support import postgresql
from trial_tests.support.broker import SCRIPTS
from trial_tests.support.command import zatotx
from trial_tests.support.ports import free_port
from trial_tests.support.rawhttp import NoAnswer, ask, basic
from trial_tests.support.valkey import Valkey
from trial_tests.support.waiting import until

CONTRIB = Path(__file__).resolve().parents[2] / 'contrib'
COMPONENTS = ('server1', 'server2', 'connector1', 'load-balancer', 'web-admin')
_VARIABLE = re.compile(r'\$\{(\w+)(?::([-?])([^}]*))?\}')
_INHERITED = ('PATH', 'HOME', 'LANG', 'COVERAGE_PROCESS_START')


def new_secrets() -> dict[str, str]:
    """Return what contrib/new-secrets prints."""
    command = ['sh', str(CONTRIB / 'new-secrets')]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return dict(line.split('=', 1) for line in printed.stdout.splitlines())


def interpolate(text: str, values: dict[str, str]) -> str:
    """Replace variables as compose does. Raises KeyError for a required one that is not set."""

    def replacement(match: re.Match[str]) -> str:
        name, operator, rest = match.groups()
        return values.get(name) or (rest if operator == '-' else values[name])

    return _VARIABLE.sub(replacement, text)


def status(port: int, path: str) -> int:
    """Return the status of a GET; 0 if there is no response."""
    try:
        return ask(port, 'GET', path, fields={'Host': '127.0.0.1'}).status
    except (NoAnswer, OSError):
        return 0


class Container:
    """One service of the compose file as a process."""

    def __init__(self, name: str, service: dict[str, Any], directory: Path, environment: dict[str, str]) -> None:
        self.name, self.directory = name, directory
        self.port = int(environment['ZATOTX_LISTEN'].rpartition(':')[2])
        inherited = {key: os.environ[key] for key in _INHERITED if key in os.environ}
        directory.mkdir()
        self.log = directory / 'log'
        with self.log.open('wb') as log:
            self.process = subprocess.Popen(
                [str(SCRIPTS / 'zatotx'), *service['command'], '--dir', str(directory / 'env')],
                env={**inherited, **environment}, cwd=directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    def stop(self) -> int:
        """End it as a container engine does, and return its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait(60)


class ComposeTests(SynchronousTestCase):
    """The whole compose file; PostgreSQL and Redis are those of the tests."""

    def setUp(self) -> None:
        self.secrets = new_secrets()
        self.directory = Path(tempfile.mkdtemp(prefix='zatotx-test-containers-'))
        self.addCleanup(shutil.rmtree, self.directory)

    def start_stores(self) -> None:
        """Start PostgreSQL and Redis, and choose the ports of all components."""
        self.redis = Valkey('--requirepass', self.secrets['REDIS_PASSWORD'], net='port')
        self.addCleanup(self.redis.close)
        self.redis.start()
        self.services = yaml.safe_load((CONTRIB / 'compose.yaml').read_text('utf-8'))['services']
        self.ports = {name: free_port() for name in (*COMPONENTS, 'agent')}
        self.odb_url = postgresql.shared().fresh()

    def start(self, name: str) -> Container:
        """Start a service of the compose file."""
        environment = {key: self.located(interpolate(str(value), self.secrets))
                       for key, value in self.services[name]['environment'].items()}  # fmt: skip
        environment['ZATOTX_LISTEN'] = f'127.0.0.1:{self.ports[name]}'
        if 'ZATOTX_AGENT' in environment:
            environment['ZATOTX_AGENT'] = f'127.0.0.1:{self.ports["agent"]}'
            environment['ZATOTX_AGENT_CLIENTS'] = str(self.directory / 'agent-clients')
        container = Container(name, self.services[name], self.directory / name, environment)
        self.addCleanup(container.stop)
        return container

    def located(self, text: str) -> str:
        """Replace the names of hosts."""
        if text.startswith('postgresql'):
            return self.odb_url
        text = text.replace('@redis:6379', f'@127.0.0.1:{self.redis.port}')
        return re.sub(r'\b(server\d):17010', lambda match: f'127.0.0.1:{self.ports[match[1]]}', text)

    def wait_for_status(self, container: Container, path: str) -> None:
        """Wait until a component responds with 200."""
        try:
            until(lambda: status(container.port, path) == 200, container.name, 120)
        except AssertionError as error:
            raise AssertionError(f'{error}: {container.log.read_text()}') from None

    def serving_server(self) -> str:
        """Return the name of the server that handles a request to the load balancer."""
        answer = ask(self.ports['load-balancer'], 'POST', '/zato/api/invoke/zato.info.get-server-info',
                     fields=basic('admin.invoke', self.secrets['ZATOTX_API_PASSWORD']), body=b'{}')  # fmt: skip
        return str(answer.json()['zato_info_get_server_info_response'].get('name'))

    def check_agent(self) -> None:
        """The agent of the load balancer answers commands in its container, and the web admin, which has no more than
        its own certificate."""
        clients = self.directory / 'agent-clients'
        self.assertEqual({path.name: path.stat().st_mode & 0o777 for path in clients.iterdir()}, {
            'web-admin-cert.pem': 0o600, 'web-admin-priv-key.pem': 0o600, 'web-admin-ca-certs.pem': 0o600,
        })  # fmt: skip
        settings = tomlkit.parse((self.directory / 'web-admin/env/web-admin/config/admin.toml').read_text())
        found = settings['load_balancer'].unwrap()
        self.assertEqual(found['agent'], f'https://127.0.0.1:{self.ports["agent"]}')
        files = ('--cert', found['certificate'], '--key', found['key'], '--ca', found['ca'])
        for options in ((), files):
            said = zatotx('lb', 'servers', str(self.directory / 'load-balancer' / 'env'), *options)
            self.assertEqual(said.code, 0, said.text)
            self.assertRegex(said.text, r'server1 [^\n]*UP[^\n]*\n[^\n]*server2 [^\n]*UP')

    def test_whole_cluster(self) -> None:
        """All components start at once and find each other; the load balancer sends requests to both servers, and its
        agent answers; SIGTERM ends each of them with status 0; no secret is in a log."""
        self.start_stores()
        containers = {name: self.start(name) for name in COMPONENTS}
        for name, path in (('server1', '/zato/ready'), ('server2', '/zato/ready'), ('connector1', '/zato/ready'),
                           ('load-balancer', '/zato/ping'), ('web-admin', '/login')):  # fmt: skip
            self.wait_for_status(containers[name], path)
        until(lambda: {self.serving_server() for _ in range(10)} >= {'server1', 'server2'}, 'both servers behind it')
        self.check_agent()
        for name in COMPONENTS:
            self.assertEqual(containers[name].stop(), 0, containers[name].log.read_text())
        for container in containers.values():
            for file in (container.log, *(container.directory / 'env').glob('*/logs/*')):
                for variable, secret in self.secrets.items():
                    self.assertNotIn(secret, file.read_text('utf-8', 'replace'), (variable, file))

    def test_settings_follow_the_environment(self) -> None:
        """A component that exists keeps its other settings; what variables say is set anew, and secrets are encrypted
        or readable by the owner only."""
        variables = {'ZATOTX_NAME': 'server1', 'ZATOTX_ODB_URL': 'postgresql+psycopg://u:old-pw@h/d',
                     'ZATOTX_REDIS_URL': 'redis://h:1', 'ZATOTX_SECRET_KEY': self.secrets['ZATOTX_SECRET_KEY'],
                     'ZATOTX_ADMIN_PASSWORD': 'a', 'ZATOTX_API_PASSWORD': 'b'}  # fmt: skip
        secret = self.directory / 'pubapi'
        secret.write_text('from-a-file\n')
        variables['ZATOTX_PUBAPI_PASSWORD_FILE'] = str(secret)
        words = ('run', 'server', '--prepare', '--dir', str(self.directory))
        self.assertEqual(zatotx(*words, env=variables).code, 0)
        file = self.directory / 'server1' / 'config' / 'server.toml'
        first = file.read_text()
        self.assertNotIn('old-pw', first)
        self.assertIn('password = "from-a-file"', (self.directory / 'credentials.toml').read_text())
        edited = tomlkit.parse(first)
        edited['shutdown']['grace'] = 77
        file.write_text(tomlkit.dumps(edited))
        self.assertEqual(zatotx(*words, env=variables).code, 0)
        self.assertEqual(file.read_text(), tomlkit.dumps(edited))
        self.assertEqual(zatotx(*words, env={**variables, 'ZATOTX_LISTEN': '[::1]:9'}).code, 0)
        again = tomlkit.parse(file.read_text())
        self.assertEqual(again['http']['listen'], ['tcp:port=9:interface=\\:\\:1'])
        self.assertEqual(again['shutdown']['grace'], 77)
        self.assertEqual({path.stat().st_mode & 0o077 for path in file.parent.iterdir()}, {0})

    def test_mistakes(self) -> None:
        """All mistakes are named at once, without secrets."""
        said = zatotx('run', 'server', '--dir', str(self.directory), env={
            'ZATOTX_NAME': '../x', 'ZATOTX_LISTEN': '17010', 'ZATOTX_WORKERS': '0', 'ZATOTX_SECRET_KEY': 'not-a-key-9',
            'ZATOTX_API_PASSWORD_FILE': '/no/such/file', 'ZATOTX_ODB_URL': 'sqlite:////tmp/x',
        })  # fmt: skip
        self.assertEqual(said.code, 1)
        for part in ("ZATOTX_NAME: '../x'", "ZATOTX_LISTEN: '17010'", 'ZATOTX_WORKERS must be 1 to 64',
                     'ZATOTX_REDIS_URL is missing', 'ZATOTX_SECRET_KEY: ', 'ZATOTX_ADMIN_PASSWORD is missing',
                     'ZATOTX_API_PASSWORD_FILE: /no/such/file cannot be read'):  # fmt: skip
            self.assertIn(part, said.text)
        self.assertNotIn('not-a-key-9', said.text)
        self.assertEqual(list(self.directory.iterdir()), [])
        said = zatotx('run', 'web-admin', env={'ZATOTX_SERVERS': 'a:1', 'ZATOTX_AGENT': 'a:2'})
        self.assertIn('ZATOTX_AGENT_CLIENTS is missing', said.text)
        said = zatotx('run', 'load-balancer', env={'ZATOTX_SERVERS': 'server1,server2:x'})
        self.assertIn("ZATOTX_SERVERS: 'server1' is not HOST:PORT", said.text)
        self.assertIn("ZATOTX_SERVERS: 'server2:x' is not HOST:PORT", said.text)
