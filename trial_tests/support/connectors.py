"""Connectors beside the servers of an environment, as `twistd zato-connector`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from trial_tests.support.broker import Broker
from trial_tests.support.rawhttp import Answer, ask
from trial_tests.support.waiting import until

PORT = 17031  # of connector1, without the offset of the environment
STARTED = 60.0  # seconds: the machine may be busy


class Connector:
    """One connector. It dies with the test process, however that ends."""

    def __init__(self, broker: Broker, number: int = 1, *, kinds: Sequence[str] | None = None,
                 grace: float = 5) -> None:
        self.broker = broker
        self.path = broker.path / f'connector{number}'
        self.port = PORT + broker.offset + number - 1
        self._process: subprocess.Popen[bytes] | None = None
        if not self.path.exists():
            broker.must('create', 'connector', str(broker.path), '--port', str(self.port))
            self._configure(kinds, grace)

    def start(self, env: Mapping[str, str] | None = None) -> Connector:
        """Blocks until it is ready. `env`: more variables of its process."""
        self.launch(env)
        self.wait_ready()
        return self

    def wait_ready(self) -> None:
        """Blocks until it is ready."""
        until(self._is_ready, 'the start of a connector', STARTED)

    def launch(self, env: Mapping[str, str] | None = None) -> None:
        """Start it and do not wait until it is ready."""
        with (self.path / 'logs' / 'stderr.log').open('ab') as log:
            self._process = subprocess.Popen(
                ['setpriv', '--pdeathsig', 'KILL', sys.executable, str(Path(sys.executable).parent / 'twistd'), '-n',
                 'zato-connector', '--dir', str(self.path)],
                cwd=self.path, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, **(env or {})},
            )  # fmt: skip

    def wait(self) -> int:
        """Blocks until its process has ended: the exit code, negative for a signal."""
        assert self._process is not None
        return self._process.wait(STARTED)

    @property
    def pid(self) -> int:
        """Of its process."""
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def ask(self, target: str, method: str = 'GET', body: bytes = b'') -> Answer:
        """One request to an endpoint of the connector, as the administrator."""
        return ask(self.port, method, target, fields=self.broker.admin(), body=body)

    def log(self) -> str:
        """All its logs."""
        files = sorted((self.path / 'logs').glob('*'))
        return ''.join(file.read_text('utf-8', errors='replace') for file in files if file.is_file())

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to its process."""
        assert self._process is not None
        os.kill(self._process.pid, number)

    def kill(self) -> None:
        """kill -9. Harmless where it does not run."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """SIGTERM, until it has ended: its exit code."""
        return self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        with suppress(ProcessLookupError):
            os.kill(process.pid, number)
            os.kill(process.pid, signal.SIGCONT)
        return process.wait(STARTED)

    def _is_ready(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f'The connector did not start: {self.log()[-3000:]}')
        try:
            return self.ask('/zato/ready').status == 200
        except OSError:
            return False

    def _configure(self, kinds: Sequence[str] | None, grace: float) -> None:
        file = self.path / 'config' / 'connector.toml'
        text = file.read_text('utf-8').replace('grace = 10 ', f'grace = {grace} ')
        if kinds is not None:
            text = text.replace('[main]\n', f'[main]\nconnector_kinds = {list(kinds)!r}\n')
        file.write_text(text, 'utf-8')


def start_all(connectors: Iterable[Connector]) -> list[Connector]:
    """Start several at once; blocks until all are ready."""
    started = list(connectors)
    for connector in started:
        connector.launch()
    for connector in started:
        connector.wait_ready()
    return started
