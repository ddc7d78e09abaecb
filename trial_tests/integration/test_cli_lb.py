"""`zatotx lb`: commands that call the load balancer's agent."""

from __future__ import annotations

import json
import socket
from pathlib import Path

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from trial_tests.support.balancer_control import CONFIG, FakeBalancerControl
from trial_tests.support.command import Said, sentences, zatotx
from trial_tests.support.ports import free_port
from trial_tests.support.reactor import reactor
from zatotx.cli import load_balancer_commands
from zatotx.cli.environment.creation_plan import EnvironmentPlan
from zatotx.cli.environment.environment_authority import link_certificate, write_authority
from zatotx.lb.agent.agent_service import AgentService
from zatotx.lb.config import model


class LbTests(TestCase):
    """An environment with an authority and the settings of a load balancer, whose agent runs in this process."""

    timeout = 60.0

    def setUp(self) -> None:
        self.path = Path(self.mktemp()).absolute()
        self.path.mkdir()
        (self.path / 'credentials.toml').touch()
        plan = EnvironmentPlan(cluster='qs', servers=1, port_offset=0, odb_url='', redis_url='', key='', users={})
        write_authority(self.path, plan)
        self.directory = self.path / 'load-balancer'
        link_certificate(self.directory / 'tls-agent', 'zato-lba', 'lb-agent')
        (self.directory / 'config').mkdir()
        self.port = free_port()
        self.control = FakeBalancerControl()
        self.start()

    def start(self, **settings: str) -> None:
        values = {'listen': f'127.0.0.1:{self.port}', 'crl': 'tls-agent/zato-lba-crl.pem', **settings}
        text = '\n'.join(f'{key} = "{value}"' for key, value in values.items())
        (self.directory / 'config' / 'lb.toml').write_text(f'[agent]\nenabled = true\n{text}\n')
        self.agent = AgentService(model.AgentSettings(enabled=True, **values), self.directory, self.control, reactor)  # type: ignore[arg-type]
        self.agent.startService()
        self.addCleanup(self.agent.stopService)

    async def run_command(self, command: str, *args: object, stdin: bytes = b'') -> Said:
        said: Said = await deferToThread(zatotx, 'lb', command, self.path, *args, stdin=stdin)
        return said

    async def good(self, command: str, *args: object, stdin: bytes = b'') -> str:
        said = await self.run_command(command, *args, stdin=stdin)
        self.assertEqual((said.code, said.err), (0, ''), said.text)
        return said.out

    async def refused(self, command: str, *args: object) -> str:
        said = await self.run_command(command, *args)
        self.assertEqual((said.code, said.out), (1, ''), said.text)
        self.assertEqual(len(sentences(said.err)), 1, said.err)
        return said.err

    async def test_servers(self) -> None:
        """The servers are listed, drained, taken out and put back, for people and as JSON."""
        self.assertRegex(await self.good('servers'), r'(?m)^plain +server1 +UP +127\.0\.0\.1:17010 ')
        self.assertEqual(await self.good('drain', 'server1', 'server2'), 'server1, server2: no new clients.\n')
        rows = json.loads(await self.good('servers', '--format', 'json'))
        self.assertEqual([row['state'] for row in rows], ['DRAIN', 'DRAIN'])
        await self.good('maint', 'server1', '--backend', 'plain')
        self.assertEqual(json.loads(await self.good('ready', 'server2', '--format', 'json')),
                         {'servers': ['server2'], 'state': 'ready'})  # fmt: skip
        self.assertEqual([server.state for server in self.control.servers()], ['MAINT', 'UP'])
        self.assertIn('There is no server server9 (known: server1, server2)', await self.refused('drain', 'server9'))

    async def test_config(self) -> None:
        """The configuration is printed, validated, and applied from a file or a pipe; all mistakes are reported."""
        self.assertEqual(await self.good('config'), CONFIG)
        self.assertEqual(json.loads(await self.good('config', '--format', 'json'))['main']['cluster'], 'qs')
        file = self.path / 'new.toml'
        file.write_text(CONFIG.replace('round_robin', 'least_connections'))
        self.assertEqual(await self.good('validate', file), 'The configuration is valid.\n')
        self.assertEqual(self.control.source, CONFIG)
        self.assertEqual(await self.good('apply', file), 'The configuration is in force.\n')
        self.assertEqual(self.control.source, file.read_text())
        await self.good('apply', '-', stdin=CONFIG.encode())
        self.assertEqual(self.control.source, CONFIG)
        file.write_text(CONFIG.replace('host = "127.0.0.1"', ''))
        said = await self.refused('apply', file)
        self.assertIn('The configuration is not valid, 2 errors:\n  backends.plain.servers.server1.host', said)
        self.assertIn('does not exist', await self.refused('validate', self.path / 'missing.toml'))

    async def test_show(self) -> None:
        """Information and statistics have HAProxy's form."""
        self.assertIn('Pid: 42\n', await self.good('show', 'info'))
        self.assertTrue((await self.good('show', 'stat')).startswith('# pxname,svname,'))

    async def test_all_addresses(self) -> None:
        """An agent that listens on all addresses is called on the loopback address, which is in its certificate."""
        stopping = self.agent.stopService()
        assert stopping is not None
        await stopping
        self.start(listen=f'0.0.0.0:{self.port}')
        self.assertIn('server1', await self.good('servers'))

    async def test_without_tls(self) -> None:
        """An agent without TLS is called without TLS."""
        stopping = self.agent.stopService()
        assert stopping is not None
        await stopping
        self.start(certificate='')
        self.assertIn('server1', await self.good('servers'))

    async def test_refused_certificates(self) -> None:
        """A revoked certificate is refused, in one sentence; another one of the authority can be given."""
        zatotx('ca', 'revoke', self.path, 'cli')
        self.assertIn('does not accept our client certificate', await self.refused('servers'))
        out = self.path / 'ca'
        options = ('--cert', out / 'out-cert' / 'web-admin-cert.pem', '--key', out / 'out-priv' / 'web-admin-priv.pem')
        self.assertIn('server1', await self.good('servers', *options))

    async def test_missing_files(self) -> None:
        """A missing client certificate is named with the command that creates one."""
        (self.path / 'ca' / 'out-cert' / 'cli-cert.pem').unlink()
        self.assertIn("create it with 'zatotx ca create client PATH cli'", await self.refused('servers'))

    async def test_other_authority(self) -> None:
        """An agent with a certificate of another authority is not talked to."""
        other = self.path / 'other'
        zatotx('ca', 'create', 'ca', other)
        said = await self.refused('servers', '--ca', other / 'ca-material' / 'ca-cert.pem')
        self.assertIn('The certificate of the agent at https://127.0.0.1:', said)

    async def test_unreachable(self) -> None:
        """An agent that does not run, or is frozen, is named with its address."""
        said = await self.refused('servers', '--address', f'127.0.0.1:{free_port()}')
        self.assertIn('is unreachable: Connection refused; is the load balancer running', said)
        with socket.create_server(('127.0.0.1', 0)) as frozen:
            self.patch(load_balancer_commands, 'TIMEOUT', 0.3)
            said = await self.refused('servers', '--address', f'127.0.0.1:{frozen.getsockname()[1]}')
            self.assertIn('timed out', said)
        self.assertIn('it must be HOST:PORT', await self.refused('servers', '--address', 'x'))

    async def test_another_program(self) -> None:
        """What is no agent is not taken for one."""
        with socket.create_server(('127.0.0.1', 0)) as listener:
            port = listener.getsockname()[1]

            def answer() -> None:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(1000)
                    connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}')

            answering = deferToThread(answer)
            said = await self.refused('servers', '--address', f'127.0.0.1:{port}')
            self.assertIn(f'The agent at https://127.0.0.1:{port}', said)
            await answering
