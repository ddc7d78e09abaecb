"""Whether a part answers."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import NamedTuple

from zatotx.cli.environment.http_request import CutOffError, HttpResponse, Request, UnreachableError, send_request
from zatotx.cli.environment.layout import SERVER, Component
from zatotx.cli.environment.listen_addresses import address
from zatotx.cli.environment.pid_files import running_process
from zatotx.cli.environment.port_owner import holds_port
from zatotx.cli.environment.worker_status import missing_workers

TIMEOUT = 3.0  # seconds for one look: a busy machine may give no processor for one or two


class Health(NamedTuple):
    state: str  # 'running', 'starting' (it runs and is not ready) or 'stopped'
    pid: int | None = None
    why: str = ''  # it is not ready

    @property
    def ready(self) -> bool:
        return self.state == 'running'


def probe(part: Component, timeout: float = TIMEOUT) -> Health:
    """How a part is, asked now. One that gives no answer within `timeout` seconds is not ready."""
    process = running_process(part)
    if process is None:
        return Health('stopped')
    if part.kind == SERVER:
        why = server_error(part, process.pid, timeout) or missing_workers(part, process)
    else:
        why = redis_error(part.path, timeout)
    return Health('starting' if why else 'running', process.pid, why)


def server_error(part: Component, pid: int, timeout: float = TIMEOUT) -> str:
    """Why a server is not ready, '' when it is. The answer counts only from the part's own process: another program,
    or another environment's server, may be on that port."""
    where = address(part)
    if not holds_port(pid, where.port):
        return f'it does not listen on port {where.port} yet'
    try:
        answer = send_request(where, Request('GET', '/zato/ready'), timeout)
    except (UnreachableError, CutOffError) as error:
        return str(error)
    return '' if answer.status == 200 else not_ready_reasons(answer)


def not_ready_reasons(answer: HttpResponse) -> str:
    """What the body of a 503 of /zato/ready says."""
    try:
        found = json.loads(answer.body)['reasons']
    except (ValueError, KeyError, TypeError):
        found = []
    return '; '.join(map(str, found)) or f'/zato/ready answers {answer.status}'


def redis_error(directory: Path, timeout: float = TIMEOUT) -> str:
    """Why the embedded Redis is not ready, '' when it is."""
    try:
        answer = redis_command(directory / 'redis.sock', b'PING', timeout)
    except OSError as error:
        return f'redis.sock does not answer: {error.strerror or error}'
    return '' if answer.startswith(b'+PONG') else answer.decode('utf-8', 'replace').strip('-\r\n')


def redis_command(path: Path, command: bytes, timeout: float = TIMEOUT) -> bytes:
    """The first bytes of Redis's answer. The directory is opened first: a socket's own path must be short."""
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(timeout)
            sock.connect(f'/proc/self/fd/{directory}/{path.name}')
            sock.sendall(command + b'\r\n')
            return sock.recv(512)
    finally:
        os.close(directory)
