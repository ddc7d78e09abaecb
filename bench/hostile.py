"""Benchmarks of malicious clients: their memory cost, and the latency of other requests meanwhile.

A scenario is a function in SCENARIOS that takes a running environment and yields rows.
"""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event, Thread

import yaml

from bench import load
from bench.environment import Environment
from bench.figures import Row
from bench.footprint import allow_files
from bench.machine import forget_peak, memory

PING_BAR = 100.0  # milliseconds, for the 99th percentile of /zato/ping during any scenario
_PATIENCE = 5.0  # seconds after which a ping counts as lost
_HOARD = 6_000  # connections that one address opens
_SECONDS = 3.0  # duration of a scenario
_SERVICE = '''
from zatotx import Service


class Megabyte(Service):
    """ Returns a megabyte. """
    name = 'bench.megabyte'

    async def handle(self):
        self.response.payload = 'x' * 1_000_000
'''
_PATH = '/m'


class Watch:
    """Measurements of a server: the growth of its memory at the peak, and the durations of pings."""

    def __init__(self) -> None:
        self.growth = 0.0  # MB
        self.pings: list[float] = []  # milliseconds

    @property
    def p99(self) -> float:
        """The 99th percentile of the pings, in milliseconds."""
        return sorted(self.pings)[(len(self.pings) * 99 - 1) // 100]

    def rows(self, what: str, megabytes: float) -> Iterator[Row]:
        """Yield a row for the memory, with `megabytes` as its bar, and one for the pings."""
        yield Row(what=f'memory: {what}', figure=f'{self.growth:+.1f} MB', value=self.growth, bar=megabytes, unit=' MB')
        yield Row(what='p99 of /zato/ping during it', figure=f'{self.p99:.1f} ms of {len(self.pings)}', value=self.p99,
                  bar=PING_BAR, unit=' ms')  # fmt: skip


@contextmanager
def watched(environment: Environment, before: int = 0) -> Iterator[Watch]:
    """Ping the server and measure its memory until the block ends. `before`: its memory in bytes at the start of the
    scenario, if that was earlier."""
    pid, watch, over = environment.server_pid(), Watch(), Event()
    before = before or memory(pid).rss
    forget_peak(pid)
    pinging = Thread(target=_ping, args=(environment.port, watch.pings, over))
    pinging.start()
    try:
        yield watch
    finally:
        over.set()
        pinging.join()
        watch.growth = (memory(pid).peak - before) / 1e6


def _ping(port: int, pings: list[float], over: Event) -> None:
    """Ping every few milliseconds, each time on a new connection. A failed ping counts as _PATIENCE."""
    while not over.wait(0.005):
        began = time.perf_counter()
        client = http.client.HTTPConnection('127.0.0.1', port, timeout=_PATIENCE)
        try:
            client.request('GET', '/zato/ping')
            client.getresponse().read()
        except (OSError, http.client.HTTPException):
            pings.append(_PATIENCE * 1000)
        else:
            pings.append((time.perf_counter() - began) * 1000)
        client.close()


def serve(environment: Environment, folder: Path) -> None:
    """Deploy the service and its public channel."""
    module, channels = folder / 'bench_megabyte.py', folder / 'hostile.yaml'
    module.write_text(_SERVICE)
    channel = {'name': 'bench.megabyte', 'url_path': _PATH, 'service': 'bench.megabyte', 'security': None}
    channels.write_text(yaml.safe_dump({'channel_rest': [channel]}))
    environment.deploy([module])
    environment.enmasse(channels)
    environment.wait_until_served(load.Request(path=_PATH, method='GET'))


def measure(environment: Environment, folder: Path, say: Callable[[str], None]) -> Iterator[Row]:
    """Yield the rows of all scenarios."""
    serve(environment, folder)
    for name, scenario in SCENARIOS.items():
        say(f'  {name}')
        yield from scenario(environment)


def unread_pipeline(environment: Environment) -> Iterator[Row]:
    """Pipeline 2,096 requests for a megabyte on one connection without reading the responses.

    A large POST before them makes the server read 64 KiB at once.
    """
    post = b'POST %b HTTP/1.1\r\nHost: a\r\nContent-Length: 20000\r\n\r\n' % _PATH.encode() + b'x' * 20_000
    gets = b'GET %b HTTP/1.1\r\nHost:a\r\n\r\n' % _PATH.encode() * 2_096
    with watched(environment) as watch, socket.create_connection(('127.0.0.1', environment.port)) as client:
        client.sendall(post)
        client.sendall(gets)
        time.sleep(_SECONDS)
        if not client.recv(100).startswith(b'HTTP/1.1 200 '):
            raise load.LoadError('The pipeline was not served')
    yield from watch.rows('2,096 pipelined responses of 1 MB that the client does not read', 96)


def hoarded_connections(environment: Environment) -> Iterator[Row]:
    """Open a thousand connections more than the limit per address, and keep those that are accepted."""
    allow_files(_HOARD + 200)
    before = memory(environment.server_pid()).rss
    with ExitStack() as stack:
        clients = []
        for _ in range(_HOARD):
            client = stack.enter_context(socket.socket())
            client.bind(('127.0.0.2', 0))
            client.connect_ex(('127.0.0.1', environment.port))  # over the limit, it may be closed before it returns
            clients.append(client)
        with watched(environment, before) as watch:
            time.sleep(_SECONDS)
        held = sum(_is_open(client) for client in clients)
    yield Row(what=f'open connections of one address, of {_HOARD:,} tried', figure=f'{held:,}', value=held, bar=5_000)
    yield from watch.rows('the maximum number of connections from one address', 64)


def _is_open(client: socket.socket) -> bool:
    client.setblocking(False)
    try:
        return client.recv(1) != b''
    except BlockingIOError:
        return True
    except OSError:
        return False


SCENARIOS: dict[str, Callable[[Environment], Iterator[Row]]] = {
    'pipelined requests without reading the responses': unread_pipeline,
    'one address with too many connections': hoarded_connections,
}
