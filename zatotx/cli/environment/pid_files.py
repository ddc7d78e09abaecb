"""The process of a part, found through its pid file and told apart from whatever else has that pid today."""

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

STEP = 0.02  # seconds between two looks


class Process(NamedTuple):
    """A live process that carries a part's directory in its command line."""

    pid: int
    started: str  # in clock ticks since boot: with the pid it names one process for ever

    def alive(self) -> bool:
        return process_start_time(self.pid) == self.started

    def send(self, number: signal.Signals) -> None:
        """Signal it, unless it has ended meanwhile."""
        if self.alive():
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                return

    def ended_within(self, seconds: float) -> bool:
        """Wait for its end."""
        end = time.monotonic() + seconds
        while self.alive():
            if time.monotonic() > end:
                return False
            time.sleep(STEP)
        return True


def running_process(part: Component) -> Process | None:
    """The process of a part; None where its pid file is absent, stale, or names a process of another program."""
    try:
        pid = int(part.pid_file.read_text())
    except (FileNotFoundError, ValueError):
        return None
    started = process_start_time(pid)
    return Process(pid, started) if started and is_running(pid, part) else None


def is_running(pid: int, part: Component) -> bool:
    """Whether the process is twistd on this part: the plugin's name, then --dir with this very directory."""
    try:
        return directory_of(pid, (part.plugin,)) == part.path.resolve()
    except OSError:  # it ended, or is somebody else's
        return False


def described(pid: int) -> str:
    """A process for people: `server1 of /home/ann/env/qs-1 (process 12)` for a component, else `process 12 (nginx)`."""
    try:
        name = Path(f'/proc/{pid}/comm').read_text().strip()
        directory = directory_of(pid, tuple(PLUGINS.values()))
    except OSError:  # it ended, or is somebody else's
        return f'process {pid}'
    return f'process {pid} ({name})' if directory is None else f'{directory.name} of {directory.parent} (process {pid})'


def directory_of(pid: int, plugins: Sequence[str]) -> Path | None:
    """The directory of the component that a process runs, by its command line; None where it runs none of these
    twistd plugins. Raises OSError where the process has ended or is somebody else's."""
    words = [os.fsdecode(word) for word in Path(f'/proc/{pid}/cmdline').read_bytes().split(b'\0')]
    directory = directory_option(words)
    if not directory or not any(plugin in words for plugin in plugins):
        return None
    return Path(f'/proc/{pid}/cwd', directory).resolve()


def directory_option(words: Sequence[str]) -> str:
    """What a command line gives as --dir."""
    for word, following in zip_longest(words, words[1:], fillvalue=''):
        if word in ('--dir', '-d'):
            return following
        if word.startswith('--dir='):
            return word.removeprefix('--dir=')
    return ''
