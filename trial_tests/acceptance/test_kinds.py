"""A kind from outside the package: one folder on PYTHONPATH, and real servers have all of it; without it, nothing."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

from twisted.trial.unittest import SynchronousTestCase

import trial_tests.support
from trial_tests.support.broker import Broker, create, shared
from trial_tests.support.command import apart
from trial_tests.support.ports import free_port
from trial_tests.support.waiting import allowed, until

DOCS = str(Path(trial_tests.support.__file__).parents[2] / 'docs')
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

    class Strict(Service):
        name = 'lines.strict'
        taken = []
        async def handle(self):
            line = self.request.raw_request.decode()
            if line.startswith('bad'):
                raise RuntimeError('a bad line')
            Strict.taken.append(line)
            self.response.payload = line

    class Taken(Service):
        name = 'lines.taken'
        async def handle(self):
            self.response.payload = Strict.taken

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
def peer(respond: Callable[[bytes], bytes | None], port: int = 0) -> Iterator[int]:
    """A line server in a thread: its port. `respond` gives None to keep silent."""
    with socket.create_server(('127.0.0.1', port)) as listening:
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


def document(port: int, *, service: str = 'lines.upper', kind: str = 'channel_lines', name: str = '', more: str = '',
             outgoing: int = 1) -> str:
    """An enmasse document with a definition, a channel and an outgoing connection that refer to it."""
    return f"""
        definition_lines:
          - {{name: plain, max_length: 1000}}
        {kind}:
          - {{name: "{name or f'in{port}'}", address: "{address(port)}", service: {service}, definition: plain{more}}}
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
        self.assertLess(time.monotonic() - began, allowed(5))

    def test_retries(self) -> None:
        """A message whose service fails is delivered again, as often as its channel says."""
        self.broker.configure(document(self.port, service='lines.flaky', more=', retry: {attempts: 3, backoff: 0.1}'))
        self.assertTrue(ask(self.port, 'x').startswith('attempt'))
        self.broker.configure(document(self.port, service='lines.flaky', more=', retry: {attempts: 2, backoff: 0.1}'))
        self.assertTrue(ask(self.port, 'x').startswith('ERROR 500'))

    def test_dead_letters(self) -> None:
        """A line that failed for the last time is a dead letter, if its channel says so; edited and replayed, it runs
        again with the channel's format."""
        more = ', dead_letter: true, retry: {attempts: 2, backoff: 0.1}'
        self.broker.configure(document(self.port, service='lines.strict', more=more))
        self.assertTrue(ask(self.port, 'bad').startswith('ERROR 500'))
        (row,) = json.loads(self.broker.must('dead-letter', 'list', str(self.broker.path), '--format', 'json'))
        self.assertEqual((row['service'], row['payload'], row['attempts']), ('lines.strict', 'bad', 2))
        self.assertIn('a bad line', row['cause'])
        self.broker.must('dead-letter', 'edit', str(self.broker.path), row['id'], '--payload', '"mended"')
        self.broker.must('dead-letter', 'replay', str(self.broker.path), '--all')
        until(lambda: 'mended' in self.taken(), 'the replay')
        self.assertEqual(self.broker.must('dead-letter', 'list', str(self.broker.path), '--format', 'json'), '[]\n')

    def test_duplicates(self) -> None:
        """A line that was processed is acknowledged without its service, if its channel says so; one that failed runs
        again."""
        self.broker.configure(document(self.port, service='lines.strict', more=', idempotent: {key: body, ttl: 60}'))
        self.assertEqual([ask(self.port, line) for line in ('once', 'once', 'twice')], ['once', '', 'twice'])
        self.assertEqual(self.taken().count('once'), 1)
        self.assertEqual([ask(self.port, 'bad')[:9] for _ in range(2)], ['ERROR 500'] * 2)

    def test_wrong_policy_keys(self) -> None:
        """A wrong key expression is an error of the import that names the field."""
        said = self.broker.imported(document(self.port, more=", idempotent: {key: 'xpath:/a'}"))
        self.assertNotEqual(said.code, 0)
        self.assertIn('idempotent', said.text)

    def taken(self) -> list[str]:
        found: list[str] = self.broker.invoke('lines.taken').json()
        return found

    def test_messages_out(self) -> None:
        """A service sends lines by self.out.lines; a peer that hangs up or is unavailable is a typed error."""
        with peer(bytes.swapcase) as port:
            self.broker.configure(document(self.port, service='lines.out', outgoing=port))
            self.assertEqual(ask(self.port, 'Hello'), 'hELLO')
        reply = ask(self.port, 'Hello')
        self.assertIn('ERROR 503', reply)
        self.assertIn('Outgoing connection peer (lines) cannot be reached', reply)

    def test_guaranteed_delivery(self) -> None:
        """With `delivery: guaranteed` a call returns when it is stored; the line is sent when the peer is there again,
        also if the server was killed meanwhile. Otherwise the call fails as before."""
        port = free_port()
        self.broker.configure(document(self.port, service='lines.out', outgoing=port).replace(
            'timeout: 1.5', 'timeout: 1.5, delivery: guaranteed'))
        reply = ask(self.port, 'kept')
        self.assertRegex(reply, '^[0-9a-f]{24}$')
        self.broker.kill()
        self.broker.start()
        received: list[bytes] = []

        def take(line: bytes) -> bytes:
            received.append(line)
            return b'taken'

        with peer(take, port):
            until(lambda: b'kept' in received, 'the line', 90.0)
        self.broker.configure(document(self.port, service='lines.out', outgoing=port).replace(
            'timeout: 1.5', 'timeout: 1.5, delivery: direct'))
        self.assertTrue(ask(self.port, 'lost').startswith('ERROR 503'))

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
            self.assertLess(time.monotonic() - began, allowed(6))
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
                further(replies, 2)  # the first one may have been under way before
        self.assertNotIn('refused', replies)
        self.assertEqual(len(replies), 2, replies)  # the process and 'A'
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

    def test_commands(self) -> None:
        """`zatotx` has the command of the kind: help and completion show it, and it runs."""
        self.broker.configure(document(self.port))
        self.assertRegex(self.broker.must('--help'), r'(?m)^  lines +Talk to channels of lines: send\.$')
        self.assertEqual(self.broker.must('lines', 'send', str(self.port), 'hello'), 'HELLO\n')
        for typed, offered in (('li', 'lines'), ('lines se', 'send')):
            words = {'COMP_WORDS': f'zatotx {typed}', 'COMP_CWORD': str(len(typed.split()))}
            completed = apart(env={**ENV, **words, '_ZATOTX_COMPLETE': 'bash_complete'})
            self.assertEqual(completed.out.split(), [f'plain,{offered}'])

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
        received = re.search(r'^zatotx_lines_received_total (\S+)', text, re.M)
        assert received is not None
        self.assertGreater(float(received[1]), 0)
        self.assertIn('zatotx_metrics_failed 0.0', text)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(('127.0.0.1', port), 5).close()
    except OSError:
        return False
    return True


def _replies(port: int) -> str:
    """The reply to one line; '' where the channel does not listen, or nobody replies in time."""
    try:
        client = Client(port, 3.0)
        try:
            client.send('who')
            return client.reply()
        finally:
            client.close()
    except OSError:
        return ''


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
        further(replies, 2)
    finally:
        over.set()
        thread.join(30)


def further(replies: Counter[str], count: int) -> None:
    """Wait until so many more have come."""
    before = replies.total()
    until(lambda: replies.total() >= before + count, 'further replies')


def workers(broker: Broker, server: int = 1) -> list[int]:
    """The worker processes of a server."""
    status = json.loads((broker.directory(server) / 'work' / 'workers.json').read_text())
    return [worker['pid'] for worker in status['workers'] if worker['state'] == 'ready']


def serving(port: int, times: int = 30) -> set[int]:
    """The processes that reply at a port."""
    return {int(ask(port, 'who')) for _ in range(times)}


class ManyWorkersTests(SynchronousTestCase):
    """Two servers of two workers each. A channel whose `nodes` name one server, as both are on one machine here."""

    def setUp(self) -> None:
        self.broker = shared('lines-workers', lambda: built(servers=2, workers=2))
        self.port = free_port()

    def configure(self, port: int, kind: str = 'channel_lines', more: str = ', nodes: [server1]') -> None:
        self.broker.configure(document(port, service='lines.who', kind=kind, name=self.id().rpartition('.')[2],
                                       more=more))  # fmt: skip

    def test_every_worker(self) -> None:
        """All workers of a node listen at an address from the ODB; a worker that is killed, all that are killed, and
        a replacement of all refuse nobody."""
        self.configure(self.port)
        self.assertEqual(self.spread(), set(workers(self.broker)))
        with asking(self.port) as replies:
            before = workers(self.broker)
            os.kill(before[0], signal.SIGKILL)
            until(lambda: len(set(workers(self.broker)) - {before[0]}) == 2, 'a new worker', 60.0)
            self.assertEqual(until(lambda: self.spread() == set(workers(self.broker)), 'both workers', 30.0), True)
            os.kill(self.parent(), signal.SIGUSR2)
            until(lambda: not set(workers(self.broker)) & set(before) and len(workers(self.broker)) == 2, 'new workers',
                  90.0)  # fmt: skip
        self.assertLessEqual(replies['refused'], 1)  # the line that the killed worker had
        self.assertGreater(len(replies), 2)

    def parent(self) -> int:
        status = json.loads((self.broker.directory() / 'work' / 'workers.json').read_text())
        return int(status['parent'])

    def spread(self) -> set[int]:
        """Who replies to many clients at once."""
        clients = [Client(self.port) for _ in range(24)]
        for client in clients:
            client.send('who')
        replies = {int(client.reply() or 0) for client in clients}
        for client in clients:
            client.close()
        return replies

    def test_address_moves(self) -> None:
        """An edit moves the address of all workers while it is in use; nobody is refused at either address."""
        other = free_port()
        self.configure(self.port)
        with asking(self.port) as replies:
            self.configure(self.port, more=', nodes: [server1], timeout: 5')
        self.assertEqual(replies['refused'], 0)
        self.configure(other)
        self.assertLessEqual(serving(other), set(workers(self.broker)))
        until(lambda: not _listens(self.port), 'the end of the old address')

    def test_one_worker_of_the_node(self) -> None:
        """Only one worker listens; when it dies the other one takes over, and clients wait instead of being refused."""
        self.configure(self.port, 'channel_lines_single')
        (first,) = serving(self.port)
        os.kill(first, signal.SIGKILL)
        self.assertNotEqual(serving(self.port, 1), {first})
        self.assertEqual(len(serving(self.port)), 1)

    def test_one_node_of_the_cluster(self) -> None:
        """Only one process of the cluster listens; when it dies another one takes over after its lease."""
        self.configure(self.port, 'channel_lines_leader', '')
        until(lambda: _replies(self.port), 'a leader', 60.0)
        (first,) = serving(self.port)
        os.kill(first, signal.SIGKILL)
        until(lambda: _replies(self.port) not in ('', str(first)), 'another leader', 90.0)
        self.assertEqual(len(serving(self.port)), 1)

    def test_named_nodes(self) -> None:
        """A channel runs on the nodes that its configuration names, and on no other."""
        self.configure(self.port, more=', nodes: [server2]')
        self.assertLessEqual(serving(self.port), set(workers(self.broker, 2)))
        self.configure(self.port, more=', nodes: [server9]')
        until(lambda: not _listens(self.port), 'the end')

    def test_limits_of_all_workers(self) -> None:
        """A concurrency limit of a channel is that of all workers together."""
        name = self.id().rpartition('.')[2]
        self.broker.configure(document(self.port, service='lines.never', name=name,
                                       more=', nodes: [server1], max_in_flight: 2, timeout: 20'))
        inside = [Client(self.port) for _ in range(12)]
        for client in inside:
            client.send('x')
        waiting = {client.socket: client for client in inside}
        replies: list[str] = []

        def ten() -> bool:
            ready, _, _ = select.select(list(waiting), [], [], 0)
            replies.extend(waiting.pop(each).reply() for each in ready)
            return len(replies) >= 10

        until(ten, 'ten replies')
        for client in inside:
            client.close()
        self.assertEqual([reply[:9] for reply in replies], ['ERROR 503'] * 10)


class WithoutTheFolderTests(SynchronousTestCase):
    def test_nothing_is_there(self) -> None:
        """Without the folder on PYTHONPATH the installation knows nothing of the kind."""
        broker = shared('lines', built)
        text = apart('info', broker.path).text
        self.assertNotIn('lines', text.replace(str(broker.path), ''))
        said = apart('enmasse', broker.path, '--check', '--input', broker.write('x.yaml', document(free_port())))
        self.assertNotEqual(said.code, 0)
        self.assertIn("No such command 'lines'", apart('lines', 'send', '1', 'x').text)
        seen = subprocess.run([sys.executable, '-c', DECLARED, DOCS], capture_output=True, text=True, check=True)
        for word in ('channel_lines', 'zatotx_lines', 'An outgoing lines connection'):
            self.assertNotIn(word, seen.stdout)

    def test_reference_and_test_kit(self) -> None:
        """With it, the reference and completion have what it declares, quickstart writes its section, and
        the users' test kit knows its methods."""
        env = {**os.environ, **ENV}
        seen = subprocess.run([sys.executable, '-c', DECLARED, DOCS], capture_output=True, text=True, check=True,
                              env=env)
        for word in ('channel_lines', 'zatotx_lines_received_total', 'max_clients', 'An outgoing lines connection has'):
            self.assertIn(word, seen.stdout)
        typed = {'COMP_WORDS': 'zatotx history list --type chan', 'COMP_CWORD': '4'}
        completed = apart(env={**ENV, **typed, '_ZATOTX_COMPLETE': 'bash_complete'})
        self.assertIn('channel_lines', completed.out)
        settings = (shared('lines', built).directory() / 'config' / 'server.toml').read_text()
        self.assertIn('[lines]', settings)


DECLARED = '''
import sys
sys.path.insert(0, sys.argv[1])
import reference
print(reference.objects(), reference.settings(), reference.metrics())
from zatotx import Service
from zatotx.testing import ServiceTestCase

class Calls(Service):
    async def handle(self):
        self.out.lines['x'].sent('text')

class Test(ServiceTestCase):
    def runTest(self):
        self.call(Calls)

result = Test().defaultTestResult()
Test().run(result)
print(result.errors, result.failures)
'''
