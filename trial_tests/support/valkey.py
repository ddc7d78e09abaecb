"""A real Valkey on a Unix socket in a temporary directory, to be frozen, killed and started again."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from trial_tests.support.ports import free_port
from zatotx.redis.redis_url import RedisAddress
from zatotx.redis.server_process import find_server_binary

_START = 60.0  # seconds: the machine may be busy


class Valkey:
    """One server process. `address` and `url` name it; data written stays over `kill` and `start`."""

    def __init__(
        self, *options: str, directory: Path | None = None, socket_name: str = 'redis.sock', net: str = '',
        program: str = '',
    ) -> None:
        """`options`: more of valkey-server's, e.g. '--requirepass', 'secret'. `net`: 'port' or 'tls-port', to listen on
        `port` of 127.0.0.1 too. `program`: another server than the wheel's. Nothing runs before `start`."""
        self._made = directory is None
        self.directory = Path(tempfile.mkdtemp(prefix='zatotx-valkey-')) if directory is None else directory
        self.path = self.directory / socket_name
        self.url = f'unix://{self.path}'
        self.address = RedisAddress(path=str(self.path))
        self._options = options
        self._program = program
        self._net = net
        self.port = free_port() if net else 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of the running server."""
        assert self._process is not None
        return self._process.pid

    def start(self, lock: Path | None = None) -> None:
        """Blocks until it answers. `lock`: a file whose lock the server holds while it lives."""
        listening = ['--port', '0', *((f'--{self._net}', str(self.port), '--bind', '127.0.0.1') if self._net else ())]
        words = [*listening, '--unixsocket', self.path.name, '--unixsocketperm', '700', '--save', '']
        words += ['--appendonly', 'yes', '--appendfsync', 'always', '--loglevel', 'warning', *self._options]
        command = [self._program or str(find_server_binary()), *words]
        if lock is not None:
            command = ['flock', '--no-fork', str(lock), *command]
        self._process = subprocess.Popen(
            command, cwd=self.directory, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until = time.monotonic() + _START
        while not self.answers():
            if self._process.poll() is not None or time.monotonic() > until:
                raise AssertionError(f'valkey-server did not start: exit code {self._process.poll()}')
            select_nothing(0.01)

    def answers(self) -> bool:
        """Whether it answers a PING at all, with an error for example."""
        try:
            return self.command('PING')[:1] in (b'+', b'-')
        except OSError:
            return False

    def command(self, *words: str, then: tuple[str, ...] = ()) -> bytes:
        """One command, or two, asked in a blocking way: the first bytes of the (last) answer."""
        place = os.open(self.directory, os.O_PATH)
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(_START)
                connection.connect(f'/proc/self/fd/{place}/{self.path.name}')
                answer = b''
                for question in filter(None, (words, then)):
                    parts = [f'${len(word.encode())}\r\n{word}\r\n' for word in question]
                    connection.sendall(f'*{len(question)}\r\n{"".join(parts)}'.encode())
                    answer = connection.recv(65536)
                return answer
        finally:
            os.close(place)

    def freeze(self) -> None:
        """It accepts connections and says nothing from now on."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on."""
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """kill -9. Harmless where it does not run."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def close(self) -> None:
        """End it and remove what it left."""
        self.kill()
        if self._made:
            shutil.rmtree(self.directory, ignore_errors=True)


def select_nothing(seconds: float) -> None:
    """Give the processor away for a moment, outside any reactor."""
    signal.sigtimedwait([], seconds)
