"""Operations that take seconds, and peers that freeze: what must not delay the other requests of a server.

`OPERATIONS` has an entry for each row of the table of blocking operations in Zato 1.1's documentation, and for what may
block here. `FROZEN` has one for each kind of outgoing connection: a new kind adds its entry there, and a peer that can
be frozen to `Peers`. `trial_tests/acceptance/test_nothing_blocks.py` runs a few of each, `bench/blocking.py` fifty.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from ftplib import FTP
from pathlib import Path
from textwrap import indent
from threading import Thread
from typing import Any

import zmq
from attrs import field, frozen

from trial_tests.support import mqi_loopback, rabbitmq
from trial_tests.support.daemon import Daemon
from trial_tests.support.ftp_servers import PASSWORD, USER, Pyftpdlib
from trial_tests.support.nginx import Nginx
from trial_tests.support.pings import PATIENCE
from trial_tests.support.ports import free_port
from trial_tests.support.postgresql import PostgreSQL
from trial_tests.support.rawhttp import ask
from trial_tests.support.zmq_replier import ZmqReplier, ZmqSink

CHANNEL_KINDS = ('amqp', 'ibm_mq', 'zmq')  # whose channels the server runs
_ENVELOPE = ('<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><fine xmlns="urn:x"/></s:Body>'
             '</s:Envelope>')  # fmt: skip
_LOCATIONS = f"location /soap {{ default_type text/xml; return 200 '{_ENVELOPE}'; }}"
_CALL = '''
class {class_name}(Service):
    name = 'blocking.{name}'

    async def handle(self):
        began, error = time.monotonic(), None
        try:
{call}
        except (BadGateway, ServiceUnavailable, Timeout) as raised:
            error = raised
        self.response.payload = {{'error': type(error).__name__ if error else '', 'message': str(error or ''),
                                 'seconds': time.monotonic() - began}}
'''
_SERVICES = '''
import time
from decimal import Decimal

from zatotx import BadGateway, Service, ServiceUnavailable, Timeout

SECONDS = {seconds}


class Upload(Service):
    name = 'blocking.upload'

    async def handle(self):
        self.response.payload = {{'error': '' if self.request.payload else 'no body'}}


class Sql(Service):
    name = 'blocking.sql'

    async def handle(self):
        await self.out.sql['blocking.slow'].fetch_value('select pg_sleep(:seconds)', {{'seconds': SECONDS}})
        self.response.payload = {{'error': ''}}


class Thread(Service):
    """ A library that blocks. """
    name = 'blocking.thread'

    def handle(self):
        time.sleep(SECONDS)
        self.response.payload = {{'error': ''}}


class Push(Service):
    """ Sends until its peer, which does not read, takes no more. """
    name = 'blocking.push'

    async def handle(self):
        while True:
            began = time.monotonic()
            try:
                await self.out.zmq['blocking.full'].send(bytes(65_536))
            except Timeout as error:
                self.response.payload = {{'error': 'Timeout', 'message': str(error),
                                         'seconds': time.monotonic() - began}}
                return


class Asynchronous(Service):
    name = 'blocking.async'

    async def handle(self):
        await self.invoke_async('blocking.thread')
        self.response.payload = {{'error': ''}}


class Rows(Service):
    """ Converts 100,000 rows in Python, again and again. """
    name = 'blocking.rows'

    def handle(self):
        end = time.monotonic() + SECONDS
        rows = [(str(number), ' Anna ', '12.50') for number in range(100_000)]
        while time.monotonic() < end:
            [{{'id': int(key), 'name': name.strip(), 'price': Decimal(price)}} for key, name, price in rows]
        self.response.payload = {{'error': ''}}


class Stall(Service):
    """ What no service should do: holds the reactor. """
    name = 'blocking.stall'

    async def handle(self):
        time.sleep(SECONDS)
        self.response.payload = {{'error': ''}}
'''
_JOB = 'blocking.job'
_PLAIN = ('upload', 'sql', 'thread', 'async', 'rows', 'stall', 'push')
_IN = 'blocking.in'  # queue of the AMQP channel
_NODES = ['server1']  # that the channels run on: an environment may have a connector, too
_MQ_IN, _MQ_CONSUMERS = 'BLOCKING.IN', 10


@frozen(kw_only=True)
class FrozenPeer:
    """An outgoing connection whose peer freezes."""

    name: str
    object_type: str  # key of its object type; '' = it is no object of the configuration
    peer: str  # attribute of Peers
    call: str  # what the service does; {to} = name of the connection
    title: str  # how the error begins
    zato: str  # in Zato 1.1
    objects: Callable[[Peers, float, int], Mapping[str, Sequence[Mapping[str, Any]]]]  # peers, timeout, pool size
    errors: tuple[str, ...] = ('Timeout',)  # types of the errors
    has_other: bool = True  # whether there is another connection of this kind, whose peer is well
    count: int = 50  # calls at once in the benchmark


def _rest(peers: Peers, timeout: float, size: int) -> Mapping[str, Sequence[Mapping[str, Any]]]:
    return {'outgoing_rest': _pair('rest', timeout, size, peers.nginx, peers.other_nginx, url_path='/page')}


def _soap(peers: Peers, timeout: float, size: int) -> Mapping[str, Sequence[Mapping[str, Any]]]:
    return {'outgoing_soap': _pair('soap', timeout, size, peers.nginx, peers.other_nginx, url_path='/soap')}


def _pair(name: str, timeout: float, size: int, frozen_server: Nginx, other: Nginx, **fields: Any) -> Any:
    common = {'timeout': timeout, 'pool_size': size, 'proxy': 'none', **fields}
    return [{'name': f'{which}.{name}', 'host': f'http://127.0.0.1:{server.port}', **common}
            for which, server in (('frozen', frozen_server), ('other', other))]  # fmt: skip


def _sql(peers: Peers, timeout: float, size: int) -> Mapping[str, Sequence[Mapping[str, Any]]]:
    url = peers.database.replace('+psycopg', '')
    common = {'timeout': timeout, 'pool_size': size}
    return {'sql': [
        {'name': 'frozen.sql', 'url': url, **common},
        {'name': 'other.sql', 'url': f'sqlite:///{peers.directory / "other.sqlite"}', **common},
        {'name': 'blocking.slow', 'url': url, 'timeout': PATIENCE, 'pool_size': size},
    ]}  # fmt: skip


def _ftp(peers: Peers, timeout: float, size: int) -> Mapping[str, Sequence[Mapping[str, Any]]]:
    common = {'host': '127.0.0.1', 'user': USER, 'password': PASSWORD, 'timeout': timeout, 'pool_size': size}
    return {'outgoing_ftp': [{'name': f'{which}.ftp', 'port': server.port, **common}
                             for which, server in (('frozen', peers.ftp), ('other', peers.other_ftp))]}  # fmt: skip


def _amqp(peers: Peers, timeout: float, size: int) -> Mapping[str, Sequence[Mapping[str, Any]]]:
    return {
        'definition_amqp': [{'name': 'blocking.rabbit', **rabbitmq.definition(peers.rabbitmq)}],
        'channel_amqp': [{'name': 'blocking.amqp', 'definition': 'blocking.rabbit', 'queue': _IN,
                          'service': 'blocking.thread', 'prefetch': size, 'nodes': _NODES}],
        'outgoing_amqp': [{'name': 'frozen.amqp', 'definition': 'blocking.rabbit', 'timeout': timeout,
                           'exchange': 'amq.fanout', 'mandatory': False}],
    }  # fmt: skip


def _ibm_mq(peers: Peers, timeout: float, size: int) -> Mapping[str, Sequence[Mapping[str, Any]]]:
    pairs = (('frozen', peers.ibm_mq), ('other', peers.other_ibm_mq))
    return {
        'definition_ibm_mq': [{'name': f'blocking.{which}', 'host': '127.0.0.1', 'port': server.port,
                               'channel': mqi_loopback.CHANNEL, 'username': mqi_loopback.USER,
                               'password': mqi_loopback.PASSWORD} for which, server in pairs],
        'outgoing_ibm_mq': [{'name': f'{which}.ibm_mq', 'definition': f'blocking.{which}', 'timeout': timeout,
                             'pool_size': size, 'queue': mqi_loopback.QUEUE} for which, _ in pairs],
        'channel_ibm_mq': [{'name': 'blocking.ibm_mq', 'definition': 'blocking.other', 'queue': _MQ_IN,
                            'service': 'blocking.thread', 'consumers': _MQ_CONSUMERS, 'nodes': _NODES}],
    }  # fmt: skip


def _zmq(peers: Peers, timeout: float, size: int) -> Mapping[str, Sequence[Mapping[str, Any]]]:
    pairs = (('frozen', peers.zmq), ('other', peers.other_zmq))
    return {
        'outgoing_zmq': [
            *({'name': f'{which}.zmq', 'address': peer.address, 'socket_type': 'REQ', 'timeout': timeout}
              for which, peer in pairs),
            {'name': 'blocking.full', 'address': peers.zmq_sink.address, 'socket_type': 'PUSH', 'timeout': timeout,
             'queue_size': 1, 'send_hwm': 1},
        ],
        'channel_zmq': [{'name': 'blocking.zmq', 'address': peers.zmq_channel, 'socket_method': 'bind',
                         'service': 'blocking.thread', 'max_in_flight': size, 'nodes': _NODES}],
    }  # fmt: skip


_NO, _QUERY = 'does not block', 'blocks for as long as it takes to issue the query'
_KVDB = 'blocks until Redis replies'
_PUBLISH = 'blocks for as long as it takes to publish a message on Redis'
FROZEN = (
    FrozenPeer(name='rest', object_type='outgoing_rest', peer='nginx', call="await self.out.rest['{to}'].get()",
               title='Outgoing connection frozen.rest (rest)', zato=_NO, objects=_rest),
    FrozenPeer(name='soap', object_type='outgoing_soap', peer='nginx',
               call="await self.out.soap['{to}'].post('<ask xmlns=\"urn:x\"/>')",
               title='Outgoing connection frozen.soap (soap)', zato=_NO, objects=_soap),
    FrozenPeer(name='sql', object_type='sql', peer='postgresql',
               call="await self.out.sql['{to}'].fetch_value('select 1')",
               title='Outgoing connection frozen.sql (sql)', zato=_QUERY, objects=_sql),
    FrozenPeer(name='ftp', object_type='outgoing_ftp', peer='ftp', call="await self.out.ftp['{to}'].listdir()",
               title='Outgoing connection frozen.ftp (ftp)', zato=_NO,
               objects=_ftp),
    FrozenPeer(name='amqp', object_type='outgoing_amqp', peer='rabbitmq', call="await self.out.amqp['{to}'].send('x')",
               title='Outgoing connection frozen.amqp (amqp)', zato=_PUBLISH, objects=_amqp,
               errors=('DeliveryUnknown', 'MessageNotSent'), has_other=False, count=200),
    FrozenPeer(name='ibm_mq', object_type='outgoing_ibm_mq', peer='ibm_mq',
               call="await self.out.ibm_mq['{to}'].send('x')", title='Outgoing connection frozen.ibm_mq (ibm_mq)',
               zato=_PUBLISH, objects=_ibm_mq, count=200),
    FrozenPeer(name='zmq', object_type='outgoing_zmq', peer='zmq', call="await self.out.zmq['{to}'].send('x')",
               title='Outgoing connection frozen.zmq (zmq)', zato=_PUBLISH, objects=_zmq, count=200),
    FrozenPeer(name='redis', object_type='', peer='redis',
               call="await self.invoke_async('blocking.upload', {{'a': 1}})",
               title='Redis', zato=_PUBLISH,
               objects=lambda peers, timeout, size: {}, errors=('Timeout', 'ServiceUnavailable'), has_other=False),
    FrozenPeer(name='kvdb', object_type='', peer='redis', call="await self.kvdb.get('blocking')", title='Redis',
               zato=_KVDB, objects=lambda peers, timeout, size: {}, errors=('Timeout', 'ServiceUnavailable'),
               has_other=False),
)  # fmt: skip


class Peers:
    """The systems that are called. `environment`: the directory of the environment, whose Redis can be frozen too."""

    def __init__(self, environment: Path, postgresql: PostgreSQL) -> None:
        """`postgresql` runs, and is the caller's."""
        self.directory = environment.parent
        self.postgresql = postgresql
        self.database = postgresql.fresh()
        self.nginx = Nginx({'/page': b'fine'}, locations=_LOCATIONS)
        self.other_nginx = Nginx({'/page': b'fine'}, locations=_LOCATIONS)
        self.ftp, self.other_ftp = Pyftpdlib(), Pyftpdlib()
        self.zmq, self.other_zmq, self.zmq_sink = ZmqReplier(), ZmqReplier(), ZmqSink()
        self.zmq_channel = f'tcp://127.0.0.1:{free_port()}'
        self.rabbitmq = rabbitmq.shared()
        self.rabbitmq.queue(name=_IN)
        self.ibm_mq, self.other_ibm_mq = mqi_loopback.LoopbackQueueManager(), mqi_loopback.LoopbackQueueManager()
        self.ftp_channel = free_port()
        self.redis = _Redis(environment / 'redis' / 'server.pid')
        for server in self._started:
            server.start()
        self.other_ibm_mq.define(_MQ_IN)

    @property
    def _started(self) -> tuple[Daemon, ...]:
        return (self.nginx, self.other_nginx, self.ftp, self.other_ftp, self.zmq, self.other_zmq, self.ibm_mq,
                self.other_ibm_mq)  # fmt: skip

    @contextmanager
    def frozen(self, *names: str) -> Iterator[None]:
        """These take connections, as their kernel does, and say nothing until the block ends."""
        with ExitStack() as stack:
            for name in sorted(set(names)):
                peer = getattr(self, name)
                stack.callback(peer.thaw)
                peer.freeze()
            yield

    def close(self) -> None:
        """End those that were started here."""
        self.zmq_sink.close()
        for server in self._started:
            server.close()


@frozen
class _Redis:
    """The Redis of the environment."""

    pid_file: Path

    def freeze(self) -> None:
        os.kill(int(self.pid_file.read_text()), signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(int(self.pid_file.read_text()), signal.SIGCONT)


def services(seconds: float) -> str:
    """The module with the services. `seconds`: how long an operation takes."""
    text = _SERVICES.format(seconds=seconds)
    for peer in FROZEN:
        for which in ('frozen', 'other'):
            call = indent(peer.call.format(to=f'{which}.{peer.name}'), ' ' * 12)
            text += _CALL.format(class_name=f'{which}_{peer.name}'.title().replace('_', ''),
                                 name=f'{which}.{peer.name}', call=call)  # fmt: skip
    return text


def document(peers: Peers, seconds: float, size: int) -> dict[str, list[Any]]:
    """The enmasse document: connections that time out after `seconds`, with pools of `size`, and public channels."""
    names = (*_PLAIN, *(f'{which}.{peer.name}' for peer in FROZEN for which in ('frozen', 'other')))
    found: dict[str, list[Any]] = {'channel_rest': [
        {'name': f'blocking.{name}', 'url_path': path(name), 'service': f'blocking.{name}', 'security': None,
         'data_format': 'json'} for name in names
    ]}  # fmt: skip
    found['scheduler'] = [{'name': _JOB, 'service': 'blocking.thread', 'job_type': 'one_time',
                           'start_date': '2999-01-01T00:00:00Z'}]  # fmt: skip
    found['channel_ftp'] = [{'name': 'blocking.uploads', 'address': f'127.0.0.1:{peers.ftp_channel}', 'user': USER,
                             'password': PASSWORD, 'directory': 'blocking-uploads', 'service': 'blocking.upload',
                             'max_connections_per_address': 200}]  # fmt: skip
    for peer in FROZEN:
        for section, objects in peer.objects(peers, seconds, size).items():
            found.setdefault(section, []).extend(objects)
    return found


def path(name: str) -> str:
    """The URL path of a service."""
    return f'/blocking/{name.replace(".", "/")}'


@frozen(kw_only=True)
class Site:
    """The server that is measured."""

    port: int
    authorization: Mapping[str, str]  # of the administrator
    seconds: float  # how long an operation takes
    peers: Peers


@frozen
class Ended:
    """How operations have ended."""

    problems: Sequence[str] = ()  # a sentence for each that failed
    slowest: float = 0.0  # seconds of the longest call, where the services measure them


Finish = Callable[[], Ended]  # waits until the operations have ended


@frozen(kw_only=True)
class Operation:
    """What may block. `begin` starts so many of it."""

    title: str
    zato: str  # the same in Zato 1.1
    begin: Callable[[Site, int], Finish]
    count: int = 50  # of the benchmark
    peer: str = ''  # attribute of Peers that is frozen meanwhile
    p99: float = 5.0  # milliseconds that a ping may take
    is_timed: bool = False  # whether each call ends at its timeout


def _asked(name: str, errors: Collection[str] = ('',)) -> Callable[[Site, int], Finish]:
    """Requests to a service, which must report one of these errors."""

    def begin(site: Site, count: int) -> Finish:
        request = f'GET {path(name)} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'.encode()
        clients = [_connected(site, request) for _ in range(count)]
        return lambda: _ended([_received(client) for client in clients], errors)

    return begin


def _uploaded(site: Site, count: int) -> Finish:
    """Requests whose bodies come a byte at a time."""
    body = b'{"text": "a long one"}'
    head = (f'POST {path("upload")} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n'
            f'Content-Length: {len(body)}\r\n\r\n').encode()  # fmt: skip
    clients = [_connected(site, head) for _ in range(count)]

    def send() -> None:
        for index in range(len(body)):
            for client in clients:
                client.sendall(body[index : index + 1])
            time.sleep(site.seconds / len(body))

    sending = Thread(target=send)
    sending.start()

    def finish() -> Ended:
        sending.join()
        return _ended([_received(client) for client in clients])

    return finish


def _frozen_uploads(site: Site, count: int) -> Finish:
    """Uploads whose clients freeze in the middle, and then go on. To the server, a client that is silent is the same as
    one that is stopped."""
    began = time.monotonic()
    uploads = [_begun_upload(site.peers.ftp_channel, f'{began}-{number}') for number in range(count)]

    def finish() -> Ended:
        time.sleep(max(0.0, began + site.seconds - time.monotonic()))
        return Ended([problem for client, data in uploads if (problem := _ended_upload(client, data))])

    return finish


def _begun_upload(port: int, name: str) -> tuple[FTP, socket.socket]:
    client = FTP(timeout=PATIENCE)
    client.connect('127.0.0.1', port)
    client.login(USER, PASSWORD)
    data = client.transfercmd(f'STOR {name}')
    data.sendall(b'the first half, ')
    return client, data


def _ended_upload(client: FTP, data: socket.socket) -> str:
    with client, data:
        data.sendall(b'the second half')
        data.close()
        reply = client.voidresp()
    return '' if reply.startswith('226') else f'expected 226, received {reply}'


def _repeated(request: Callable[[int], tuple[str, Any]]) -> Callable[[Site, int], Finish]:
    """Calls of administrative services, one after the other until the time is over. `request`: service and payload of
    the call of that number."""

    def begin(site: Site, count: int) -> Finish:
        problems: list[str] = []

        def call() -> None:
            end, number = time.monotonic() + site.seconds, 0
            while time.monotonic() < end:
                number += 1
                service, payload = request(count * number)
                answer = ask(site.port, 'POST', f'/zato/api/invoke/{service}', fields=site.authorization,
                             body=json.dumps(payload).encode())  # fmt: skip
                if answer.status != 200:
                    problems.append(f'{service}: {answer.status} {answer.body[:300]!r}')

        calling = Thread(target=call)
        calling.start()

        def finish() -> Ended:
            calling.join()
            return Ended(problems)

        return finish

    return begin


def _deployment(number: int) -> tuple[str, Any]:
    source = 'from zatotx import Service\n' + ''.join(
        f"\nclass Deployed{index}(Service):\n    name = 'blocking.deployed.{index}'\n    revision = {number}\n"
        '    async def handle(self):\n        self.response.payload = {}\n'
        for index in range(50)
    )
    payload = {'payload': base64.b64encode(source.encode()).decode(), 'payload_name': 'blocking_deployed.py'}
    return 'zato.service.upload-package', payload


def _import(number: int) -> tuple[str, Any]:
    channels = [{'name': f'blocking.imported.{index}', 'url_path': f'/blocking/imported/{index}/{number}',
                 'service': 'blocking.upload', 'security': None} for index in range(200)]  # fmt: skip
    return 'zato.enmasse.import', {'document': {'channel_rest': channels}}


def _scheduled(site: Site, count: int) -> Finish:
    """Runs of a job whose service blocks a thread."""

    def call(action: str, payload: Any) -> Any:
        answer = ask(site.port, 'POST', f'/zato/api/invoke/zato.scheduler.job.{action}', fields=site.authorization,
                     body=json.dumps(payload).encode())  # fmt: skip
        found = json.loads(answer.body)
        return next(value for name, value in found.items() if name != 'zato_env') if answer.status == 200 else None

    cids = {row['cid'] for row in [call('execute', {'name': _JOB}) for _ in range(count)] if row}

    def finish() -> Ended:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            results = {run['cid']: run['result'] for run in call('get-history', {'name': _JOB}) or ()}
            if cids <= results.keys():
                return Ended([f'{cid}: {results[cid]}' for cid in cids if results[cid] != 'ok'])
            time.sleep(0.1)
        return Ended(['runs of the job are missing in the history' if len(cids) == count else 'execute failed'])

    return finish


def _consumed(kind: str, put: Callable[[Peers, int], object]) -> Callable[[Site, int], Finish]:
    """Messages to the channel of a kind, whose service blocks a thread. `put` sends so many."""

    def begin(site: Site, count: int) -> Finish:
        before = _processed(site, kind)
        put(site.peers, count)

        def finish() -> Ended:
            end = time.monotonic() + PATIENCE
            while time.monotonic() < end:
                if _processed(site, kind) - before == count:
                    return Ended()
                time.sleep(0.1)
            return Ended([f'{_processed(site, kind) - before:g} of {count} messages of {kind} were processed'])

        return finish

    return begin


def _processed(site: Site, kind: str) -> float:
    """The messages of the channel whose service has succeeded."""
    found = 0.0
    for line in _metrics(site).splitlines():
        if line.startswith('zatotx_channel_answers_total{') and f'channel="blocking.{kind}"' in line and '2xx' in line:
            found += float(line.rpartition(' ')[2])
    return found


def _push(peers: Peers, count: int) -> None:
    with zmq.Context() as context, context.socket(zmq.PUSH) as client:  # its end waits until all are sent
        client.connect(peers.zmq_channel)
        for _ in range(count):
            client.send(b'x')


_ALL = 'blocks the server thread'
_CONNECTOR = 'blocks the connector until Redis has the message'
LIVE = (
    Operation(title='receiving HTTP requests that come slowly', zato=_NO, begin=_uploaded),
    Operation(title='uploads to an FTP channel whose clients freeze', zato='has no such channel',
              begin=_frozen_uploads),
    Operation(title='SQL statements', zato=_QUERY, begin=_asked('sql')),
    Operation(title='services that block a thread', zato='block for as long as they run', begin=_asked('thread')),
    Operation(title='executing services from the scheduler', zato='blocks until the service returns', begin=_scheduled),
    Operation(title='messages of AMQP whose services block a thread', zato=_CONNECTOR,
              begin=_consumed('amqp', lambda peers, count: peers.rabbitmq.publish(_IN, *[b'x'] * count))),
    Operation(title='messages of ZeroMQ whose services block a thread', zato=_CONNECTOR, begin=_consumed('zmq', _push)),
    Operation(title='messages of IBM MQ whose services block a thread', zato=_CONNECTOR, count=_MQ_CONSUMERS,
              begin=_consumed('ibm_mq', lambda peers, count: peers.other_ibm_mq.fill(count, b'x', _MQ_IN))),
    Operation(title='sending to a ZeroMQ peer that does not read', zato=_PUBLISH, begin=_asked('push', ('Timeout',)),
              is_timed=True),
    Operation(title='asynchronous invocations', zato='block until Redis has the message', begin=_asked('async')),
    Operation(title='hot deployment, 50 services at a time', zato=_ALL, begin=_repeated(_deployment), count=1),
    Operation(title='enmasse import, 200 channels at a time', zato=_ALL, begin=_repeated(_import), count=1),
    Operation(title='threads that convert 100,000 rows', zato=_ALL, begin=_asked('rows'), count=4, p99=30.0),
)
OPERATIONS = (
    *LIVE,
    *(Operation(title=f'calls of a frozen peer: {peer.name}', zato=peer.zato, peer=peer.peer, count=peer.count,
                is_timed=True, begin=_asked(f'frozen.{peer.name}', peer.errors)) for peer in FROZEN),
)  # fmt: skip
STALL = Operation(title='a service that holds the reactor', zato=_ALL, begin=_asked('stall'), count=1)


def _connected(site: Site, data: bytes) -> socket.socket:
    client = socket.create_connection(('127.0.0.1', site.port), PATIENCE)
    client.sendall(data)
    return client


def _received(client: socket.socket) -> bytes:
    """The whole answer, whose end is that of the connection."""
    received = b''
    with client, suppress(OSError):
        while data := client.recv(65_536):
            received += data
    return received


def _ended(answers: Sequence[bytes], errors: Collection[str] = ('',)) -> Ended:
    """What services report. `errors`: the expected ones, '' = none."""
    problems, slowest = [], 0.0
    for answer in answers:
        head, _, body = answer.partition(b'\r\n\r\n')
        with suppress(ValueError, KeyError):
            found = json.loads(body)
            if head.startswith(b'HTTP/1.1 200 ') and found['error'] in errors:
                slowest = max(slowest, found.get('seconds', 0.0))
                continue
        problems.append(f'expected {" or ".join(errors) or "success"}, received {answer[:400]!r}')
    return Ended(problems, slowest)


def _metrics(site: Site) -> str:
    """The metrics of the server."""
    return ask(site.port, 'GET', '/zato/metrics', fields=site.authorization).body.decode()


@frozen
class Stalls:
    """The watchdog's histogram of a server: upper bound in seconds -> timer calls that were at most so late."""

    counts: Mapping[float, int] = field(factory=dict)

    @classmethod
    def read(cls, site: Site) -> Stalls:
        """Scrape the metrics of the server."""
        found = {}
        for line in _metrics(site).splitlines():
            if line.startswith('zatotx_reactor_stall_seconds_bucket'):
                labels, _, value = line.rpartition(' ')
                found[float(labels.partition('le="')[2].partition('"')[0])] = int(float(value))
        return cls(found)

    def longest_since(self, before: Stalls) -> float:
        """The upper bound, in seconds, of the longest stall since then; infinite above the last bound."""
        new = {bound: count - before.counts.get(bound, 0) for bound, count in self.counts.items()}
        total = max(new.values())
        return min(bound for bound, count in new.items() if count == total)
