"""A kind from outside the package: one folder on PYTHONPATH, and real servers have all of it; without it, nothing."""

from __future__ import annotations

import json
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

from twisted.trial.unittest import SynchronousTestCase

import trial_tests.support
from trial_tests.support.broker import Broker, create, shared
from trial_tests.support.ports import free_port
from trial_tests.support.waiting import until

FOLDER = Path(trial_tests.support.__file__).parent / 'lines_kind'
ENV = {'PYTHONPATH': str(FOLDER)}
SERVICES = '''
    import os
    from twisted.internet.defer import Deferred
    from zatotx import Service

    class Upper(Service):
        name = 'lines.upper'
        async def handle(self):
            self.response.payload = self.request.raw_request.decode().upper()

    class Who(Service):
        name = 'lines.who'
        async def handle(self):
            self.response.payload = str(os.getpid())

    class Never(Service):
        name = 'lines.never'
        async def handle(self):
            await Deferred()

    class Flaky(Service):
        name = 'lines.flaky'
        calls = 0
        async def handle(self):
            Flaky.calls += 1
            if Flaky.calls % 3:
                raise RuntimeError('not yet')
            self.response.payload = f'attempt {Flaky.calls}'

    class Out(Service):
        name = 'lines.out'
        async def handle(self):
            self.response.payload = await self.out.lines['peer'].send(self.request.raw_request.decode())
'''


class Client:
    """A connection to a channel."""

    def __init__(self, port: int, timeout: float = 20.0) -> None:
        self.socket = socket.create_connection(('127.0.0.1', port), timeout)
        self._file = self.socket.makefile('rb')

    def send(self, line: str) -> None:
        """Send a line."""
        self.socket.sendall(line.encode() + b'\n')

    def reply(self) -> str:
        """The next line; '' at the end."""
        return self._file.readline().decode().rstrip('\n')

    def close(self) -> None:
        """Close the connection."""
        self._file.close()
        self.socket.close()


def ask(port: int, line: str) -> str:
    """One line on a connection of its own."""
    client = Client(port)
    try:
        client.send(line)
        return client.reply()
    finally:
        client.close()


@contextmanager
def peer(respond: Callable[[bytes], bytes | None]) -> Iterator[int]:
    """A line server in a thread: its port. `respond` gives None to keep silent."""
    with socket.create_server(('127.0.0.1', 0)) as listening:
        over = Event()

        def serve() -> None:
            kept = []
            while not over.is_set():
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                line = connection.makefile('rb').readline()
                response = respond(line.rstrip(b'\n'))
                if response is None:
                    kept.append(connection)
                    continue
                connection.sendall(response + b'\n')
                connection.close()

        thread = Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            over.set()
            listening.shutdown(socket.SHUT_RDWR)


def address(port: int) -> str:
    """The endpoint description of a channel."""
    return f'tcp:port={port}:interface=127.0.0.1'


def document(port: int, *, service: str = 'lines.upper', kind: str = 'channel_lines', name: str = 'in', more: str = '',
             outgoing: int = 1) -> str:
    """An enmasse document with a definition, a channel and an outgoing connection that refer to it."""
    return f"""
        definition_lines:
          - {{name: plain, max_length: 1000}}
        {kind}:
          - {{name: {name}, address: "{address(port)}", service: {service}, definition: plain{more}}}
        outgoing_lines:
          - {{name: peer, host: 127.0.0.1, port: {outgoing}, definition: plain, timeout: 1.5}}
    """


def built(servers: int = 1, workers: int = 1) -> Broker:
    """A running environment with the kind."""
    broker = create(servers=servers, env=ENV, more=('--workers', str(workers)) if workers > 1 else ())
    broker.start()
    broker.serve('lines_services.py', SERVICES)
    return broker


class OneProcessTests(SynchronousTestCase):
    """A server of one process."""

    def setUp(self) -> None:
        self.broker = shared('lines', built)
        self.port = free_port()

    def test_messages_in(self) -> None:
        """Lines of a client go to the service of the channel, and responses come back in their order."""
        self.broker.configure(document(self.port))
        client = Client(self.port)
        for line in ('one', 'two', 'three'):
            client.send(line)
        self.assertEqual([client.reply() for _ in range(3)], ['ONE', 'TWO', 'THREE'])
        client.close()

    def test_deadline(self) -> None:
        """A service that takes longer than the channel allows is answered with Timeout."""
        self.broker.configure(document(self.port, service='lines.never', more=', timeout: 0.3'))
        began = time.monotonic()
        self.assertTrue(ask(self.port, 'x').startswith('ERROR 504'))
        self.assertLess(time.monotonic() - began, 5)

    def test_retries(self) -> None:
        """A message whose service fails is delivered again, as often as its channel says."""
        self.broker.configure(document(self.port, service='lines.flaky', more=', retry: {attempts: 3, backoff: 0.1}'))
        self.assertTrue(ask(self.port, 'x').startswith('attempt'))
        self.broker.configure(document(self.port, service='lines.flaky', more=', retry: {attempts: 2, backoff: 0.1}'))
        self.assertTrue(ask(self.port, 'x').startswith('ERROR 500'))

    def test_messages_out(self) -> None:
        """A service sends lines by self.out.lines; a peer that hangs up or is away is a typed error."""
        with peer(bytes.swapcase) as port:
            self.broker.configure(document(self.port, service='lines.out', outgoing=port))
            self.assertEqual(ask(self.port, 'Hello'), 'hELLO')
        reply = ask(self.port, 'Hello')
        self.assertIn('ERROR 503', reply)
        self.assertIn('Outgoing connection peer (lines) cannot be reached', reply)

    def test_frozen_peer(self) -> None:
        """A peer that accepts and is silent ends in Timeout after the timeout of the connection; ping does likewise,
        doctor names it, and other requests are not held up."""
        with peer(lambda line: None) as port:
            self.broker.configure(document(self.port, service='lines.out', outgoing=port))
            began = time.monotonic()
            client = Client(self.port)
            client.send('Hello')
            self.assertLess(self.broker.ask('GET', '/zato/ping').status, 300)
            reply = client.reply()
            client.close()
            self.assertIn('ERROR 504', reply)
            self.assertIn('no answer within 1.5 s', reply)
            self.assertLess(time.monotonic() - began, 6)
            self.assertIn('no answer within 1.5 s', self.broker.run('doctor', str(self.broker.path)).text)

    def test_address_in_use(self) -> None:
        """A channel whose address is taken is logged and found by doctor; it listens as soon as the address is free."""
        with socket.create_server(('127.0.0.1', self.port)):
            self.broker.configure(document(self.port, name='taken'))
            self.assertIn('Channel taken (lines) does not run', self.broker.run('doctor', str(self.broker.path)).text)
        until(lambda: _listens(self.port), 'the channel', 30.0)
        self.assertEqual(ask(self.port, 'a'), 'A')

    def test_api_and_live_edit(self) -> None:
        """zato.channel.lines.* configure channels; an edit is in force when the call returns, and nobody is refused
        while an address stays or moves."""
        other = free_port()
        self.broker.configure(document(free_port(), name='unused'))
        made = self.broker.invoke('zato.channel.lines.create', json.dumps({
            'cluster_id': 1, 'name': 'api', 'is_active': True, 'address': address(self.port), 'service': 'lines.upper',
            'definition': 'plain'}).encode())  # fmt: skip
        self.assertEqual(made.status, 200, made.body)
        (response,) = (value for key, value in made.json().items() if key != 'zato_env')
        self.assertEqual(ask(self.port, 'a'), 'A')
        with asking(self.port) as replies:
            for service in ('lines.who', 'lines.upper'):
                self.edit(response['id'], address=address(self.port), service=service)
        self.assertNotIn('refused', replies)
        self.assertGreater(len(replies), 1)
        kept = Client(self.port)
        kept.send('before')
        self.assertEqual(kept.reply(), 'BEFORE')
        self.edit(response['id'], address=address(other), service='lines.upper')
        self.assertEqual(ask(other, 'b'), 'B')
        until(lambda: not _listens(self.port), 'the end of the old address')
        kept.close()

    def edit(self, id_: int, **fields: object) -> None:
        answer = self.broker.invoke('zato.channel.lines.edit', json.dumps({
            'cluster_id': 1, 'id': id_, 'name': 'api', 'is_active': True, 'definition': 'plain', **fields}).encode())
        self.assertEqual(answer.status, 200, answer.body)

    def test_export_and_info(self) -> None:
        """enmasse exports the objects of the kind, info lists it, check-config knows its settings."""
        self.broker.configure(document(self.port, name='exported'))
        exported = self.broker.must('enmasse', str(self.broker.path), '--export')
        self.assertIn('channel_lines:', exported)
        self.assertIn('exported', exported)
        self.assertIn('lines', self.broker.must('info', str(self.broker.path)))
        wrong = self.broker.imported(document(self.port, more=', max_in_flight: 0'))
        self.assertNotEqual(wrong.code, 0)
        self.assertIn('max_in_flight', wrong.text)

    def test_limits(self) -> None:
        """The concurrency limits of channels and nodes hold for messages of the kind too."""
        self.broker.configure(document(self.port, service='lines.never', more=', max_in_flight: 1, timeout: 5'))
        inside = Client(self.port)
        inside.send('x')
        until(lambda: ask(self.port, 'y').startswith('ERROR 503'), 'the limit')
        inside.close()

    def test_metrics(self) -> None:
        """The messages of channels and the calls of connections are counted under the names of the kind."""
        self.broker.configure(document(self.port, name='counted'))
        ask(self.port, 'a')
        text = self.broker.ask('GET', '/zato/metrics', fields=self.broker.admin()).body.decode()
        self.assertIn('zatotx_channel_requests_total{channel="counted",kind="lines"} 1.0', text)
        self.assertIn('zatotx_outgoing_calls_total{connection="peer",type="lines"}', text)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(('127.0.0.1', port), 5).close()
    except OSError:
        return False
    return True


@contextmanager
def asking(port: int) -> Iterator[Counter[str]]:
    """Clients that connect one after another meanwhile, each with one line: how often each reply came; 'refused' for
    clients that got none."""
    replies: Counter[str] = Counter()
    over = Event()

    def run() -> None:
        while not over.is_set():
            try:
                replies[ask(port, 'a') or 'refused'] += 1
            except OSError:
                replies['refused'] += 1

    thread = Thread(target=run, daemon=True)
    thread.start()
    try:
        yield replies
        time.sleep(0.3)
    finally:
        over.set()
        thread.join(30)
