"""Outgoing FTP connections and pollers in real servers: configuration, live edits, ping, metrics, findings."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support import ftp_servers
from trial_tests.support.broker import Broker, create, shared
from trial_tests.support.ftp_servers import PASSWORD, USER, Pyftpdlib, Vsftpd
from trial_tests.support.killing import arm, kill_environment, wait_for_kill
from trial_tests.support.ports import free_port
from trial_tests.support.waiting import allowed, until

SERVICES = '''
import json

from zatotx import Service


class Async(Service):
    name = 'ftp.async'

    async def handle(self):
        async with self.out.ftp['Files'].open('async/x', 'wb') as file:
            await file.write(b'async')
        self.response.payload = (await self.out.ftp['Files'].getcontents('async/x')).decode()


class Blocking(Service):
    name = 'ftp.def'

    def handle(self):
        files = self.outgoing.ftp.get('Files')
        with files.open('def/x', 'w') as file:
            file.write('def')
        with files.open('def/x') as file:
            self.response.payload = b''.join(file).decode()


class Kept(Service):
    name = 'ftp.kept'

    async def handle(self):
        files = self.out.ftp['Kept']
        await files.makedir('kept')
        for name in ('a', 'b'):
            await files.setcontents(f'kept/{name}.part', name)
            await files.rename(f'kept/{name}.part', f'kept/{name}')
        await files.remove('kept/b')
        self.response.payload = await files.setcontents('kept/last', '')


class Noted(Service):
    name = 'ftp.noted'

    def handle(self):
        file = self.request.payload
        self.outgoing.ftp.get('Files').appendcontents('noted', json.dumps({**file, 'node': self.server.name}) + chr(10))


class Received(Service):
    name = 'ftp.received'
    input = 'name', 'path', 'sha256'

    def handle(self):
        with open(self.request.input.path, encoding='utf-8') as file:
            content = file.read()
        if content == 'poison':
            raise ValueError(content)
        self.outgoing.ftp.get('Files').setcontents(f'received/{self.request.input.name}', content.upper())
'''


def connection(port: int, **fields: object) -> dict[str, object]:
    """The connection of the tests."""
    return {'name': 'Files', 'host': '127.0.0.1', 'port': port, 'user': USER, 'password': PASSWORD, **fields}


def start(broker: Broker) -> None:
    """Start the servers that do not run; all of them end where `arm` says."""
    broker.must('start', str(broker.path), env=kill_environment(broker))


def build() -> Broker:
    """Two servers with the services of these tests."""
    broker = create(servers=2)
    start(broker)
    broker.serve('ftp_services.py', SERVICES)
    channels = [{'name': f'ftp.{kind}', 'url_path': f'/ftp/{kind}', 'service': f'ftp.{kind}', 'security': None}
                for kind in ('async', 'def')]  # fmt: skip
    for directory in ('async', 'def', 'received', 'inbox'):
        ftp_servers.pyftpdlib().write(f'{directory}/keep', b'')
    broker.configure(json.dumps({
        'channel_rest': channels, 'outgoing_ftp': [connection(ftp_servers.pyftpdlib().port)],
    }))  # fmt: skip
    return broker


class FtpTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.broker = shared('ftp', build)
        self.root = ftp_servers.pyftpdlib().root

    def configure(self, **fields: object) -> None:
        """Edit the connection."""
        port = fields.pop('port', ftp_servers.pyftpdlib().port)
        assert isinstance(port, int)
        self.broker.configure(json.dumps({'outgoing_ftp': [connection(port, **fields)]}))

    def test_services(self) -> None:
        """Both sorts of services read and write files; ping and metrics know the connection by its name; the password
        is in no export."""
        self.configure()
        for kind in ('async', 'def'):
            self.assertEqual(self.broker.ask('GET', f'/ftp/{kind}').body.decode(), kind)
            self.assertEqual((self.root / kind / 'x').read_text(), kind)
        said = self.broker.must('service', 'invoke', str(self.broker.path), 'zato.outgoing.ftp.ping', '--payload',
                                '{"name": "Files"}')  # fmt: skip
        self.assertIn('Sent NOOP, received 200', said)
        metrics = self.broker.ask('GET', '/zato/metrics', fields=self.broker.admin()).body.decode()
        self.assertIn('zatotx_outgoing_calls_total{connection="Files",type="ftp"}', metrics)
        self.assertNotIn(PASSWORD, self.broker.must('enmasse', str(self.broker.path), '--export'))

    def test_live_edit(self) -> None:
        """An edit is in force at once; a connection that does not work is a finding, until it does."""
        self.configure(port=free_port())
        answer = self.broker.ask('GET', '/ftp/async')
        self.assertEqual(answer.status, 503)
        self.assertIn('Outgoing connection Files (ftp) cannot be used: nobody is at its address', answer.body.decode())
        self.assertIn('Files (ftp): its last call failed', self.broker.run('doctor', str(self.broker.path)).text)
        self.configure(timeout=5)
        self.assertEqual(self.broker.ask('GET', '/ftp/async').status, 200)
        self.assertNotIn('Files (ftp)', self.broker.run('doctor', str(self.broker.path)).text)

    def test_frozen_server(self) -> None:
        """Calls on a frozen server end in 504 at the connection's timeout; the broker answers others meanwhile."""
        server = Vsftpd()
        self.addCleanup(server.close)
        server.write('async/keep', b'')
        server.start()
        self.configure(port=server.port, user='', password='', timeout=2)
        until(lambda: self.broker.ask('GET', '/ftp/async').status == 200, 'a call within the timeout')
        server.freeze()
        with ThreadPoolExecutor(20) as threads:
            began = time.monotonic()
            calls = [threads.submit(self.broker.ask, 'GET', '/ftp/async') for _ in range(20)]
            pings = 0
            while time.monotonic() - began < 1.5:
                self.assertEqual(self.broker.ask('GET', '/zato/ping').status, 200)
                pings += 1
            answers = [call.result() for call in calls]
            self.assertLess(time.monotonic() - began, allowed(2 * 1.1 + 1.5))  # and what a busy machine needs
        self.assertGreater(pings, 5)
        self.assertEqual({answer.status for answer in answers}, {504})
        self.assertIn('Outgoing connection Files (ftp) gave no answer within 2 s', answers[-1].body.decode())

    def test_poller(self) -> None:
        """Files of a directory go to the service, each once, whichever node polls; a poisoned one is moved aside."""
        self.configure()
        poller = {'name': 'inbox', 'connection': 'Files', 'directory': 'inbox', 'service': 'ftp.received',
                  'interval': 0.3, 'stable_for': 0.2, 'pattern': '*.txt',
                  'retry': {'attempts': 2, 'backoff': 0.1}}  # fmt: skip
        self.broker.configure(json.dumps({'channel_ftp_poll': [poller]}))
        server = ftp_servers.pyftpdlib()
        for number in range(10):
            server.write(f'inbox/{number}.txt', b'content %d' % number)
        server.write('inbox/poison.txt', b'poison')
        until(lambda: len(list((self.root / 'inbox/processed').glob('*'))) == 10, 'processed files', 40)
        until(lambda: (self.root / 'inbox/failed/poison.txt').exists(), 'the poisoned file', 40)
        self.assertEqual((self.root / 'received/7.txt').read_bytes(), b'CONTENT 7')
        self.assertEqual([path.name for path in (self.root / 'inbox').iterdir() if path.is_file()], ['keep'])
        self.broker.configure(json.dumps({'channel_ftp_poll': [{**poller, 'is_active': False}]}))

    def test_guaranteed(self) -> None:
        """With guaranteed delivery, operations are kept while the FTP server is away; when it is back, another node
        does them in their order, after the node that stored them was killed."""
        server = Pyftpdlib()
        self.addCleanup(server.close)
        self.broker.configure(json.dumps({
            'outgoing_ftp': [connection(server.port, name='Kept', delivery='guaranteed', timeout=2)]}))  # fmt: skip
        answer = self.broker.invoke('ftp.kept')
        self.assertRegex(answer.body.decode(), '^[0-9a-f]{24}$')
        self.broker.kill('server1')
        try:
            server.start()
            until((server.root / 'kept' / 'last').exists, 'the operations', 90.0)
            self.assertEqual(sorted(path.name for path in (server.root / 'kept').iterdir()), ['a', 'last'])
        finally:
            start(self.broker)

    def test_poller_is_killed(self) -> None:
        """The node that polls is killed at each step of a file's delivery: another node takes over, no file is lost,
        and one that the service may have had comes again with the same id and `redelivered`."""
        self.configure()
        poller = {'name': 'killed', 'connection': 'Files', 'directory': 'killed', 'service': 'ftp.noted',
                  'interval': 0.2, 'stable_for': 0, 'idempotent': None}  # fmt: skip
        server = ftp_servers.pyftpdlib()
        server.write('killed/processed/keep', b'')
        server.write('noted', b'')
        self.broker.configure(json.dumps({'channel_ftp_poll': [poller]}))
        expected = {'poller-fetched': [True], 'ended': [False, True], 'poller-settling': [False, True]}
        try:
            for step in expected:
                arm(self.broker, step)
                server.write(f'killed/{step}', step.encode())
                wait_for_kill(self.broker, step)
                start(self.broker)
                until((self.root / 'killed' / 'processed' / step).exists, f'the file of {step}', 60.0)
        finally:
            self.broker.configure(json.dumps({'channel_ftp_poll': [{**poller, 'is_active': False}]}))
        noted = [json.loads(line) for line in (self.root / 'noted').read_text().splitlines()]
        for step in expected:
            deliveries = [each for each in noted if each['name'] == step]
            self.assertEqual(len({each['delivery_id'] for each in deliveries}), 1)
            self.assertEqual([each['redelivered'] for each in deliveries], expected[step], step)
            self.assertEqual({each['sha256'] for each in deliveries}, {sha256(step.encode()).hexdigest()})
