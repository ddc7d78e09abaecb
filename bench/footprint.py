"""What a server holds: while nobody asks, and for each connection that is kept alive."""

from __future__ import annotations

import resource
import socket
import time
from contextlib import ExitStack

from bench import load, subjects
from bench.environment import Environment
from bench.figures import Row
from bench.machine import memory

IDLE_CONNECTIONS = 2000
_SETTLE = 3.0  # seconds in which a server that just started may still tidy up


def measure_idle(environment: Environment) -> Row:
    """The server as it is after its start, asked once."""
    load.answer(environment.port, load.Request(path='/zato/ping', method='GET'))
    time.sleep(_SETTLE)
    megabytes = memory(environment.server_pid()).rss / 1e6
    return Row(what='memory of an idle server', figure=f'{megabytes:.1f} MB', value=megabytes, bar=90, unit=' MB')


def measure_connections(environment: Environment) -> Row:
    """So many connections that each asked once and are kept alive."""
    allow_files(IDLE_CONNECTIONS + 200)
    environment.stop()  # memory that earlier load left free would make connections look cheap
    environment.start()
    load.run(environment.port, subjects.echo(), seconds=1)  # what the first requests allocate is no connection's
    pid = environment.server_pid()
    time.sleep(1)
    before = memory(pid).rss
    with ExitStack() as stack:
        for _ in range(IDLE_CONNECTIONS):
            _ask(stack.enter_context(socket.create_connection(('127.0.0.1', environment.port), timeout=15)))
        time.sleep(1)
        each = (memory(pid).rss - before) / IDLE_CONNECTIONS
    return Row(
        what=f'memory of an idle connection, of {IDLE_CONNECTIONS:,}',
        figure=f'{each:.0f} bytes',
        value=each / 1024,
        bar=8,
        unit=' KiB',
    )


def allow_files(wanted: int) -> None:
    """Let this process hold so many open files, as far as the machine lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))


def _ask(connection: socket.socket) -> None:
    request = subjects.echo()
    fields = ''.join(f'{name}: {value}\r\n' for name, value in request.headers.items())
    head = f'POST {request.path} HTTP/1.1\r\nHost: bench\r\n{fields}Content-Length: {len(request.body)}\r\n\r\n'
    connection.sendall((head + request.body).encode())
    if not connection.recv(65536).startswith(b'HTTP/1.1 200 '):
        raise load.LoadError('A connection that was to idle got no answer to its first request')
