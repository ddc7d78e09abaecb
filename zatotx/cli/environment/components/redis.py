"""Operations on the embedded Redis of an environment."""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

from zatotx.cli.environment.atomic_files import make_private_dir
from zatotx.cli.environment.component_types import REDIS
from zatotx.cli.environment.components.component_operations import ComponentOperations
from zatotx.cli.environment.creation_plan import CreationStep, EnvironmentPlan
from zatotx.cli.environment.environment_layout import Component
from zatotx.cli.environment.initial_files import write_info
from zatotx.cli.environment.process_discovery import POLL_INTERVAL, ComponentProcess

URL = 'unix://../redis/redis.sock'  # in the settings of a node
PROBE_TIMEOUT = 3.0  # seconds
ORPHAN_TIMEOUT = 5.0  # seconds until a Redis without a supervisor must have ended


class RedisOperations(ComponentOperations):
    """Implements ComponentOperations for the embedded Redis."""

    def address(self, part: Component) -> str:
        return str(part.path / 'redis.sock')

    def readiness_error(self, part: Component, process: ComponentProcess, timeout: float) -> str:
        return redis_not_ready_reason(part.path, timeout)

    def stop_orphans(self, part: Component) -> list[str]:
        return shut_down_orphan(part)

    def creation_steps(self, environment: Path, plan: EnvironmentPlan) -> list[CreationStep]:
        return [] if plan.redis_url else [CreationStep('Redis', partial(write_redis, environment))]


OPERATIONS = RedisOperations()


def shut_down_orphan(part: Component) -> list[str]:
    """Shut down a Redis server whose supervisor was killed, after the server has saved its data."""
    path = part.path / 'redis.sock'
    end = time.monotonic() + ORPHAN_TIMEOUT
    while not redis_not_ready_reason(part.path):
        if time.monotonic() > end:
            return [f'{part.name} does not end: see {part.path}/server.pid for its process']
        with suppress(OSError):  # it closes the connection instead of responding
            send_redis_command(path, b'SHUTDOWN')
        time.sleep(POLL_INTERVAL)
    return []


def redis_not_ready_reason(directory: Path, timeout: float = PROBE_TIMEOUT) -> str:
    """Return the reason why the embedded Redis is not ready, or '' if it is ready."""
    try:
        answer = send_redis_command(directory / 'redis.sock', b'PING', timeout)
    except OSError as error:
        return f'redis.sock is not responding: {error.strerror or error}'
    return '' if answer.startswith(b'+PONG') else answer.decode('utf-8', 'replace').strip('-\r\n')


def send_redis_command(path: Path, command: bytes, timeout: float = PROBE_TIMEOUT) -> bytes:
    """Send a command to Redis and return the first bytes of the response. The socket is addressed relative to its
    opened directory, because the length of a socket's path is limited."""
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(timeout)
            sock.connect(f'/proc/self/fd/{directory}/{path.name}')
            sock.sendall(command + b'\r\n')
            return sock.recv(512)
    finally:
        os.close(directory)


def write_redis(environment: Path) -> None:
    """Create the directory of the embedded Redis. All other files are created when Redis is first started."""
    directory = make_private_dir(environment / 'redis')
    make_private_dir(directory / 'logs')
    write_info(directory, REDIS)
