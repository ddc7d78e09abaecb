"""Checks the machine: disk space, resource limits, ports, and the processes of components."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from zatotx.cli.checks.check_definition import (
    BROKEN,
    EVERY_COMPONENT,
    NODE,
    REQUEST_TIMEOUT,
    WARNING,
    Check,
    CheckContext,
)
from zatotx.cli.environment.component_types import REDIS
from zatotx.cli.environment.components.operations_registry import operations_of
from zatotx.cli.environment.environment_layout import Component, get_setting, read_settings
from zatotx.cli.environment.process_discovery import (
    describe_process,
    find_port_owner,
    is_listening_on_port,
    is_port_free,
    running_process,
)
from zatotx.cli.environment.readiness_probe import probe_component

MIB = 1024 * 1024
LITTLE, TOO_LITTLE = 1024 * MIB, 64 * MIB  # free bytes
FEW = 0.05  # share of all bytes or inodes
FEW_FILES, TOO_FEW_FILES = 4096, 256  # file descriptors per process


def check_disk_space(context: CheckContext, part: Component) -> Iterator[tuple[str, str]]:
    """Check the free disk space in the directories to which a component writes, once for each file system."""
    seen: set[int] = set()
    for directory in (*operations_of(part).writable_directories(part), part.path.parent / 'odb'):
        if directory.is_dir() and (device := directory.stat().st_dev) not in seen:
            seen.add(device)
            yield from check_file_system(directory, os.statvfs(directory))


def check_file_system(directory: Path, found: Any) -> Iterator[tuple[str, str]]:
    """Check the free space of a file system. `found` is the result of statvfs."""
    free, total = found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
    fix = 'remove files, or enlarge the file system'
    if free < TOO_LITTLE:
        yield BROKEN, f'{directory} has {free // MIB} MiB of free space left: {fix}'
    elif free < LITTLE and free < total * FEW:
        yield WARNING, f'{directory} has {free // MIB} MiB ({free * 100 // total} %) of free space left: {fix}'
    if found.f_files and found.f_favail < found.f_files * FEW:
        severity = BROKEN if found.f_favail < 1000 else WARNING
        yield severity, f'{directory} has only {found.f_favail} free inodes: remove old files'


def check_descriptor_limit(context: CheckContext, part: Component) -> Iterator[tuple[str, str]]:
    """Check that a server can open enough files and connections."""
    limit, process_name = effective_limit(part, 'Max open files', resource.RLIMIT_NOFILE)
    fix = "raise it ('ulimit -n 65536' before the start, LimitNOFILE=65536 with systemd) and restart the server"
    if limit < TOO_FEW_FILES:
        yield BROKEN, f'{process_name} may open {limit} files and connections at once: {fix}'
    elif limit < FEW_FILES:
        yield WARNING, f'{process_name} may open {limit} files and connections at once, fewer than {FEW_FILES}: {fix}'


def check_core_dumps(context: CheckContext, part: Component) -> Iterator[tuple[str, str]]:
    """Check that a server does not write a core dump when it crashes, because a core dump would contain keys and
    passwords."""
    process = running_process(part)
    if process is None or get_setting(read_settings(part), 'main', 'core_dumps', False):
        return
    limit, _ = effective_limit(part, 'Max core file size', resource.RLIMIT_CORE)
    if limit:
        yield WARNING, ("its process may leave a core dump, which contains keys and passwords: 'ulimit -c 0' before "
                        'the start, LimitCORE=0 with systemd, and restart it')  # fmt: skip


def effective_limit(part: Component, name: str, number: int) -> tuple[int, str]:
    """Return the soft resource limit of a component's process, and a description of the process to which the limit
    belongs. For a stopped component, return the limit that it would have, which is the hard limit, because a server
    raises its soft limit to the hard limit."""
    process = running_process(part)
    if process is not None:
        found = read_process_limit(Path(f'/proc/{process.pid}/limits'), name, lambda path: path.read_text())
        if found is not None:
            return found, f'process {process.pid}'
    hard = resource.getrlimit(number)[1]
    return (2**63 if hard == resource.RLIM_INFINITY else hard), 'a process started from here'


def read_process_limit(path: Path, name: str, read: Callable[[Path], str]) -> int | None:
    """Return the soft limit with the given name from /proc/PID/limits, or None if it cannot be read."""
    try:
        line = next(line for line in read(path).splitlines() if line.startswith(name))
    except (OSError, StopIteration):
        return None
    value = line[len(name) :].split()[0]
    return 2**63 if value == 'unlimited' else int(value)


def check_component_is_running(context: CheckContext, part: Component) -> Iterator[tuple[str, str]]:
    """Check that a component is running. A component that was stopped together with all other components is not
    reported."""
    if running_process(part) is not None:
        return
    if part.pid_file.exists():
        pid = part.pid_file.read_text(errors='replace').strip()[:20]
        yield BROKEN, (f'it ended without being stopped: {part.pid_file} names process {pid or "none"}, which is not '
                       f"its own; see {part.path}/logs, then 'zatotx start {part.path}'")  # fmt: skip
    elif any(running_process(other) is not None for other in context.environment.components):
        yield WARNING, f"it is stopped while other components are running: 'zatotx start {part.path}'"


def check_component_is_ready(context: CheckContext, part: Component) -> Iterator[tuple[str, str]]:
    """Check that a running component is ready."""
    state = probe_component(part, REQUEST_TIMEOUT)
    if state.pid is not None and state.reason:
        yield BROKEN, f'it is running but not ready: {state.reason}; see {part.path}/logs'


def check_ports(context: CheckContext, part: Component) -> Iterator[tuple[str, str]]:
    """Check that each port of a server is free, or is used by the server itself."""
    file, process = part.settings_path, running_process(part)
    for address in operations_of(part).listen_addresses(part):
        if process is not None and is_listening_on_port(process.pid, address.port):
            continue
        if process is not None:
            yield BROKEN, (f'it is running but does not listen on port {address.port}: see {part.path}/logs, then '
                           f"'zatotx restart {part.path}'")  # fmt: skip
        elif not is_port_free(address.host, address.port):
            pid = find_port_owner(address.port)
            user = describe_process(pid) if pid else 'another program'
            listen = f'{address.section}.listen'
            yield BROKEN, f'port {address.port} is in use by {user}: stop it, or change {listen} in {file}'


def check_duplicate_ports(context: CheckContext, part: Component) -> Iterator[tuple[str, str]]:
    """Check that no two servers of an environment use the same port."""
    own_ports = {address.port: address.section for address in operations_of(part).listen_addresses(part)}
    for other in context.environment.components:
        if other.path < part.path:
            ports = {address.port for address in operations_of(other).listen_addresses(other)}
            for port in sorted(own_ports.keys() & ports):
                yield BROKEN, (f'port {port} is also used by {other.name}: change {own_ports[port]}.listen in '
                               f'{part.settings_path}')  # fmt: skip


def check_redis_program(context: CheckContext, part: Component) -> Iterator[tuple[str, str]]:
    """Check that a Redis server program is installed for the embedded Redis."""
    from zatotx.model.errors import StartError
    from zatotx.redis.server_process import find_server_binary

    try:
        find_server_binary()
    except StartError as error:
        yield BROKEN, str(error)


CHECKS = (
    Check(
        'disk',
        'logs, work, odb or redis have less than 1 GiB and 5 % (warning) or 64 MiB (broken) of free space, '
        'or few free inodes',
        EVERY_COMPONENT,
        check_disk_space,
    ),
    Check(
        'limits',
        'a server or connector may open fewer than 4096 files (warning) or 256 (broken)',
        NODE,
        check_descriptor_limit,
    ),
    Check(
        'limits',
        'a running server or connector may leave core dumps although [main] core_dumps is not set',
        NODE,
        check_core_dumps,
    ),
    Check(
        'processes',
        'a component ended without being stopped (its pid file names another process or none), or is '
        'stopped while others are running',
        EVERY_COMPONENT,
        check_component_is_running,
    ),
    Check(
        'ports',
        'a port is in use by another program, or a running server or connector does not listen on it',
        NODE,
        check_ports,
    ),
    Check('ports', 'two servers or connectors have the same port', NODE, check_duplicate_ports),
    Check('files', 'no program for the embedded Redis is installed', REDIS, check_redis_program),
    Check(
        'ready',
        'a server or connector is running and /zato/ready does not respond with 200',
        NODE,
        check_component_is_ready,
        sends_requests=True,
    ),
    Check(
        'ready',
        'the embedded Redis is running and does not respond',
        REDIS,
        check_component_is_ready,
        sends_requests=True,
    ),
)
