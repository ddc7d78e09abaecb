"""Checks of the machine: disk space and resource limits."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from zatotx.cli.checks.files import writable_directories
from zatotx.cli.checks.finding import BROKEN, EVERY_COMPONENT, WARNING, Check, CheckContext
from zatotx.cli.environment.layout import SERVER, Component, get_setting, read_settings
from zatotx.cli.environment.pid_files import running_process

MIB = 1024 * 1024
LITTLE, TOO_LITTLE = 1024 * MIB, 64 * MIB  # free bytes
FEW = 0.05  # share of all bytes or inodes
FEW_FILES, TOO_FEW_FILES = 4096, 256  # file descriptors per process


def check_disk_space(scene: CheckContext, part: Component) -> Iterator[tuple[str, str]]:
    """Check the free space where a component writes; once per file system."""
    seen: set[int] = set()
    for directory in (*writable_directories(part), part.path.parent / 'odb'):
        if directory.is_dir() and (device := directory.stat().st_dev) not in seen:
            seen.add(device)
            yield from check_file_system(directory, os.statvfs(directory))


def check_file_system(directory: Path, found: Any) -> Iterator[tuple[str, str]]:
    """Check the free space of a file system, by the result of statvfs."""
    free, total = found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
    fix = 'remove files, or enlarge the file system'
    if free < TOO_LITTLE:
        yield BROKEN, f'{directory} has {free // MIB} MiB of free space left: {fix}'
    elif free < LITTLE and free < total * FEW:
        yield WARNING, f'{directory} has {free // MIB} MiB ({free * 100 // total} %) of free space left: {fix}'
    if found.f_files and found.f_favail < found.f_files * FEW:
        severity = BROKEN if found.f_favail < 1000 else WARNING
        yield severity, f'{directory} has only {found.f_favail} free inodes: remove old files'


def check_descriptor_limit(scene: CheckContext, part: Component) -> Iterator[tuple[str, str]]:
    """Check that a server may open enough files and connections."""
    limit, process_name = effective_limit(part, 'Max open files', resource.RLIMIT_NOFILE)
    fix = "raise it ('ulimit -n 65536' before the start, LimitNOFILE=65536 with systemd) and restart the server"
    if limit < TOO_FEW_FILES:
        yield BROKEN, f'{process_name} may open {limit} files and connections at once: {fix}'
    elif limit < FEW_FILES:
        yield WARNING, f'{process_name} may open {limit} files and connections at once, fewer than {FEW_FILES}: {fix}'


def check_core_dumps(scene: CheckContext, part: Component) -> Iterator[tuple[str, str]]:
    """Check that a server that crashes leaves no core dump, which would contain keys and passwords."""
    process = running_process(part)
    if process is None or get_setting(read_settings(part), 'main', 'core_dumps', False):
        return
    limit, _ = effective_limit(part, 'Max core file size', resource.RLIMIT_CORE)
    if limit:
        yield WARNING, ("its process may leave a core dump, which contains keys and passwords: 'ulimit -c 0' before "
                        'the start, LimitCORE=0 with systemd, and restart it')  # fmt: skip


def effective_limit(part: Component, name: str, number: int) -> tuple[int, str]:
    """Return a soft limit of a component's process, and whose limit it is. If the component is stopped, the limit that
    it would have: the hard limit, to which a server raises the soft one."""
    process = running_process(part)
    if process is not None:
        found = read_limit(Path(f'/proc/{process.pid}/limits'), name, lambda path: path.read_text())
        if found is not None:
            return found, f'process {process.pid}'
    hard = resource.getrlimit(number)[1]
    return (2**63 if hard == resource.RLIM_INFINITY else hard), 'a process started from here'


def read_limit(path: Path, name: str, read: Callable[[Path], str]) -> int | None:
    """Return the soft limit of that name in /proc/PID/limits; None if it cannot be read."""
    try:
        line = next(line for line in read(path).splitlines() if line.startswith(name))
    except (OSError, StopIteration):
        return None
    value = line[len(name) :].split()[0]
    return 2**63 if value == 'unlimited' else int(value)


CHECKS = (
    Check(
        'disk',
        'logs, work, odb or redis have less than 1 GiB and 5 % (warning) or 64 MiB (broken) of free space, '
        'or few free inodes',
        EVERY_COMPONENT,
        check_disk_space,
    ),
    Check(
        'limits', 'a server may open fewer than 4096 files (warning) or 256 (broken)', SERVER, check_descriptor_limit
    ),
    Check(
        'limits',
        'a running server may leave core dumps although [main] core_dumps is not set',
        SERVER,
        check_core_dumps,
    ),
)
