"""A load balancer in front of two servers: what clients see while servers fail, drain and the configuration changes."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.broker import Broker, create, shared
from trial_tests.support.certificate import write_certificate
from trial_tests.support.guarded import SERVICES, curl, define
from trial_tests.support.issuing import Issuer
from trial_tests.support.ports import free_port
from trial_tests.support.rawhttp import Answer, NoAnswer, ask, basic, connected, request_bytes
from trial_tests.support.waiting import allowed, until

NAME = 'load-balancer'
CLIENTS = 6


def balanced() -> Broker:
    """Two servers with a load balancer."""
    return shared('balanced', start_balanced)


def start_balanced() -> Broker:
    broker = create(servers=2, parts=(NAME,))
    file = broker.path / NAME / 'config' / 'lb.toml'
    file.write_text(file.read_text().replace('workers = 2 ', 'workers = 1 '))  # whose figures are exact at once
    for server in (1, 2):
        broker.set('http', server, client_cert=True)
    broker.start()
    return broker


class Load:
    """Clients that send one GET after another, on connections that they keep. `failures` has what went wrong."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.count = 0
        self.slowest = 0.0
        self.failures: list[str] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(CLIENTS)]

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                with connected(self.port) as connection:
                    while not self._stop.is_set():
                        began = time.monotonic()
                        connection.send(request_bytes('GET', '/zato/ping'))
                        answer = connection.answer()
                        self.slowest = max(self.slowest, time.monotonic() - began)
                        self.count += 1
                        if answer.status != 200:
                            self.failures.append(f'{answer.status}: {answer.body[:200]!r}')
                        if answer.field('connection') == 'close':
                            break
                        self._stop.wait(0.005)
            except (NoAnswer, OSError) as error:
                self.failures.append(f'{type(error).__name__}: {error}')

    @contextmanager
    def running(self) -> Iterator[Load]:
        """Send requests until the block ends."""
        for thread in self._threads:
            thread.start()
        try:
            until(lambda: self.count > CLIENTS * 3, 'the first requests')
            yield self
            before = self.count
            until(lambda: self.count > before + CLIENTS * 3, 'requests after the change')
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join(30)


class LoadBalancerTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.broker = balanced()
        self.port = 11223 + self.broker.offset
        self.directory = self.broker.path / NAME
        self.config = self.directory / 'config' / 'lb.toml'
        self.pid = int((self.directory / 'load_balancer.pid').read_text())
        self.source = self.config.read_text()
        found = re.search('password = "(.*)"', self.source)
        assert found is not None
        self.credentials = basic('admin1', found[1])

    def ask(self, target: str = '/zato/ping', **more: object) -> Answer:
        return ask(self.port, 'GET', target, fields=more.get('fields'))  # type: ignore[arg-type]

    def metric(self, name: str, **labels: str) -> float:
        """The value of a metric of the load balancer; 0 before its workers have counted anything."""
        text = self.ask('/zato-lb-metrics', fields=self.credentials).body.decode()
        wanted = ','.join(f'{key}="{value}"' for key, value in labels.items())
        lines = (line for line in text.splitlines() if line.startswith(f'zatotx_lb_{name}{{{wanted}}}'))
        return float(next(lines, '0').split()[-1])

    def requests_of(self, server: str) -> float:
        return self.metric('server_requests_total', backend='bck_http_plain', server=server)

    def is_up(self, server: str) -> bool:
        return self.metric('server_up', backend='bck_http_plain', server=server) == 1

    def wait_until(self, up: bool, *servers: str, within: float = 60.0) -> float:
        """Wait until these servers are all up, or all down; returns the seconds that it took."""
        began = time.monotonic()
        until(lambda: all(self.is_up(server) == up for server in servers), f'{servers} up={up}', within)
        return time.monotonic() - began

    def log(self) -> str:
        return (self.directory / 'logs' / 'load-balancer.log').read_text()

    def reload(self, source: str) -> None:
        """Write lb.toml, send SIGHUP, and wait until it is in force or refused."""
        before = self.log()
        self.config.write_text(source)
        os.kill(self.pid, signal.SIGHUP)
        until(lambda: re.search('in force|is unchanged', self.log()[len(before):]), 'the reload')

    def restore(self) -> None:
        self.reload(self.source)
        self.wait_until(True, 'server1', 'server2')
        self.wait_until(True, 'server1', 'server2')


class LoadBalancerTests(LoadBalancerTestCase):
    def test_requests_are_spread(self) -> None:
        """Both servers get requests, which carry the address of the client; each is logged in HAProxy's format."""
        before = [self.requests_of(server) for server in ('server1', 'server2')]
        for _ in range(10):
            self.assertEqual(self.ask().status, 200)
        after = [self.requests_of(server) for server in ('server1', 'server2')]
        self.assertEqual([new - old for new, old in zip(after, before, strict=True)], [5, 5])
        lines = (self.directory / 'logs' / 'http.log').read_text().splitlines()
        self.assertTrue(any(re.fullmatch(
            r'127\.0\.0\.1:\d+ \[\d\d/\w{3}/\d{4}:[\d:.]{12}\] front_http_plain bck_http_plain/server[12] '
            r'\d+/\d+/\d+/\d+/\d+ 200 \d+ - - ---- \d+/\d+/\d+/\d+/0 0/0 "GET /zato/ping HTTP/1\.1"', line)
            for line in lines), lines[-1])  # fmt: skip

    def test_pages(self) -> None:
        """The load balancer says that it is alive; its statistics need credentials, and load nothing from elsewhere."""
        alive = self.ask('/zato-lb-alive')
        self.assertEqual((alive.status, alive.body), (200, b'OK\n'))
        self.assertEqual([self.ask(path).status for path in ('/zato-lb-stats', '/zato-lb-metrics')], [401, 401])
        page = self.ask('/zato-lb-stats', fields=self.credentials)
        self.assertEqual(page.status, 200)
        self.assertIn("default-src 'none'", page.field('content-security-policy'))
        text = page.body.decode()
        for part in ('bck_http_plain/server1', '<polyline', 'Requests a second', 'http-equiv="refresh" content="5"'):
            self.assertIn(part, text)
        self.assertNotRegex(text, '(src|href)=|<script')

    def test_servers_die(self) -> None:
        """When a server is killed under load, no GET fails. When all are gone, the answer is Zato's 503 at once."""
        self.addCleanup(self.restore)
        with Load(self.port).running() as load:
            self.broker.kill('server2')
            self.wait_until(False, 'server2')
        self.assertEqual(load.failures, [])
        self.broker.kill('server1')
        self.wait_until(False, 'server1')
        began = time.monotonic()
        answer = self.ask()
        self.assertLess(time.monotonic() - began, allowed(1))
        self.assertEqual((answer.status, answer.field('content-type')), (503, 'application/json'))
        self.assertEqual(json.loads(answer.body)['zato_env']['details'],
                         'No server is available to handle the request')
        self.broker.start()

    def test_frozen_server(self) -> None:
        """No GET fails when a server accepts connections and is silent: those that wait for it are sent to the other
        one as soon as probes find it down. It is back soon after it runs again."""
        pid = int((self.broker.path / 'server1' / 'server.pid').read_text())
        self.addCleanup(self.restore)
        try:
            with Load(self.port).running() as load:
                os.kill(pid, signal.SIGSTOP)
                self.wait_until(False, 'server1')
            self.assertEqual(load.failures, [])
        finally:
            os.kill(pid, signal.SIGCONT)
        self.wait_until(True, 'server1')

    def test_drain_under_load(self) -> None:
        """A server that drains gets no new request, and no request fails while the configuration changes."""
        self.addCleanup(self.restore)
        with Load(self.port).running() as load:
            drained = self.source.replace('servers."server1"]', 'servers."server1"]\nstate = "drain"')
            self.reload(drained)
            self.assertFalse(self.is_up('server1'))
            before = self.requests_of('server1')
            until(lambda: load.count > 200, 'requests')
            self.assertEqual(self.requests_of('server1'), before)
            self.reload(self.source)
            until(lambda: self.requests_of('server1') > before, 'requests of the server that is back')
        self.assertEqual(load.failures, [])

    def test_bad_configuration(self) -> None:
        """A configuration with errors is refused with all of them, and the old one stays in force; `check-config` says
        the same."""
        self.addCleanup(self.restore)
        before = len(self.log())
        self.reload(self.source.replace('"least_connections"', '"best"').replace('rise = 2', 'rise = "x"')
                    .replace('default_backend =', 'default_backends ='))  # fmt: skip
        said = self.broker.run('check-config', str(self.directory))
        self.assertEqual(said.code, 1)
        for text in (self.log()[before:], said.text):
            self.assertRegex(text, r'Line \d+: frontends.front_http_plain.default_backends: no such setting')
            self.assertRegex(text, r"Line \d+: backends.bck_http_plain.algorithm: invalid enum value 'best'")
            self.assertRegex(text, r'Line \d+: backends.bck_http_plain.check.rise: expected `int`, got `str`')
        self.assertEqual(self.ask().status, 200)

    def test_listeners_change(self) -> None:
        """A reload opens and closes listening sockets; an address that is taken is an error, and nothing changes."""
        self.addCleanup(self.restore)
        other = 8183 + self.broker.offset  # of a component that is not there
        with connected(self.port) as kept:
            self.reload(self.source.replace(f'listen = ["127.0.0.1:{self.port}"]',
                                            f'listen = ["127.0.0.1:{self.port}", "127.0.0.1:{other}"]'))
            self.assertEqual(ask(other, 'GET', '/zato/ping').status, 200)
            self.reload(self.source.replace(f'127.0.0.1:{self.port}', f'127.0.0.1:{self.broker.port()}'))
            self.assertIn('Cannot listen on', self.log())
            self.assertEqual(ask(other, 'GET', '/zato/ping').status, 200)
            self.reload(self.source)
            self.assertRaises(ConnectionRefusedError, ask, other, 'GET', '/zato/ping')
            kept.send(request_bytes('GET', '/zato/ping'))
            self.assertEqual(kept.answer().status, 200)

    def test_discovery(self) -> None:
        """With the credentials of a monitor, the load balancer asks the server in its file which others there are, and
        uses them; with a wrong password it keeps what it knows."""
        self.addCleanup(self.restore)
        self.broker.configure('''
            security:
              - {name: lb.monitor, type: basic_auth, username: lb.monitor, password: lb-secret, roles: [monitor]}
            channel_rest:
              - {name: lb.servers, url_path: /lb/servers, service: zato.server.get-list, security: lb.monitor}
        ''')
        alone = re.sub(r'\[backends.bck_http_plain.servers."server2"\]\n.*\n.*\n', '', self.source)
        self.reload(alone)
        self.assertNotIn('server2', self.ask('/zato-lb-metrics', fields=self.credentials).body.decode())
        table = '\n[backends.bck_http_plain.discovery]\nusername = "lb.monitor"\npassword = "%s"\ninterval = 1\n'
        self.reload(alone + table % 'lb-secret')
        until(lambda: 'server="server2"' in self.ask('/zato-lb-metrics', fields=self.credentials).body.decode(),
              'server2')
        self.wait_until(True, 'server1', 'server2')
        self.reload(alone + table % 'wrong')
        until(lambda: 'server1: it responds with 401' in self.log(), 'the error')
        self.wait_until(True, 'server1', 'server2')

    def test_restart(self) -> None:
        """SIGTERM ends the load balancer after the request in progress, with exit code 0, and its pid file is gone."""
        self.addCleanup(self.broker.start)
        with connected(self.port) as connection:
            connection.send(request_bytes('GET', '/zato/ping'))
            self.assertEqual(connection.answer().status, 200)
            self.broker.must('stop', str(self.directory))
            self.assertTrue(connection.is_closed())
        self.assertFalse((self.directory / 'load_balancer.pid').exists())
        self.assertIn('The load balancer has stopped', self.log())


BANK = Issuer('Bank CA')
PARTNER, OTHER = BANK.issue(), BANK.issue('CN=other,O=Bank')
_SECURE = """
[frontends.secure]
listen = ["127.0.0.1:{port}"]
default_backend = "bck_http_plain"
tls = {{certificates = "{directory}/tls.pem", client_certificates = "optional", client_ca = "{directory}/clients.pem"}}
"""


class MutualTlsTests(LoadBalancerTestCase):
    """Security definitions of type `mtls`, with TLS that ends at the load balancer."""

    def setUp(self) -> None:
        super().setUp()
        self.broker.extend('lb-mtls', self.extend)
        place = Path(self.mktemp()).resolve()
        place.mkdir()
        write_certificate(place / 'tls.pem', 'localhost')
        (place / 'clients.pem').write_text(BANK.pem)
        self.files = {issued: issued.write(place / f'{name}.pem') for name, issued in
                      (('partner', PARTNER), ('other', OTHER), ('foreign', Issuer('Bank CA').issue()))}  # fmt: skip
        self.secure = free_port()
        self.addCleanup(self.restore)
        self.reload(self.source + _SECURE.format(port=self.secure, directory=place))

    def extend(self, broker: Broker) -> None:
        broker.serve('sec_services.py', SERVICES)
        define(broker, {'name': 'lb.partner', 'type': 'mtls', 'subject': 'CN=partner,O=Bank', 'ca': BANK.pem})
        channel = 'http://127.0.0.1:{}/who/lb.partner'
        urls = [channel.format(broker.port(server)) for server in (1, 2)]
        until(lambda: all(curl(url).status == 401 for url in urls), 'the channel')

    def test_client_certificates(self) -> None:
        """The service sees who the client is, by its certificate; without one, with that of another subject, and with a
        field that imitates the load balancer the response is 401. A certificate of a foreign authority ends the
        handshake."""
        url = f'https://127.0.0.1:{self.secure}/who/lb.partner'
        for _ in range(4):  # both servers
            answer = curl('--cert', self.files[PARTNER], url)
            self.assertEqual((answer.status, answer.json()['username']), (200, 'CN=partner,O=Bank'))
        self.assertEqual([curl(url).status, curl('--cert', self.files[OTHER], url).status], [401, 401])
        foreign = next(file for issued, file in self.files.items() if issued not in (PARTNER, OTHER))
        self.assertEqual(curl('--cert', foreign, url).status, 0)
        until(lambda: 'The frontend secure refused a client at 127.0.0.1:' in self.log(), 'the log entry')
        imitated = f'Client-Cert: :{b64encode(PARTNER.der).decode()}:'
        for target in (url, f'http://127.0.0.1:{self.port}/who/lb.partner'):
            self.assertEqual(curl('-H', imitated, target).status, 401)


class WorkerTests(LoadBalancerTestCase):
    """The same load balancer with two workers."""

    def setUp(self) -> None:
        super().setUp()
        self.broker.must('stop', str(self.directory))
        self.addCleanup(self.single_process, self.source)
        self.source = self.source.replace('workers = 1 ', 'workers = 2 ')
        self.config.write_text(self.source)
        self.broker.must('start', str(self.directory))
        self.pid = int((self.directory / 'load_balancer.pid').read_text())

    def single_process(self, source: str) -> None:
        self.broker.run('stop', str(self.directory))
        self.config.write_text(source)
        self.broker.start()

    def workers(self) -> list[int]:
        """The processes of the workers that serve."""
        status = json.loads((self.directory / 'work' / 'workers.json').read_text())
        return [worker['pid'] for worker in status['workers'] if worker['state'] == 'ready']

    def test_workers(self) -> None:
        """Configurations and states reach all workers, whose figures are summed. A worker that dies is replaced at
        once. A restart of the environment replaces servers and the program of the load balancer under load, and no
        request fails; the id of the parent stays. After the parent is killed, and the agent with it, a start takes
        over, and both serve again."""
        before = self.workers()
        self.assertEqual(len(before), 2)
        for _ in range(12):
            self.assertEqual(self.ask().status, 200)
        until(lambda: self.requests_of('server1') + self.requests_of('server2') >= 12, 'the sums')
        os.kill(before[0], signal.SIGKILL)
        until(lambda: before[0] not in self.workers() and len(self.workers()) == 2, 'another worker')
        self.assertRegex(self.log(), r'ended by signal 9; starting another one in 0\.0 s')
        with Load(self.port).running() as load:
            old = self.workers()
            said = self.broker.must('restart', str(self.broker.path))
            self.assertIn('load-balancer is running', said)
            until(lambda: len(self.workers()) == 2 and not set(self.workers()) & set(old), 'new workers')
            drained = self.source.replace('servers."server1"]', 'servers."server1"]\nstate = "drain"')
            self.reload(drained)
            until(lambda: not self.is_up('server1'), 'the drain')
        self.assertEqual(load.failures, [])
        self.assertEqual(int((self.directory / 'load_balancer.pid').read_text()), self.pid)
        self.assertIn('All workers have been replaced', self.log())
        os.kill(self.pid, signal.SIGKILL)
        refused = self.broker.run('lb', 'servers', str(self.broker.path))
        self.assertNotEqual(refused.code, 0, refused.text)
        self.broker.must('start', str(self.directory))
        self.assertEqual(self.ask().status, 200)
        self.assertIn('server1', self.broker.must('lb', 'servers', str(self.broker.path)))
