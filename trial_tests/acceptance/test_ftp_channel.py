"""FTP channels in real servers: a server of two workers that is configured live, measured, and killed."""

from __future__ import annotations

import ftplib
import json
import os
import re
import signal
from functools import partial
from io import BytesIO
from pathlib import Path
from threading import Thread
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.broker import Broker, create, shared
from trial_tests.support.killing import arm, kill_environment, wait_for_kill
from trial_tests.support.ports import free_port
from trial_tests.support.waiting import until

SERVICES = """
    import json
    import os
    from pathlib import Path

    from zatotx import Service

    class Received(Service):
        name = 'ftp.received'

        def handle(self):
            file = self.request.payload
            text = Path(file['path']).read_text()
            with open(text.split()[0], 'a') as log:
                log.write(json.dumps({**file, 'pid': os.getpid()}) + '\\n')
            if text.endswith('wait') and not file['redelivered']:
                import time
                time.sleep(200)
            if text.endswith('fail'):
                raise RuntimeError('not this one')
"""


def built() -> Broker:
    """A running server of two workers with the services."""
    broker = create(servers=1, more=('--workers', '2'))
    broker.must('start', str(broker.path), env=kill_environment(broker))
    broker.serve('ftp_services.py', SERVICES)
    return broker


class FtpChannelTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.broker = shared('ftp-channel', built)
        self.port = free_port()
        self.log = Path(self.mktemp()).absolute()
        self.name = self.id().rpartition('.')[2]
        self.directory = self.broker.directory() / self.name

    def configure(self, more: str = '') -> None:
        """Bring the channel of the test into force."""
        self.broker.configure(f"""
            channel_ftp:
              - {{name: {self.name}, address: "127.0.0.1:{self.port}", user: partner, password: sesame-planted,
                 directory: {self.name}, service: ftp.received{more}}}
        """)

    def upload(self, name: str, then: str = '', user: str = 'partner') -> str:
        """Upload a file whose delivery is logged."""
        with ftplib.FTP(timeout=60) as client:
            client.connect('127.0.0.1', self.port)
            client.login(user, 'sesame-planted')
            return client.storbinary(f'STOR {name}', BytesIO(f'{self.log} {then}'.encode()))

    def deliveries(self) -> list[dict[str, Any]]:
        """What the service got."""
        return [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []

    def kill(self, worker: int) -> None:
        """Kill a worker while another one is ready to take over."""
        until(lambda: len(self.ready_workers()) == 2, 'both workers', 120.0)
        os.kill(worker, signal.SIGKILL)

    def ready_workers(self) -> list[int]:
        """The processes of the workers that are ready."""
        status = json.loads((self.broker.directory() / 'work' / 'workers.json').read_text())
        return [each['pid'] for each in status['workers'] if each['state'] == 'ready']

    def has_delivered(self, number: int) -> bool:
        """Whether the service was called so often."""
        return len(self.deliveries()) >= number

    def test_killed(self) -> None:
        """A worker that is killed while a service runs: another worker takes over the address and the directory, and
        the upload is delivered with the same id and `redelivered`."""
        self.configure()
        self.assertTrue(self.upload('orders.csv', 'wait').startswith('226'))
        until(lambda: self.deliveries(), 'the delivery')
        self.kill(self.deliveries()[0]['pid'])
        until(lambda: (self.directory / 'processed' / 'orders.csv').exists(), 'the second delivery', 60.0)
        first, second = self.deliveries()
        self.assertEqual((first['redelivered'], second['redelivered']), (False, True))
        self.assertEqual(first['delivery_id'], second['delivery_id'])
        self.assertNotEqual(first['pid'], second['pid'])
        self.assertTrue(self.upload('next.csv').startswith('226'))

    def test_killed_before_the_move(self) -> None:
        """A worker that is killed between the end of a service and the move: the next one delivers the upload again,
        with the same id and `redelivered`. Killed after the move, it is not delivered again."""
        self.configure()
        until(lambda: len(self.ready_workers()) == 2, 'both workers', 120.0)
        arm(self.broker, 'channel-settling')
        self.assertTrue(self.upload('orders.csv').startswith('226'))
        wait_for_kill(self.broker, 'channel-settling')
        until(lambda: (self.directory / 'processed' / 'orders.csv').exists(), 'the second delivery', 60.0)
        first, second = self.deliveries()
        self.assertEqual((first['redelivered'], second['redelivered']), (False, True))
        self.assertEqual(first['delivery_id'], second['delivery_id'])
        until(lambda: len(self.ready_workers()) == 2, 'both workers', 120.0)
        arm(self.broker, 'channel-settled')
        self.assertTrue(self.upload('more.csv').startswith('226'))
        wait_for_kill(self.broker, 'channel-settled')
        self.assertTrue(self.upload('last.csv').startswith('226'))
        until(lambda: (self.directory / 'processed' / 'last.csv').exists(), 'the next upload', 60.0)
        self.assertEqual([each['name'] for each in self.deliveries()], ['orders.csv', 'orders.csv', 'more.csv',
                                                                       'last.csv'])  # fmt: skip

    def test_nothing_is_lost(self) -> None:
        """Clients upload while the worker is killed: each upload with a reply 226 is delivered, with one id."""
        self.configure(', max_in_flight: 4')
        received: list[str] = []

        def run(client: int) -> None:
            for number in range(15):
                try:
                    self.upload(f'{client}-{number}')
                except (OSError, EOFError, ftplib.Error):  # the worker was killed
                    continue
                received.append(f'{client}-{number}')

        clients = [Thread(target=run, args=(client,)) for client in range(4)]
        for client in clients:
            client.start()
        until(partial(self.has_delivered, 8), 'deliveries', 60.0)
        self.kill(self.deliveries()[-1]['pid'])
        for client in clients:
            client.join()
        self.assertGreater(len(received), 15)
        until(lambda: {path.name for path in (self.directory / 'processed').iterdir()} >= set(received), 'all', 60.0)
        ids: dict[str, set[str]] = {}
        for each in self.deliveries():
            ids.setdefault(each['name'], set()).add(each['delivery_id'])
        self.assertEqual({name: len(ids[name]) for name in received}, dict.fromkeys(received, 1))

    def test_configured_live(self) -> None:
        """An edit is in force at once, deliveries are counted by their result, doctor and the log name what happens,
        and the password is in none of it."""
        self.configure(', retry: {attempts: 1}')
        self.upload('good.csv')
        self.upload('bad.csv', 'fail')
        until(lambda: (self.directory / 'failed' / 'bad.csv').exists(), 'the failed file')
        text = self.broker.ask('GET', '/zato/metrics', fields=self.broker.admin()).body.decode()
        label = f'{{channel="{self.name}",kind="ftp"}}'
        self.assertIn(f'zatotx_channel_requests_total{label} 2.0', text)
        for name, least in (('uploads', 2), ('received_bytes', 100), ('connections', 0), ('waiting_uploads', 0)):
            figure = re.search(rf'^zatotx_ftp_{name}(?:_total)? (\S+)', text, re.M)
            assert figure is not None, name
            self.assertGreaterEqual(float(figure[1]), least)
        letters = self.broker.must('dead-letter', 'list', str(self.broker.path), '--format', 'json')
        self.assertIn('ftp.received', letters)
        self.port = free_port()
        self.configure(', ignored_patterns: ["*"]')
        self.upload('other.csv')
        self.assertTrue((self.directory / 'other.csv').exists())
        self.broker.logged('partner uploaded', 'good.csv')
        exported = self.broker.must('enmasse', str(self.broker.path), '--export')
        self.assertIn('channel_ftp:', exported)
        said = self.broker.run('doctor', str(self.broker.path)).text
        for shown in (exported, said, letters, self.broker.log()):
            self.assertNotIn('sesame-planted', shown)

    def test_definitions(self) -> None:
        """Users of a Basic auth definition log in beside the channel's own, until the definition is inactive."""
        definition = """
            security:
              - {name: ftp.other, type: basic_auth, username: other, password: sesame-planted}
        """
        self.broker.configure(definition)
        self.configure(', security: ftp.other, directory_per_user: true')
        self.upload('a.csv')
        self.upload('a.csv', user='other')
        until(lambda: len(self.deliveries()) == 2, 'both deliveries')
        self.assertEqual(sorted(each['name'] for each in self.deliveries()), ['other/a.csv', 'partner/a.csv'])
        self.broker.configure(definition.replace('}', ', is_active: false}'))
        self.assertRaises(ftplib.error_perm, self.upload, 'b.csv', user='other')
        self.upload('b.csv')

    def test_bad_input(self) -> None:
        """Each mistake of a configuration is named with its path."""
        said = self.broker.imported("""
            channel_ftp:
              - {name: x, address: "ssl:port=21", user: "a\\tb", password: x, directory: d, service: ftp.received,
                 passive_ports: "9-1", passive_address: example.com, deliver_on: never, tls: {certificate: ""}}
              - {name: y, address: "127.0.0.1:2", directory: d, service: ftp.received}
        """)
        self.assertNotEqual(said.code, 0)
        self.assertIn('nobody could log in', said.text)
        for field in ('address', 'user', 'passive_ports', 'passive_address', 'deliver_on', 'tls'):
            self.assertTrue(re.search(rf'\b{field}\b', said.text), (field, said.text))
