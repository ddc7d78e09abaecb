"""Finds the process of a component by its pid file, and verifies that the process is the component's."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

from zatotx.cli.environment.layout import PLUGINS, Component
from zatotx.node.workers.procfs import process_start_time

POLL_INTERVAL = 0.02  # seconds between two checks


class Process(NamedTuple):
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


def running_process(part: Component) -> Process | None:
    """Return the process of a component; None if its pid file is absent or stale, or names a process of another
    program."""
    try:
        pid = int(part.pid_file.read_text())
    except (FileNotFoundError, ValueError):
        return None
    started = process_start_time(pid)
    return Process(pid, started) if started and runs_component(pid, part) else None


def runs_component(pid: int, part: Component) -> bool:
    """Whether the process is twistd running this component: the name of the plugin, then --dir with exactly this
    directory."""
    try:
        return component_directory(pid, (part.plugin,)) == part.path.resolve()
    except OSError:  # it has ended, or belongs to another user
        return False


def describe_process(pid: int) -> str:
    """Describe a process for messages: `server1 of /home/ann/env/qs-1 (process 12)` for a component, else `process 12
    (nginx)`."""
    try:
        name = Path(f'/proc/{pid}/comm').read_text().strip()
        directory = component_directory(pid, tuple(PLUGINS.values()))
    except OSError:  # it has ended, or belongs to another user
        return f'process {pid}'
    return f'process {pid} ({name})' if directory is None else f'{directory.name} of {directory.parent} (process {pid})'


def component_directory(pid: int, plugins: Sequence[str]) -> Path | None:
    """Return the directory of the component that a process runs, by its command line; None if it runs none of these
    twistd plugins. Raises OSError if the process has ended or belongs to another user."""
    arguments = [os.fsdecode(argument) for argument in Path(f'/proc/{pid}/cmdline').read_bytes().split(b'\0')]
    directory = directory_option(arguments)
    if not directory or not any(plugin in arguments for plugin in plugins):
        return None
    return Path(f'/proc/{pid}/cwd', directory).resolve()


def directory_option(arguments: Sequence[str]) -> str:
    """Return the value of --dir in a command line."""
    for word, following in zip_longest(arguments, arguments[1:], fillvalue=''):
        if word in ('--dir', '-d'):
            return following
        if word.startswith('--dir='):
            return word.removeprefix('--dir=')
    return ''
