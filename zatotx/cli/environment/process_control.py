"""Starts and stops the processes of components. The functions wait until the components are ready, or have drained."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from zatotx.cli.environment.components.operations_registry import operations_of
from zatotx.cli.environment.environment_layout import Component
from zatotx.cli.environment.process_discovery import (
    ComponentProcess,
    describe_process,
    find_port_owner,
    is_listening_on_port,
    is_port_free,
    is_process_of_component,
    running_process,
)
from zatotx.cli.environment.readiness_probe import probe_component
from zatotx.processes.background_start_variable import STARTED_BY_COMMAND
from zatotx.processes.secret_key import KEY_VARIABLE

START_TIMEOUT = 60.0  # seconds until each component must be ready, also on a busy machine
PORT_RELEASE_TIMEOUT = 30.0  # seconds until the kernel, or its workers, close the sockets of a killed process
START_POLL_INTERVAL = 0.05
IN_USE = 'Address already in use'  # message of the operating system
STDERR_KEPT = 1024 * 1024  # bytes after which stderr.log is rotated

RUN_TWISTD = 'from twisted.scripts.twistd import run; run()'


class LaunchedProcess(NamedTuple):
    """The process of a component that was just started."""

    part: Component
    process: subprocess.Popen[bytes]
    stderr_size: int  # size of its stderr.log before the start


def twistd_command(part: Component) -> list[str]:
    """Return the command line that runs the component in the foreground, with the twistd of this installation."""
    script = Path(sys.executable).with_name('twistd')
    twistd = [str(script)] if script.is_file() else ['-c', RUN_TWISTD]
    return [sys.executable, *twistd, '--nodaemon', '--pidfile=', part.plugin, '--dir', str(part.path)]


def start_process(part: Component, *, is_restartable: bool = True) -> LaunchedProcess:
    """Start the component in a new session, so that it continues to run when this process and its terminal have
    ended."""
    log = rotate_stderr_log(part.stderr_log)
    key = os.environ.get(KEY_VARIABLE, '') if part.type.is_node else ''
    with log.open('ab') as stderr:
        stderr_size = stderr.tell()
        process = subprocess.Popen(
            [*twistd_command(part), *(['--secret-key', '-'] if key else [])],
            cwd=part.path,
            env=process_environment(is_restartable=is_restartable),
            stdin=subprocess.PIPE if key else subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # it logs to its own files
            stderr=stderr,
            start_new_session=True,
            umask=0o077,
        )
    if key:
        pass_secret_key(process, key)
    return LaunchedProcess(part, process, stderr_size)


def process_environment(*, is_restartable: bool) -> dict[str, str]:
    """Return the environment variables for the process of a component. The secret key is removed. If the process is
    restartable, a variable is added that marks it as such."""
    inherited = {name: value for name, value in os.environ.items() if name not in (KEY_VARIABLE, STARTED_BY_COMMAND)}
    return {**inherited, STARTED_BY_COMMAND: '1'} if is_restartable else inherited


def pass_secret_key(process: subprocess.Popen[bytes], key: str) -> None:
    """Write the secret key to the process's stdin, because other processes can read the environment of a process as
    long as it runs."""
    assert process.stdin is not None
    with suppress(BrokenPipeError), process.stdin as pipe:  # if it has ended already, the reason is in stderr.log
        pipe.write(key.encode('utf-8') + b'\n')


def rotate_stderr_log(path: Path) -> Path:
    """Open the file for the stderr of a process, and rotate it if it is too large."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    if path.exists() and path.stat().st_size > STDERR_KEPT:
        path.replace(path.with_name(f'{path.name}.1'))
    path.touch(mode=0o600)
    return path


def port_conflict_error(part: Component) -> str:
    """Return an error message if another program uses a port of the component, otherwise ''."""
    for address in operations_of(part).listen_addresses(part):
        if not wait_until_port_is_free(address.host, address.port, part):
            pid = find_port_owner(address.port)
            user = describe_process(pid) if pid else 'another program'
            setting = f'{address.section}.listen in {part.settings_path}'
            return f'port {address.port} is in use by {user}: stop it, or change {setting}'
    return ''


def wait_until_port_is_free(host: str, port: int, part: Component) -> bool:
    """Wait until the port is free, and return False if another program uses it. After SIGKILL, the port of a process
    remains in use for a moment without an owner, and the workers of a killed parent process close their sockets as soon
    as they detect its death.
    """
    end = time.monotonic() + PORT_RELEASE_TIMEOUT
    while not is_port_free(host, port):
        pid = find_port_owner(port)
        # Checked again at the end: a worker that is just ending no longer looks like one of ours.
        foreign = pid is not None and not is_process_of_component(pid, part) and is_listening_on_port(pid, port)
        if foreign or time.monotonic() > end:
            return False
        time.sleep(START_POLL_INTERVAL)
    return True


def start_components(
    parts: Sequence[Component], timeout: float = START_TIMEOUT, *, is_restartable: bool = True
) -> list[str]:
    """Start all stopped components in parallel. Returns the errors, with one sentence per component. `is_restartable`
    says whether the components may be replaced while this process runs."""
    errors, launched = [], []
    for part in parts:
        if probe_component(part).pid is not None:
            continue  # another process is starting it; its readiness is awaited, too
        error = port_conflict_error(part)
        if error:
            errors.append(f'{part.name} cannot start: {error}')
        else:
            launched.append(start_process(part, is_restartable=is_restartable))
    end = time.monotonic() + timeout
    launched_by_component = {launched_process.part: launched_process for launched_process in launched}
    failed = {error.split(' ', 1)[0] for error in errors}
    for part in parts:
        if part.name not in failed:
            errors.extend(wait_until_ready(part, launched_by_component.get(part), end))
    return errors


def wait_until_ready(part: Component, launched: LaunchedProcess | None, end: float) -> list[str]:
    """Wait until a component is ready. Returns a list with the error if it fails to start."""
    while True:
        has_ended = launched is None or launched.process.poll() is not None  # checked before the probe
        state = probe_component(part)
        if state.ready:
            return []
        if has_ended and state.pid is None:
            if launched is None:
                return [f'{part.name} ended in the meantime']
            return [f'{part.name} cannot start: {process_end_reason(launched)}']
        if time.monotonic() > end:
            reason = state.reason or f'it does not respond: see {part.path}/logs'
            return [f'{part.name} is not ready after {START_TIMEOUT:g} s: {reason}']
        time.sleep(START_POLL_INTERVAL)


def process_end_reason(launched: LaunchedProcess) -> str:
    """Return the reason why a process ended, which is its last line on stderr, or a sentence about the program that
    uses its port."""
    message = last_stderr_lines(launched)
    return (port_conflict_error(launched.part) or message) if IN_USE in message else message


def last_stderr_lines(launched: LaunchedProcess) -> str:
    """Return the last line that the process wrote to stderr."""
    with launched.part.stderr_log.open('rb') as file:
        file.seek(launched.stderr_size)
        lines = [line.strip() for line in file.read().decode('utf-8', 'replace').splitlines() if line.strip()]
    if lines:
        return lines[-1]
    return f'it ended with exit code {launched.process.returncode} and no message: see {launched.part.path}/logs'


MARGIN = 20.0  # seconds after the grace period until a process counts as hanging
KILL_WAIT = 5.0


def stop_components(parts: Sequence[Component]) -> list[str]:
    """Stop components in the reverse of their start order. Components with the same start order are stopped in
    parallel. Returns the errors, with one sentence for each."""
    errors = []
    for _, group in groupby(reversed(parts), key=lambda part: part.type.start_order):
        stopping = list(group)
        errors.extend(stop_in_parallel(stopping))
        for part in stopping:
            errors.extend(operations_of(part).stop_orphans(part))
    return errors


def stop_in_parallel(parts: Sequence[Component]) -> list[str]:
    running = [(part, process) for part in parts if (process := running_process(part)) is not None]
    started = time.monotonic()
    for _, process in running:
        process.send(signal.SIGTERM)
    errors = []
    for part, process in running:
        limit = stop_timeout(part)
        if not process.ended_within(started + limit - time.monotonic()):
            errors.append(kill_after_timeout(part, process, limit))
    for part in parts:
        if running_process(part) is None:  # left by a killed process
            part.pid_file.unlink(missing_ok=True)
    return errors


def stop_timeout(part: Component) -> float:
    """Return the number of seconds that a component may take to stop, which is its grace period plus a margin."""
    return operations_of(part).grace_period(part) + MARGIN


def kill_after_timeout(part: Component, process: ComponentProcess, limit: float) -> str:
    """Kill a process that did not stop in time, and return a message that says so."""
    process.send(signal.SIGKILL)
    if process.ended_within(KILL_WAIT):
        return f'{part.name} did not end within {limit:g} s of SIGTERM and was killed: see {part.path}/logs for why'
    return f'{part.name} (process {process.pid}) did not end after SIGKILL: it hangs in the kernel'
