"""Quickstart environments for benchmarks, managed with the `zatotx` command."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from bench.load import Request as LoadRequest
from bench.load import answer
from bench.machine import SERVER_CORE, memory, pinned
from trial_tests.support.ports import claim, is_free
from trial_tests.support.rawhttp import basic

ZATOTX = str(Path(sys.executable).with_name('zatotx'))
TWISTD = str(Path(sys.executable).with_name('twistd'))
_PORTS = (17010, 17021, 11223, 20151, 8183)  # server, FTP, load balancer and its agent, web admin
_offsets = iter(range(1000, 12_000, 60))  # as in the tests, which claim theirs; unique per environment within a run


class CommandError(Exception):
    """A `zatotx` command failed."""


class Usage(msgspec.Struct, frozen=True):
    """Resource usage of a command: seconds, and peak memory in bytes."""

    seconds: float
    peak: int


class Environment:
    """One quickstart environment with one server."""

    def __init__(self, path: Path, offset: int, cores: int | str = SERVER_CORE) -> None:
        self.path = path
        self._cores = cores
        self.port = _PORTS[0] + offset

    @property
    def server(self) -> Path:
        """The directory of the server."""
        return self.path / 'server1'

    def command(self, *args: str) -> Usage:
        """Run `zatotx …` and its child processes on the server's cores. Raises CommandError with its output."""
        began = time.monotonic()
        with tempfile.TemporaryFile() as said:
            process = subprocess.Popen(
                pinned(self._cores, [ZATOTX, *args]), stdin=subprocess.DEVNULL, stdout=said, stderr=said
            )
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)  # wait4 has already reaped the process
            if process.returncode:
                said.seek(0)
                text = said.read().decode(errors='replace').strip()
                raise CommandError(f'zatotx {" ".join(args)} ended with {process.returncode}: {text}')
        return Usage(time.monotonic() - began, usage.ru_maxrss * 1024)

    def start(self) -> None:
        """Start all components and wait until they respond."""
        self.command('start', str(self.path))

    def stop(self) -> None:
        """Stop all components and wait until they have exited."""
        self.command('stop', str(self.path))

    def deploy(self, files: Sequence[Path]) -> None:
        """Deploy the files and wait until they are active."""
        self.command('hot-deploy', str(self.path), *map(str, files))

    def enmasse(self, file: Path) -> Usage:
        """Import the file and wait until it is active."""
        return self.command('enmasse', str(self.path), '--import', '--input', str(file))

    def credentials(self) -> dict[str, dict[str, object]]:
        """The content of credentials.toml, which quickstart writes."""
        return tomllib.loads((self.path / 'credentials.toml').read_text())

    def authorization(self) -> dict[str, str]:
        """The Authorization field of the administrator of the API."""
        api = self.credentials()['api']
        return basic(str(api['username']), str(api['password']))

    def server_pid(self) -> int:
        """The process ID of the server: of the processes whose command line names its directory, the largest one."""
        found = self.server_pids()
        if not found:
            raise CommandError(f'No process runs {self.server}')
        return max(found, key=lambda pid: memory(pid).rss)

    def server_pids(self) -> list[int]:
        """The IDs of all processes of the server."""
        return [pid for pid in _pids() if str(self.server) in _command_line(pid)]

    def wait_until_served(self, request: LoadRequest, *, seconds: float = 30.0) -> None:
        """Wait until the server answers the request with 200. Raises TimeoutError."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if _status(self.port, request) == 200:
                return
            time.sleep(0.005)
        raise TimeoutError(f'{request.path} was not served within {seconds:g} s')


def _status(port: int, request: LoadRequest) -> int:
    try:
        return answer(port, request)[0]
    except OSError:
        return 0


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path('/proc').iterdir() if entry.name.isdigit()]


def _command_line(pid: int) -> str:
    try:
        return Path(f'/proc/{pid}/cmdline').read_bytes().replace(b'\0', b' ').decode(errors='replace')
    except OSError:
        return ''


@contextmanager
def quickstart(*, cores: int | str = SERVER_CORE, more: Sequence[str] = ()) -> Iterator[Environment]:
    """Create an environment without starting it; stop and remove it at the end.

    It runs on `cores`; `more` are additional options of `quickstart create`.
    """
    offset = next(n for n in _offsets if claim(str(n)) and all(is_free(port + n) for port in _PORTS))
    with tempfile.TemporaryDirectory(prefix='zatotx-bench-') as folder:
        environment = Environment(Path(folder, 'qs'), offset, cores)
        create = ['quickstart', 'create', str(environment.path), '--servers', '1', *more]
        environment.command(*create, '--port-offset', str(offset))
        try:
            yield environment
        finally:
            environment.stop()


__all__ = ['TWISTD', 'CommandError', 'Environment', 'Usage', 'quickstart']
