"""Finds the processes of a component. The main process is found by its pid file or port, and the workers by the status
file of the parent process."""

from __future__ import annotations

import errno
import os
import signal
import socket
import time
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

from zatotx.cli.environment.component_types import TYPES
from zatotx.cli.environment.environment_layout import Component
from zatotx.processes.workers.process_identity import process_start_time
from zatotx.processes.workers.status_file import StatusFile, read_status_file

POLL_INTERVAL = 0.02  # seconds between two checks


class ComponentProcess(NamedTuple):
    """A running process whose command line contains a component's directory."""

    pid: int
    started: str  # in clock ticks since boot; together with the pid it identifies a process uniquely

    def is_alive(self) -> bool:
        return process_start_time(self.pid) == self.started

    def send(self, number: signal.Signals) -> None:
        """Send a signal, unless the process has ended."""
        if self.is_alive():
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                return

    def ended_within(self, seconds: float) -> bool:
        """Wait for the end of the process; whether it ended in time."""
        end = time.monotonic() + seconds
        while self.is_alive():
            if time.monotonic() > end:
                return False
            time.sleep(POLL_INTERVAL)
        return True


def running_process(part: Component) -> ComponentProcess | None:
    """Return the running process of a component, or None if its pid file is absent or stale, or names a process of
    another program."""
    try:
        pid = int(part.pid_file.read_text())
    except (FileNotFoundError, ValueError):
        return None
    started = process_start_time(pid)
    return ComponentProcess(pid, started) if started and is_process_of_component(pid, part) else None


def is_process_of_component(pid: int, part: Component) -> bool:
    """Return whether a process is a twistd that runs this component. The command line must contain the name of the
    plugin, and --dir with exactly this directory."""
    try:
        return component_directory(pid, (part.plugin,)) == part.path.resolve()
    except OSError:  # it has ended, or belongs to another user
        return False


def describe_process(pid: int) -> str:
    """Return a description of a process for messages. For a component it is `server1 of /home/ann/env/qs-1 (process
    12)`, and for other processes `process 12 (nginx)`."""
    try:
        name = Path(f'/proc/{pid}/comm').read_text().strip()
        directory = component_directory(pid, [each.plugin for each in TYPES.values()])
    except OSError:  # it has ended, or belongs to another user
        return f'process {pid}'
    return f'process {pid} ({name})' if directory is None else f'{directory.name} of {directory.parent} (process {pid})'


def component_directory(pid: int, plugins: Sequence[str]) -> Path | None:
    """Return the directory of the component that a process runs, according to its command line. Returns None if the
    process runs none of the given twistd plugins. Raises OSError if the process has ended or belongs to another
    user."""
    arguments = [os.fsdecode(argument) for argument in Path(f'/proc/{pid}/cmdline').read_bytes().split(b'\0')]
    directory = directory_option(arguments)
    if not directory or not any(plugin in arguments for plugin in plugins):
        return None
    return Path(f'/proc/{pid}/cwd', directory).resolve()


def directory_option(arguments: Sequence[str]) -> str:
    """Return the value of the option --dir in a command line."""
    for word, following in zip_longest(arguments, arguments[1:], fillvalue=''):
        if word in ('--dir', '-d'):
            return following
        if word.startswith('--dir='):
            return word.removeprefix('--dir=')
    return ''


LISTEN = '0A'  # a socket's state in /proc/net/tcp


def is_port_free(host: str, port: int) -> bool:
    """Return whether a server could listen on the port at this moment. As in Twisted, SO_REUSEADDR is set."""
    family = socket.AF_INET6 if ':' in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((host, port))
        except OSError as error:
            return error.errno != errno.EADDRINUSE
    return True


def is_listening_on_port(pid: int, port: int) -> bool:
    """Return whether the process itself has a listening socket on the port."""
    socket_links = {f'socket:[{inode}]' for inode in listening_inodes(port)}
    return bool(socket_links & open_files(pid))


def find_port_owner(port: int) -> int | None:
    """Return the process that listens on the port, or None if permissions do not allow this process to see it."""
    socket_links = {f'socket:[{inode}]' for inode in listening_inodes(port)}
    for entry in Path('/proc').iterdir():
        if entry.name.isdecimal() and socket_links & open_files(int(entry.name)):
            return int(entry.name)
    return None


def listening_inodes(port: int) -> list[str]:
    """Return the inodes of the sockets that listen on the port, on any address."""
    found = []
    for table in ('/proc/net/tcp', '/proc/net/tcp6'):
        if not Path(table).exists():  # the kernel has no IPv6
            continue
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == LISTEN and int(fields[1].rpartition(':')[2], 16) == port:
                found.append(fields[9])
    return found


def open_files(pid: int) -> set[str]:
    """Return the link targets of a process's file descriptors. The result is empty if the process has ended or belongs
    to another user."""
    try:
        return {link_target(entry) for entry in Path(f'/proc/{pid}/fd').iterdir()}
    except OSError:
        return set()


def link_target(descriptor: Path) -> str:
    try:
        return os.readlink(descriptor)  # noqa: PTH115 - 'socket:[1]' is not a path
    except OSError:  # closed in the meantime
        return ''


REPLACE_TIMEOUT = 60.0  # seconds that replacing one worker may take in addition to its grace period


def read_worker_status(part: Component, process: ComponentProcess | None) -> StatusFile | None:
    """Return the status that the parent process of a server's workers has written, or None if the server has a single
    process or is stopped."""
    if process is None:
        return None
    return read_status_file(part.path / 'work', process.pid)


def missing_workers_sentence(part: Component, process: ComponentProcess) -> str:
    """Return a sentence if some workers do not serve requests. Returns '' if all workers serve requests, or if there
    are no workers."""
    status = read_worker_status(part, process)
    if status is None or status.ready_count >= status.wanted:
        return ''
    return f'{status.ready_count} of {status.wanted} workers are ready'


def replace_workers(part: Component, grace: float) -> list[str] | None:
    """Let the parent process replace all workers while the listening sockets stay open. Returns the errors, with one
    sentence for each, or None if the server has no parent process."""
    process = running_process(part)
    status = read_worker_status(part, process)
    if process is None or status is None:
        return None
    target = status.asked + 1
    deadline = time.monotonic() + (REPLACE_TIMEOUT + grace) * (len(status.workers) + 1)
    process.send(signal.SIGUSR2)
    while process.is_alive():
        status = read_worker_status(part, process)
        if status is not None and status.done >= target:
            reason = status.why.rstrip('.')
            error = f'not all workers of {part.name} could be replaced: {reason}; the running ones continue'
            return [error] if reason else []
        if time.monotonic() > deadline:
            return [f'the workers of {part.name} are not replaced yet: see {part.path}/logs']
        time.sleep(POLL_INTERVAL)
    return [f'{part.name} ended in the meantime: see {part.path}/logs']
