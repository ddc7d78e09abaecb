"""Operations that take seconds, and peers that freeze: what must not delay the other requests of a server.

`OPERATIONS` has an entry for each row of the table of blocking operations in Zato 1.1's documentation, and for what may
block here. `FROZEN` has one for each kind of outgoing connection: a new kind adds its entry there, and a peer that can
be frozen to `Peers`. `trial_tests/acceptance/test_nothing_blocks.py` runs a few of each, `bench/blocking.py` fifty.
"""

from __future__ import annotations

import base64
import json
import os
import selectors
import signal
import socket
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from ftplib import FTP
from itertools import cycle
from pathlib import Path
from textwrap import indent
from threading import Event, Thread
from typing import Any

from attrs import field, frozen

from trial_tests.support import mqi_loopback, rabbitmq
from trial_tests.support.daemon import Daemon
from trial_tests.support.ftp_servers import PASSWORD, USER, Pyftpdlib
from trial_tests.support.nginx import Nginx
from trial_tests.support.ports import free_port
from trial_tests.support.postgresql import PostgreSQL
from trial_tests.support.rawhttp import ask
from trial_tests.support.zmq_replier import ZmqReplier

PATIENCE = 60.0  # seconds until a client gives up: the machine may be busy
_PING_CLIENTS = 20  # connections that ask for /zato/ping in turns
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
_PLAIN = ('upload', 'sql', 'thread', 'async', 'rows', 'stall')


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
        'definition_amqp': [{'name': 'blocking.rabbit', 'host': '127.0.0.1', 'port': peers.rabbitmq.port,
                             'username': rabbitmq.USER, 'password': rabbitmq.PASSWORD}],
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
    }  # fmt: skip


def _zmq(peers: Peers, timeout: float, size: int) -> Mapping[str, Sequence[Mapping[str, Any]]]:
    return {'outgoing_zmq': [
        {'name': f'{which}.zmq', 'address': f'tcp://127.0.0.1:{peer.port}', 'socket_type': 'REQ', 'timeout': timeout}
        for which, peer in (('frozen', peers.zmq), ('other', peers.other_zmq))
    ]}  # fmt: skip


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
               errors=('DeliveryUnknown', 'MessageNotSent'), has_other=False),
    FrozenPeer(name='ibm_mq', object_type='outgoing_ibm_mq', peer='ibm_mq',
               call="await self.out.ibm_mq['{to}'].send('x')", title='Outgoing connection frozen.ibm_mq (ibm_mq)',
               zato=_PUBLISH, objects=_ibm_mq),
    FrozenPeer(name='zmq', object_type='outgoing_zmq', peer='zmq', call="await self.out.zmq['{to}'].send('x')",
               title='Outgoing connection frozen.zmq (zmq)', zato=_PUBLISH, objects=_zmq),
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
        self.zmq, self.other_zmq = ZmqReplier(), ZmqReplier()
        self.rabbitmq = rabbitmq.shared()
        self.ibm_mq, self.other_ibm_mq = mqi_loopback.LoopbackQueueManager(), mqi_loopback.LoopbackQueueManager()
        self.ftp_channel = free_port()
        self.redis = _Redis(environment / 'redis' / 'server.pid')
        for server in self._started:
            server.start()

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
    ftp_port: int  # of its FTP channel


Finish = Callable[[], list[str]]  # waits until the operations have ended; a sentence for each that failed


@frozen(kw_only=True)
class Operation:
    """What may block. `begin` starts so many of it."""

    title: str
    zato: str  # the same in Zato 1.1
    begin: Callable[[Site, int], Finish]
    count: int = 50  # of the benchmark
    peer: str = ''  # attribute of Peers that is frozen meanwhile
    p99: float = 5.0  # milliseconds that a ping may take


def _asked(name: str, errors: Collection[str] = ('',)) -> Callable[[Site, int], Finish]:
    """Requests to a service, which must report one of these errors."""

    def begin(site: Site, count: int) -> Finish:
        request = f'GET {path(name)} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'.encode()
        clients = [_connected(site, request) for _ in range(count)]
        return lambda: [problem for client in clients if (problem := _problem(_received(client), errors))]

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

    def finish() -> list[str]:
        sending.join()
        return [problem for client in clients if (problem := _problem(_received(client), ('',)))]

    return finish


def _frozen_uploads(site: Site, count: int) -> Finish:
    """Uploads whose clients freeze in the middle, and then go on. To the server, a client that is silent is the same as
    one that is stopped."""
    began = time.monotonic()
    uploads = [_begun_upload(site.ftp_port, f'{began}-{number}') for number in range(count)]

    def finish() -> list[str]:
        time.sleep(max(0.0, began + site.seconds - time.monotonic()))
        return [problem for client, data in uploads if (problem := _ended_upload(client, data))]

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

        def finish() -> list[str]:
            calling.join()
            return problems

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

    def finish() -> list[str]:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            results = {run['cid']: run['result'] for run in call('get-history', {'name': _JOB}) or ()}
            if cids <= results.keys():
                return [f'{cid}: {results[cid]}' for cid in cids if results[cid] != 'ok']
            time.sleep(0.1)
        return ['runs of the job are missing in the history'] if len(cids) == count else ['execute failed']

    return finish


_ALL = 'blocks the server thread'
LIVE = (
    Operation(title='receiving HTTP requests that come slowly', zato=_NO, begin=_uploaded),
    Operation(title='uploads to an FTP channel whose clients freeze', zato='has no such channel',
              begin=_frozen_uploads),
    Operation(title='SQL statements', zato=_QUERY, begin=_asked('sql')),
    Operation(title='services that block a thread', zato='block for as long as they run', begin=_asked('thread')),
    Operation(title='executing services from the scheduler', zato='blocks until the service returns', begin=_scheduled),
    Operation(title='asynchronous invocations', zato='block until Redis has the message', begin=_asked('async')),
    Operation(title='hot deployment, 50 services at a time', zato=_ALL, begin=_repeated(_deployment), count=1),
    Operation(title='enmasse import, 200 channels at a time', zato=_ALL, begin=_repeated(_import), count=1),
    Operation(title='threads that convert 100,000 rows', zato=_ALL, begin=_asked('rows'), count=4, p99=30.0),
)
OPERATIONS = (
    *LIVE,
    *(Operation(title=f'calls of a frozen peer: {peer.name}', zato=peer.zato, peer=peer.peer,
                begin=_asked(f'frozen.{peer.name}', peer.errors)) for peer in FROZEN),
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


def _problem(answer: bytes, errors: Collection[str]) -> str:
    """Why that is not the expected answer; '' if it is."""
    head, _, body = answer.partition(b'\r\n\r\n')
    try:
        if head.startswith(b'HTTP/1.1 200 ') and json.loads(body)['error'] in errors:
            return ''
    except (ValueError, KeyError):
        pass
    return f'expected {" or ".join(errors) or "success"}, received {answer[:400]!r}'


class Pings:
    """Asks for /zato/ping in an open loop while the block runs, at least once: each when it is due, on the next of
    several connections, whether the ones before it were answered or not. `times`: milliseconds of each; one that was
    not answered counts as PATIENCE."""

    def __init__(self, port: int, rate: float, *, core: int | None = None) -> None:
        """`rate`: pings per second. `core`: the only CPU of the thread that asks."""
        self.times: list[float] = []
        self._port, self._interval, self._core = port, 1 / rate, core
        self._over = Event()
        self._thread = Thread(target=self._run, daemon=True)

    def __enter__(self) -> Pings:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    @property
    def p99(self) -> float:
        """The 99th percentile."""
        return sorted(self.times)[(len(self.times) * 99 - 1) // 100]

    def _run(self) -> None:
        if self._core is not None:
            os.sched_setaffinity(0, {self._core})  # of this thread
        with selectors.DefaultSelector() as selector, ExitStack() as stack:
            clients = cycle([stack.enter_context(_PingClient(self._port, selector)) for _ in range(_PING_CLIENTS)])
            began = due = time.perf_counter()
            while not (self._over.is_set() and due > began):
                wait = due - time.perf_counter()
                if wait <= 0:
                    next(clients).send()
                    due += self._interval
                self._receive(selector, max(0.0, wait))
            end = time.perf_counter() + PATIENCE
            while any(key.data.sent for key in selector.get_map().values()) and time.perf_counter() < end:
                self._receive(selector, 0.1)
            lost = sum(len(key.data.sent) for key in selector.get_map().values())
            self.times += [PATIENCE * 1000] * lost

    def _receive(self, selector: selectors.BaseSelector, wait: float) -> None:
        for key, _ in selector.select(wait):
            self.times += key.data.received()


class _PingClient:
    """One connection with pings. `sent`: when those that wait for their answers were sent."""

    def __init__(self, port: int, selector: selectors.BaseSelector) -> None:
        self.sent: deque[float] = deque()
        self._client = socket.create_connection(('127.0.0.1', port), PATIENCE)
        self._client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._client.setblocking(False)
        selector.register(self._client, selectors.EVENT_READ, self)
        self._selector = selector

    def __enter__(self) -> _PingClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def send(self) -> None:
        """Send one more."""
        self.sent.append(time.perf_counter())
        with suppress(OSError):  # a lost connection: its pings count as not answered
            self._client.send(b'GET /zato/ping HTTP/1.1\r\nHost: x\r\n\r\n')

    def received(self) -> list[float]:
        """Milliseconds of the pings whose answers have come."""
        now = time.perf_counter()
        try:
            answers = self._client.recv(65_536)
        except OSError:
            answers = b''
        if not answers:  # a lost connection, whose pings count as not answered
            time.sleep(0.001)
        count = min(len(self.sent), answers.count(b'HTTP/1.1 200 '))
        return [(now - self.sent.popleft()) * 1000 for _ in range(count)]


@frozen
class Stalls:
    """The watchdog's histogram of a server: upper bound in seconds -> timer calls that were at most so late."""

    counts: Mapping[float, int] = field(factory=dict)

    @classmethod
    def read(cls, site: Site) -> Stalls:
        """Scrape the metrics of the server."""
        text = ask(site.port, 'GET', '/zato/metrics', fields=site.authorization).body.decode()
        found = {}
        for line in text.splitlines():
            if line.startswith('zatotx_reactor_stall_seconds_bucket'):
                labels, _, value = line.rpartition(' ')
                found[float(labels.partition('le="')[2].partition('"')[0])] = int(float(value))
        return cls(found)

    def longest_since(self, before: Stalls) -> float:
        """The upper bound, in seconds, of the longest stall since then; infinite above the last bound."""
        new = {bound: count - before.counts.get(bound, 0) for bound, count in self.counts.items()}
        total = max(new.values())
        return min(bound for bound, count in new.items() if count == total)
