"""Memory benchmarks: an idle server, and idle keep-alive connections."""

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
_SETTLE = 3.0  # seconds until a new server has settled


def measure_idle(environment: Environment) -> Row:
    """Measure the memory of a server after its start and one request."""
    load.answer(environment.port, load.Request(path='/zato/ping', method='GET'))
    time.sleep(_SETTLE)
    megabytes = memory(environment.server_pid()).rss / 1e6
    return Row(what='memory of an idle server', figure=f'{megabytes:.1f} MB', value=megabytes, bar=90, unit=' MB')


def measure_connections(environment: Environment) -> Row:
    """Measure the memory of keep-alive connections that have sent one request each."""
    allow_files(IDLE_CONNECTIONS + 200)
    environment.stop()  # memory freed by earlier load would distort the result
    environment.start()
    load.run(environment.port, subjects.echo(), seconds=1)  # excludes allocations of the first requests
    pid = environment.server_pid()
    time.sleep(1)
    before = memory(pid).rss
    with ExitStack() as stack:
        for _ in range(IDLE_CONNECTIONS):
            _ask(stack.enter_context(socket.create_connection(('127.0.0.1', environment.port), timeout=15)))
        time.sleep(1)
        each = (memory(pid).rss - before) / IDLE_CONNECTIONS
    return Row(
        what=f'memory per idle connection, with {IDLE_CONNECTIONS:,} of them',
        figure=f'{each:.0f} bytes',
        value=each / 1024,
        bar=8,
        unit=' KiB',
    )


def allow_files(wanted: int) -> None:
    """Raise the limit on open files of this process to `wanted`, at most to the hard limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))


def _ask(connection: socket.socket) -> None:
    request = subjects.echo()
    fields = ''.join(f'{name}: {value}\r\n' for name, value in request.headers.items())
    head = f'POST {request.path} HTTP/1.1\r\nHost: bench\r\n{fields}Content-Length: {len(request.body)}\r\n\r\n'
    connection.sendall((head + request.body).encode())
    if not connection.recv(65536).startswith(b'HTTP/1.1 200 '):
        raise load.LoadError('The first request on an idle connection was not answered')
