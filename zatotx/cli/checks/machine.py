"""The machine: room on its disks, limits of processes."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from zatotx.cli.checks.files import is_writable
from zatotx.cli.checks.finding import BROKEN, EVERY_PART, WARNING, Check, CheckContext
from zatotx.cli.environment.layout import SERVER, Component, setting, settings
from zatotx.cli.environment.pid_files import running_process

MIB = 1024 * 1024
LITTLE, TOO_LITTLE = 1024 * MIB, 64 * MIB  # bytes that are free
FEW = 0.05  # of all bytes or inodes
FEW_FILES, TOO_FEW_FILES = 4096, 256  # descriptors of a process


def free_space(scene: CheckContext, part: Component) -> Iterator[tuple[str, str]]:
    """There is room where a part writes; said once a file system and part."""
    seen: set[int] = set()
    for directory in (*is_writable(part), part.path.parent / 'odb'):
        if directory.is_dir() and (device := directory.stat().st_dev) not in seen:
            seen.add(device)
            yield from check_free_space(directory, os.statvfs(directory))


def check_free_space(directory: Path, found: Any) -> Iterator[tuple[str, str]]:
    """What is to be said of a file system, by what statvfs gives."""
    free, total = found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
    fix = 'remove what is not needed, or make the file system larger'
    if free < TOO_LITTLE:
        yield BROKEN, f'{directory} has {free // MIB} MiB of room left: {fix}'
    elif free < LITTLE and free < total * FEW:
        yield WARNING, f'{directory} has {free // MIB} MiB of room left, {free * 100 // total} % of it: {fix}'
    if found.f_files and found.f_favail < found.f_files * FEW:
        severity = BROKEN if found.f_favail < 1000 else WARNING
        yield severity, f'{directory} has room for {found.f_favail} more files (inodes): remove old ones'


def descriptors(scene: CheckContext, part: Component) -> Iterator[tuple[str, str]]:
    """A server may open as many connections as it is made for."""
    limit, whose = limit_of(part, 'Max open files', resource.RLIMIT_NOFILE)
    fix = "raise it ('ulimit -n 65536' before the start, LimitNOFILE=65536 with systemd) and restart it"
    if limit < TOO_FEW_FILES:
        yield BROKEN, f'{whose} may open {limit} files and connections at once: {fix}'
    elif limit < FEW_FILES:
        yield WARNING, f'{whose} may open {limit} files and connections at once, fewer than {FEW_FILES}: {fix}'


def core_dumps(scene: CheckContext, part: Component) -> Iterator[tuple[str, str]]:
    """A server that crashes leaves no image of its memory, which holds keys and passwords."""
    process = running_process(part)
    if process is None or setting(settings(part), 'main', 'core_dumps', False):
        return
    limit, _ = limit_of(part, 'Max core file size', resource.RLIMIT_CORE)
    if limit:
        yield WARNING, ("its process may leave a core dump, which holds keys and passwords: 'ulimit -c 0' before the "
                        'start, LimitCORE=0 with systemd, and restart it')  # fmt: skip


def limit_of(part: Component, name: str, number: int) -> tuple[int, str]:
    """A soft limit of the process of a part; where it does not run, the one it would have, as a server raises what it
    may to the hard one. And whose it is."""
    process = running_process(part)
    if process is not None:
        found = read_limit(Path(f'/proc/{process.pid}/limits'), name, lambda path: path.read_text())
        if found is not None:
            return found, f'process {process.pid}'
    hard = resource.getrlimit(number)[1]
    return (2**63 if hard == resource.RLIM_INFINITY else hard), 'a process started from here'


def read_limit(path: Path, name: str, read: Callable[[Path], str]) -> int | None:
    """The soft limit of that name in /proc/PID/limits; None where it cannot be seen."""
    try:
        line = next(line for line in read(path).splitlines() if line.startswith(name))
    except (OSError, StopIteration):
        return None
    word = line[len(name) :].split()[0]
    return 2**63 if word == 'unlimited' else int(word)


CHECKS = (
    Check('disk', 'under logs, work, odb or redis there are less than 1 GiB and 5 % (warning) or 64 MiB (broken), or '
          'few inodes', EVERY_PART, free_space),
    Check('limits', 'a server may open fewer than 4096 files (warning) or 256 (broken)', SERVER, descriptors),
    Check('limits', "a running server may leave core dumps, without [main] core_dumps", SERVER, core_dumps),
)  # fmt: skip
