"""Starting parts as processes of their own, and waiting until they answer."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from zatotx.cli.environment.layout import SERVER, Component
from zatotx.cli.environment.listen_addresses import addresses
from zatotx.cli.environment.pid_files import described, is_running
from zatotx.cli.environment.port_owner import holds_port, is_free, port_owner
from zatotx.cli.environment.readiness_probe import probe
from zatotx.node.secret_key import VARIABLE

START_TIMEOUT = 60.0  # seconds until each part must answer, on a busy machine too
GOING = 30.0  # seconds that the kernel, or its workers, may take with the sockets of a killed process
STEP = 0.05
IN_USE = 'Address already in use'  # in the words of the operating system
STDERR_KEPT = 1024 * 1024  # bytes after which stderr.log begins anew, the old one kept beside it

RUN_TWISTD = 'from twisted.scripts.twistd import run; run()'


class LaunchedProcess(NamedTuple):
    """A part that was just started."""

    part: Component
    process: subprocess.Popen[bytes]
    said_before: int  # the length of its stderr.log at that moment


def twistd_command(part: Component) -> list[str]:
    """twistd in the foreground with the part: the twistd of this very installation."""
    script = Path(sys.executable).with_name('twistd')
    twistd = [str(script)] if script.is_file() else ['-c', RUN_TWISTD]
    return [sys.executable, *twistd, '--nodaemon', '--pidfile=', part.plugin, '--dir', str(part.path)]


def launch(part: Component) -> LaunchedProcess:
    """Start it in a session of its own, so that it outlives us and our terminal."""
    log = truncate_stderr_log(part.stderr_log)
    key = os.environ.get(VARIABLE, '') if part.kind == SERVER else ''
    with log.open('ab') as stderr:
        said_before = stderr.tell()
        process = subprocess.Popen(
            [*twistd_command(part), *(['--secret-key', '-'] if key else [])],
            cwd=part.path,
            env={name: value for name, value in os.environ.items() if name != VARIABLE},
            stdin=subprocess.PIPE if key else subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # what it logs is in its own files
            stderr=stderr,
            start_new_session=True,
            umask=0o077,
        )
    if key:
        pass_secret_key(process, key)
    return LaunchedProcess(part, process, said_before)


def pass_secret_key(process: subprocess.Popen[bytes], key: str) -> None:
    """The secret key by a pipe: the environment of a process can be read for as long as it runs."""
    assert process.stdin is not None
    with suppress(BrokenPipeError), process.stdin as pipe:  # one that ended already has said why
        pipe.write(key.encode('utf-8') + b'\n')


def truncate_stderr_log(path: Path) -> Path:
    """The file for what a process says outside its logs, kept from growing without end."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    if path.exists() and path.stat().st_size > STDERR_KEPT:
        path.replace(path.with_name(f'{path.name}.1'))
    path.touch(mode=0o600)
    return path


def taken_port(part: Component) -> str:
    """A sentence where another program has a port of the part; '' otherwise."""
    if part.kind != SERVER:
        return ''
    for where in addresses(part):
        if not wait_until_free(where.host, where.port, part):
            pid = port_owner(where.port)
            by = described(pid) if pid else 'another program'
            file = part.path / 'config' / 'server.toml'
            return f'port {where.port} is taken by {by}: end it, or change http.listen in {file}'
    return ''


def wait_until_free(host: str, port: int, part: Component) -> bool:
    """Whether the port is free, now or when the process that had it is taken down: for a moment after kill -9 it is
    taken, and by nobody. The workers of a killed parent notice, and let go of it first of all."""
    end = time.monotonic() + GOING
    while not is_free(host, port):
        pid = port_owner(port)
        # Asked once more at the end: a worker that lets go and ends this moment is nobody's any more.
        foreign = pid is not None and not is_running(pid, part) and holds_port(pid, port)
        if foreign or time.monotonic() > end:
            return False
        time.sleep(STEP)
    return True


def start_components(parts: Sequence[Component], timeout: float = START_TIMEOUT) -> list[str]:
    """Start those that do not run, all at once; what went wrong, a sentence for each."""
    faults, launched = [], []
    for part in parts:
        if probe(part).pid is not None:
            continue  # a start by somebody else is under way: its end is awaited like that of ours
        fault = taken_port(part)
        if fault:
            faults.append(f'{part.name} cannot start: {fault}')
        else:
            launched.append(launch(part))
    end = time.monotonic() + timeout
    waiting = {begun.part: begun for begun in launched}
    failed = {fault.split(' ', 1)[0] for fault in faults}
    for part in parts:
        if part.name not in failed:
            faults.extend(await_ready(part, waiting.get(part), end))
    return faults


def await_ready(part: Component, begun: LaunchedProcess | None, end: float) -> list[str]:
    """Wait for one part; why it does not answer."""
    while True:
        ended = begun is None or begun.process.poll() is not None  # asked first: it cannot begin again
        state = probe(part)
        if state.ready:
            return []
        if ended and state.pid is None:
            return [f'{part.name} cannot start: {why_ended(begun)}' if begun else f'{part.name} ended meanwhile']
        if time.monotonic() > end:
            why = state.why or f'it says nothing: see {part.path}/logs'
            return [f'{part.name} is not ready after {START_TIMEOUT:g} s: {why}']
        time.sleep(STEP)


def why_ended(begun: LaunchedProcess) -> str:
    """Why a process ended: by its last words; where another one took its port meanwhile, which."""
    said = last_stderr_lines(begun)
    return (taken_port(begun.part) or said) if IN_USE in said else said


def last_stderr_lines(begun: LaunchedProcess) -> str:
    """The last line that the process wrote to stderr."""
    with begun.part.stderr_log.open('rb') as file:
        file.seek(begun.said_before)
        lines = [line.strip() for line in file.read().decode('utf-8', 'replace').splitlines() if line.strip()]
    if lines:
        return lines[-1]
    return f'it ended with exit code {begun.process.returncode} without a word: see {begun.part.path}/logs'
