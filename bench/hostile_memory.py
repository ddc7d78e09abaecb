"""Benchmarks of memory under attack: slow uploads, large XML, and reference cycles that contain bodies.

Each scenario starts with a new server process, so that memory freed by an earlier scenario does not hide growth.
"""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Event, Thread

import yaml

from bench import load, subjects
from bench.environment import Environment
from bench.figures import Row
from bench.footprint import allow_files
from bench.machine import forget_peak, memory

DRIBBLERS, DRIBBLED = 400, 1024 * 1024  # clients, bytes per body
XML_POSTS, XML_SIZE = 40, 15_000_000
CYCLES, FAILURES, BODY = 600, 200, 1_000_000  # requests, bytes per body
_MB = 1_000_000
_PIECE = 64 * 1024
_DRIBBLING = 12.0  # seconds
_AT_ONCE = 4  # concurrent clients in the garbage scenarios
_GIVEN_BACK = 15.0  # seconds within which memory has to be released after a peak
_PATIENCE = 120.0  # timeout of a client in seconds
_SERVICES = '''
from twisted.internet.defer import fail, gatherResults, succeed

from zatotx import Service


class Cycle(Service):
    """ Creates a reference cycle that contains the body. """
    name = 'bench.cycle'

    async def handle(self):
        cycle = {'body': self.request.raw_request}
        cycle['itself'] = cycle
        self.response.payload = 'done'


class Fails(Service):
    """ Waits for two Deferreds, one of which fails. """
    name = 'bench.fails'

    async def handle(self):
        body = self.request.raw_request
        await gatherResults([succeed(body), fail(ValueError('no'))], consumeErrors=True)


class Sink(Service):
    """ Accepts any request. """
    name = 'bench.sink'

    async def handle(self):
        self.response.payload = 'done'
'''


def serve(environment: Environment, folder: Path) -> None:
    """Deploy the services and their channels, all but one of which are public."""
    file = folder / 'bench_hostile.py'
    file.write_text(_SERVICES)
    environment.deploy([file])
    signed = {'name': 'bench.wss', 'type': 'wss', 'username': 'bench.wss', 'password': 'not-sent-by-anybody'}
    channels = [_channel('cycle'), _channel('fails'), _channel('sink'),
                {**_channel('sink', 'signed'), 'data_format': 'xml', 'security': 'bench.wss'}]  # fmt: skip
    document = folder / 'hostile.yaml'
    document.write_text(yaml.safe_dump({'security': [signed], 'channel_rest': channels}, sort_keys=False))
    environment.enmasse(document)


def measure(environment: Environment, folder: Path, say: Callable[[str], None]) -> list[Row]:
    """Run all scenarios. The environment runs and serves the echo."""
    allow_files(DRIBBLERS + 200)
    serve(environment, folder)
    rows: list[Row] = []
    for scenario in (dribbling, xml_without_token, cycles, failures):
        environment.stop()
        environment.start()
        environment.wait_until_served(subjects.echo())
        for row in scenario(environment):
            say(f'  {row.what}: {row.figure}')
            rows.append(row)
    return rows


def dribbling(environment: Environment) -> Iterator[Row]:
    """Send most of a body quickly and the rest byte by byte, with many clients."""
    head = f'POST /bench/hostile/sink HTTP/1.1\r\nHost: bench\r\nContent-Length: {DRIBBLED}\r\n\r\n'.encode()
    started = _Memory(environment)
    with _well_behaved(environment) as client, ExitStack() as stack:
        connections = [stack.enter_context(socket.create_connection(('127.0.0.1', environment.port), timeout=15))
                       for _ in range(DRIBBLERS)]  # fmt: skip
        for sent in range(0, DRIBBLED - _PIECE, _PIECE):
            for connection in connections:
                _send(connection, (head if not sent else b'') + bytes(_PIECE))
        until = time.monotonic() + _DRIBBLING
        while time.monotonic() < until:
            for connection in connections:
                _send(connection, b'x')
            time.sleep(0.5)
        cost = started.cost()
    yield _memory_row(f'{DRIBBLERS} slow uploads of 1 MiB each', cost, 128)
    yield client.row('during slow uploads')


def xml_without_token(environment: Environment) -> Iterator[Row]:
    """Send large documents without a token to a channel with WS-Security."""
    row = b'<row number="12345678"><name>a name that is not so long</name></row>\n'
    document = b'<rows>' + row * ((XML_SIZE - 13) // len(row)) + b'</rows>'
    started = _Memory(environment)
    with _well_behaved(environment) as client:
        statuses = _at_once(environment.port, '/bench/hostile/signed', document, XML_POSTS, XML_POSTS)
    yield _memory_row(f'{XML_POSTS} posts of {XML_SIZE // _MB} MB of XML ({_counted(statuses)})', started.cost(), 256)
    yield client.row('during XML posts')
    until = time.monotonic() + _GIVEN_BACK
    while (left := started.left()) > 32 * _MB and time.monotonic() < until:
        time.sleep(0.5)
    yield _memory_row('XML posts, not released afterwards', left, 64)


def cycles(environment: Environment) -> Iterator[Row]:
    """Call a service that leaves a reference cycle with its body."""
    yield _garbage(environment, 'cycle', CYCLES, 160)


def failures(environment: Environment) -> Iterator[Row]:
    """Call a service that fails in gatherResults; the failures keep stack frames with bodies alive."""
    yield _garbage(environment, 'fails', FAILURES, 96)


def _garbage(environment: Environment, name: str, count: int, bar: float) -> Row:
    started = _Memory(environment)
    statuses = _at_once(environment.port, f'/bench/hostile/{name}', bytes(BODY), count, _AT_ONCE)
    time.sleep(1)
    what = f'{count} requests of 1 MB to bench.{name} ({_counted(statuses)}), not released'
    return _memory_row(what, started.left(), bar)


class _Memory:
    """The growth of a server's memory since this object was created."""

    def __init__(self, environment: Environment) -> None:
        self._pid = environment.server_pid()
        forget_peak(self._pid)
        self._before = memory(self._pid).rss

    def cost(self) -> int:
        """The growth at the peak, in bytes."""
        return memory(self._pid).peak - self._before

    def left(self) -> int:
        """The current growth in bytes."""
        return memory(self._pid).rss - self._before


class _WellBehaved:
    """An authenticated client that calls the echo repeatedly."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._took: list[float] = []
        self._failed = 0
        self.over = Event()

    def run(self) -> None:
        """Send requests until `over` is set. Runs in a thread."""
        while not self.over.wait(0.02):
            began = time.monotonic()
            try:
                good = load.answer(self._port, subjects.echo())[0] == 200
            except (OSError, http.client.HTTPException):
                good = False
            self._took.append(time.monotonic() - began)
            self._failed += not good

    def row(self, when: str) -> Row:
        """The row with the number of failed requests."""
        slowest = max(self._took, default=0.0)
        figure = f'{self._failed} of {len(self._took)} (slowest {slowest * 1000:.0f} ms)'
        return Row(what=f'failed requests of other clients {when}', figure=figure, value=self._failed, bar=0)


@contextmanager
def _well_behaved(environment: Environment) -> Iterator[_WellBehaved]:
    client = _WellBehaved(environment.port)
    thread = Thread(target=client.run, daemon=True)
    thread.start()
    try:
        yield client
    finally:
        client.over.set()
        thread.join()


def _at_once(port: int, path: str, body: bytes, count: int, clients: int) -> list[int]:
    """Send `count` POST requests from `clients` threads and return their statuses; 0 means no response."""
    statuses: list[int] = []

    def post(times: int) -> None:
        for _ in range(times):
            connection = http.client.HTTPConnection('127.0.0.1', port, timeout=_PATIENCE)
            try:
                connection.request('POST', path, body)
                statuses.append(connection.getresponse().status)
            except OSError:
                statuses.append(0)
            finally:
                connection.close()

    threads = [Thread(target=post, args=(count // clients,), daemon=True) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return statuses


def _send(connection: socket.socket, data: bytes) -> None:
    with suppress(OSError):  # the server is allowed to close the connection
        connection.sendall(data)


def _counted(statuses: list[int]) -> str:
    return ', '.join(f'{statuses.count(status)} x {status or "no response"}' for status in sorted(set(statuses)))


def _memory_row(what: str, size: int, bar: float) -> Row:
    return Row(what=f'memory: {what}', figure=f'{size / _MB:+.1f} MB', value=size / _MB, bar=bar, unit=' MB')


def _channel(service: str, path: str = '') -> dict[str, object]:
    return {'name': f'bench.hostile.{path or service}', 'url_path': f'/bench/hostile/{path or service}',
            'service': f'bench.{service}', 'method': 'POST'}  # fmt: skip
