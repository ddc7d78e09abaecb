"""Determines whether a component is ready."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import NamedTuple

from zatotx.cli.environment.http_request import (
    BlockingRequest,
    BlockingResponse,
    CutOffError,
    UnreachableError,
    send_request,
)
from zatotx.cli.environment.layout import SERVER, Component
from zatotx.cli.environment.listen_addresses import first_tcp_address
from zatotx.cli.environment.processes import holds_port, missing_workers, running_process

TIMEOUT = 3.0  # seconds per probe; on a busy machine a process may not run for one or two


class Health(NamedTuple):
    state: str  # 'running', 'starting' (running but not ready) or 'stopped'
    pid: int | None = None
    reason: str = ''  # why it is not ready

    @property
    def ready(self) -> bool:
        return self.state == 'running'


def probe_component(part: Component, timeout: float = TIMEOUT) -> Health:
    """Return the current state of a component. If it does not respond within `timeout` seconds it is not ready."""
    process = running_process(part)
    if process is None:
        return Health('stopped')
    if part.kind == SERVER:
        reason = server_error(part, process.pid, timeout) or missing_workers(part, process)
    else:
        reason = embedded_redis_error(part.path, timeout)
    return Health('starting' if reason else 'running', process.pid, reason)


def server_error(part: Component, pid: int, timeout: float = TIMEOUT) -> str:
    """Return why a server is not ready, '' if it is. Only responses of the component's own process count: another
    program, or a server of another environment, may use the port."""
    listen_address = first_tcp_address(part)
    if not holds_port(pid, listen_address.port):
        return f'it is not listening on port {listen_address.port} yet'
    try:
        response = send_request(listen_address, BlockingRequest('GET', '/zato/ready'), timeout)
    except (UnreachableError, CutOffError) as error:
        return str(error)
    return '' if response.status == 200 else not_ready_reasons(response)


def not_ready_reasons(answer: BlockingResponse) -> str:
    """Return the reasons in the body of a 503 of /zato/ready."""
    try:
        found = json.loads(answer.body)['reasons']
    except (ValueError, KeyError, TypeError):
        found = []
    return '; '.join(map(str, found)) or f'/zato/ready responds with {answer.status}'


def embedded_redis_error(directory: Path, timeout: float = TIMEOUT) -> str:
    """Return why the embedded Redis is not ready, '' if it is."""
    try:
        answer = redis_command(directory / 'redis.sock', b'PING', timeout)
    except OSError as error:
        return f'redis.sock is not responding: {error.strerror or error}'
    return '' if answer.startswith(b'+PONG') else answer.decode('utf-8', 'replace').strip('-\r\n')


def redis_command(path: Path, command: bytes, timeout: float = TIMEOUT) -> bytes:
    """Return the first bytes of Redis's response. The directory is opened first, because the length of a socket's path
    is limited."""
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(timeout)
            sock.connect(f'/proc/self/fd/{directory}/{path.name}')
            sock.sendall(command + b'\r\n')
            return sock.recv(512)
    finally:
        os.close(directory)
