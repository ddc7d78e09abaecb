"""Restarts this node from within. The node first checks that it can start again, and then runs `zatotx restart` in a
separate process, which outlives the node."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import define
from twisted.internet.defer import Deferred

from zatotx.model.errors import Conflict
from zatotx.processes.background_start_variable import STARTED_BY_COMMAND
from zatotx.processes.secret_key import KEY_VARIABLE
from zatotx.processes.workers.control_pipe import WorkerSpec

CHECK_TIMEOUT = 25.0  # seconds
LOG_FILE = 'restart.log'  # of the command that restarts the node
_RUN_CLI = 'import sys; sys.argv[0] = "zatotx"; from zatotx.cli.main import main; main()'


@define
class NodeRestarter:
    """Restarts the node whose files are in a certain directory."""

    home: Path
    settings_file: str  # in config/
    worker_spec: WorkerSpec
    run_in_thread: Callable[..., Deferred[Any]]
    _running: subprocess.Popen[bytes] | None = None

    def problem(self) -> str:
        """Return why the node cannot be restarted from within, a sentence; '' if it can."""
        if self.worker_spec.secret_key or not (self.home / 'config' / 'secret.key').exists():
            return f'Its secret key was given at its start: restart it with zatotx restart {self.home}'
        if not self.worker_spec.is_worker and STARTED_BY_COMMAND not in os.environ:
            return 'It runs under a supervisor such as systemd: restart it there, for example with systemctl restart'
        if self._running is not None and self._running.poll() is None:
            return 'It is being restarted already'
        return ''

    async def check(self) -> None:
        """Check that the node can start. Raises Conflict with the problems."""
        if problem := self.problem():
            raise Conflict(None, problem)
        errors = await self.run_in_thread(self._check)
        if errors:
            raise Conflict(None, errors)

    async def begin(self) -> None:
        """Start the command that restarts the node."""
        self._running = await self.run_in_thread(self._start_command)

    async def set_name(self, name: str) -> Callable[[], Any]:
        """Write another name into the settings file; returns a function that writes the old text back. Raises
        Conflict."""
        text: str = await self.run_in_thread(self._replace_name, name)
        return lambda: self.run_in_thread(self._write_settings, text)

    # -- in a thread

    def _check(self) -> str:
        command = [sys.executable, '-c', _RUN_CLI, 'check-config', str(self.home)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=CHECK_TIMEOUT, check=False,
                                  env=_environment())  # fmt: skip
        except subprocess.TimeoutExpired:
            return f'The check of its configuration takes longer than {CHECK_TIMEOUT:g} s'
        return '' if done.returncode == 0 else parse_config_problems(done.stdout + done.stderr)

    def _start_command(self) -> subprocess.Popen[bytes]:
        log = self.home / 'logs' / LOG_FILE
        log.touch(mode=0o600)
        with log.open('wb') as output:
            return subprocess.Popen(
                [sys.executable, '-c', _RUN_CLI, 'restart', str(self.home)], cwd=self.home, env=_environment(),
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, umask=0o077,
            )  # fmt: skip

    def _replace_name(self, name: str) -> str:
        import tomlkit  # only here: an idle server does without its memory
        from tomlkit.exceptions import TOMLKitError

        text = self._settings_path.read_text('utf-8')
        try:
            document: Any = tomlkit.parse(text)
            document['main']['name'] = name
            self._write_settings(tomlkit.dumps(document))
        except (TOMLKitError, KeyError, OSError) as error:
            raise Conflict(None, f'{self._settings_path} cannot be changed: {error}') from None
        return text

    def _write_settings(self, text: str) -> None:
        new = self._settings_path.with_suffix('.new')
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, 'w', encoding='utf-8') as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._settings_path)

    @property
    def _settings_path(self) -> Path:
        return self.home / 'config' / self.settings_file


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != KEY_VARIABLE}


def parse_config_problems(text: str) -> str:
    """Return the sentences in the output of `zatotx check-config` that describe problems."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    wrong = [line.removeprefix('WRONG').strip() for line in lines if not line.startswith('ok ')]
    return '; '.join(wrong[-5:]) or 'zatotx check-config reports a problem'
