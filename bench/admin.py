"""Benchmarks of the web admin with 1,000 channels: the time of its pages, its memory, and what 50 people who watch the
live figures cost a server."""

from __future__ import annotations

import http.client
import os
import re
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from urllib.parse import urlencode

from bench import subjects
from bench.environment import CommandError, Environment, quickstart
from bench.figures import Row
from bench.machine import memory

CHANNELS, ADMINS = 1_000, 50
ROUNDS = 25  # requests of each page
WATCHED = 20.0  # seconds
PAGES = ('/', '/servers', '/services', '/objects/channel_rest', '/objects/channel_rest?sort=-name&page=7',
         '/objects/channel_rest?query=42', '/objects/channel_rest/create', '/objects/basic_auth', '/history',
         '/scheduler', '/statistics', '/search?q=42', '/settings')  # fmt: skip
MEDIAN, P99, RSS, CORE_SHARE = 30.0, 150.0, 120.0, 3.0  # milliseconds, milliseconds, MB, per cent
_ADMIN_PORT, _SERVER_PORT = 8183, 17010
_TOKEN = re.compile('name="csrf_token" value="([0-9a-f]+)"')


def measure(say: Callable[[str], None]) -> list[Row]:
    """Measure an environment with a web admin."""
    with tempfile.TemporaryDirectory(prefix='zatotx-bench-') as name, quickstart() as environment:
        environment.start()
        folder = Path(name)
        environment.deploy([subjects.echo_module(folder)])
        environment.enmasse(subjects.many_channels(folder, CHANNELS)[0])
        client = AdminClient(environment)
        client.log_in()
        for page in PAGES:  # templates are compiled at their first use
            client.time_of(page)
        times = _times(client, say)
        rows = [_time_row('median', median(times), MEDIAN), _time_row('p99', times[int(len(times) * 0.99)], P99)]
        share = live_cost(environment, say)
        what = f'CPU time of a server that {ADMINS} live admins cost, per cent of a core'
        rows.append(Row(what=what, figure=f'{share:.2f} %', value=share, bar=CORE_SHARE, unit=' %'))
        rss = memory(_pid(environment, 'web-admin')).rss / 1e6
        what = 'memory of the web admin after that'
        rows.append(Row(what=what, figure=f'{rss:.1f} MB', value=rss, bar=RSS, unit=' MB'))
        return rows


def _times(client: AdminClient, say: Callable[[str], None]) -> list[float]:
    """The times of all pages in milliseconds, sorted."""
    times: list[float] = []
    for page in PAGES:
        found = sorted(client.time_of(page) for _ in range(ROUNDS))
        say(f'  {page}: {median(found):.1f} ms, at most {found[-1]:.1f} ms')
        times += found
    return sorted(times)


def _time_row(which: str, value: float, bar: float) -> Row:
    what = f'{which} time of {len(PAGES)} pages of the web admin with {CHANNELS:,} channels'
    return Row(what=what, figure=f'{value:.1f} ms', value=value, bar=bar, unit=' ms')


class AdminClient:
    """A browser without a window, on one connection."""

    def __init__(self, environment: Environment) -> None:
        self.port = environment.port - _SERVER_PORT + _ADMIN_PORT
        self.connection = http.client.HTTPConnection('127.0.0.1', self.port, timeout=60)
        self.cookies: dict[str, str] = {}
        self.user = environment.credentials()['web_admin']

    def log_in(self) -> None:
        """Log in. Raises CommandError."""
        found = _TOKEN.search(self.send('GET', '/login')[1])
        if found is None:
            raise CommandError('the login page has no form')
        form = {'csrf_token': found[1], 'username': self.user['username'], 'password': self.user['password']}
        status, _ = self.send('POST', '/login', urlencode(form))
        if status != 303:
            raise CommandError(f'the login was answered with {status}')

    def send(self, method: str, path: str, body: str = '') -> tuple[int, str]:
        """Send a request; returns status and text."""
        fields = {'Cookie': self.cookie, 'Content-Type': 'application/x-www-form-urlencoded'}
        self.connection.request(method, path, body or None, fields)
        response = self.connection.getresponse()
        text = response.read().decode()
        for value in response.headers.get_all('Set-Cookie', []):
            name, _, rest = value.partition('=')
            self.cookies[name] = rest.partition(';')[0]
        return response.status, text

    @property
    def cookie(self) -> str:
        """The Cookie field."""
        return '; '.join(f'{name}={value}' for name, value in self.cookies.items())

    def time_of(self, page: str) -> float:
        """The time of a page in milliseconds. Raises CommandError unless it is answered with 200."""
        started = time.perf_counter()
        status, _ = self.send('GET', page)
        taken = 1000 * (time.perf_counter() - started)
        if status != 200:
            raise CommandError(f'{page} was answered with {status}')
        return taken


def live_cost(environment: Environment, say: Callable[[str], None]) -> float:
    """The share of a core that the live figures of 50 admins cost a server, in per cent: with them, less without."""
    pid = environment.server_pid()
    idle = _share(pid)
    with _streams(environment) as sockets:
        time.sleep(5)
        watched = _share(pid)
        received = _received(sockets)
    say(f'  {ADMINS} streams: {idle:.2f} % of a core without, {watched:.2f} % with them; {received} of them got events')
    if received < ADMINS:
        raise CommandError(f'only {received} of {ADMINS} streams got events')
    return max(0.0, watched - idle)


@contextmanager
def _streams(environment: Environment) -> Iterator[list[socket.socket]]:
    """Open the live figures in 50 sessions."""
    with ExitStack() as stack:
        sockets = []
        for _ in range(ADMINS):
            client = AdminClient(environment)
            client.log_in()
            client.connection.close()
            stream = stack.enter_context(socket.create_connection(('127.0.0.1', client.port), timeout=30))
            head = f'GET /live HTTP/1.1\r\nHost: 127.0.0.1:{client.port}\r\nCookie: {client.cookie}\r\n\r\n'
            stream.sendall(head.encode())
            sockets.append(stream)
        yield sockets


def _received(sockets: Sequence[socket.socket]) -> int:
    return sum(b'event: figures' in each.recv(1 << 20) for each in sockets)


def _share(pid: int) -> float:
    """The share of a core that a process uses, in per cent."""
    before = _ticks(pid)
    time.sleep(WATCHED)
    return 100 * (_ticks(pid) - before) / os.sysconf('SC_CLK_TCK') / WATCHED


def _ticks(pid: int) -> int:
    fields = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()
    return int(fields[11]) + int(fields[12])


def _pid(environment: Environment, part: str) -> int:
    """The process of a component."""
    directory = str(environment.path / part)
    for entry in Path('/proc').iterdir():
        try:
            if entry.name.isdigit() and directory in (entry / 'cmdline').read_bytes().replace(b'\0', b' ').decode():
                return int(entry.name)
        except OSError:
            continue
    raise CommandError(f'No process runs {directory}')
