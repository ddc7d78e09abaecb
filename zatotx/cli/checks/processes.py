"""Checks of processes and ports."""

from __future__ import annotations

from collections.abc import Iterator

from zatotx.cli.checks.finding import BROKEN, EVERY_COMPONENT, REQUEST_TIMEOUT, WARNING, Check, CheckContext
from zatotx.cli.environment.layout import REDIS, SERVER, Component
from zatotx.cli.environment.listen_addresses import tcp_addresses
from zatotx.cli.environment.pid_files import describe_process, running_process
from zatotx.cli.environment.port_owner import holds_port, is_free, port_owner
from zatotx.cli.environment.readiness_probe import probe_component


def check_running(scene: CheckContext, part: Component) -> Iterator[tuple[str, str]]:
    """Check that a component is running, or was stopped together with the others."""
    if running_process(part) is not None:
        return
    if part.pid_file.exists():
        pid = part.pid_file.read_text(errors='replace').strip()[:20]
        yield BROKEN, (f'it ended without being stopped: {part.pid_file} names process {pid or "none"}, which is not '
                       f"its own; see {part.path}/logs, then 'zatotx start {part.path}'")  # fmt: skip
    elif any(running_process(other) is not None for other in scene.environment.components):
        yield WARNING, f"it is stopped while other components are running: 'zatotx start {part.path}'"


def check_ready(scene: CheckContext, part: Component) -> Iterator[tuple[str, str]]:
    """Check that a running component is ready."""
    state = probe_component(part, REQUEST_TIMEOUT)
    if state.pid is not None and state.why:
        yield BROKEN, f'it is running but not ready: {state.why}; see {part.path}/logs'


def check_ports(scene: CheckContext, part: Component) -> Iterator[tuple[str, str]]:
    """Check that a server's ports are free, or in use by the server itself."""
    file, process = part.path / 'config' / 'server.toml', running_process(part)
    for address in tcp_addresses(part):
        if process is not None and holds_port(process.pid, address.port):
            continue
        if process is not None:
            yield BROKEN, (f'it is running but does not listen on port {address.port}: see {part.path}/logs, then '
                           f"'zatotx restart {part.path}'")  # fmt: skip
        elif not is_free(address.host, address.port):
            pid = port_owner(address.port)
            user = describe_process(pid) if pid else 'another program'
            yield BROKEN, f'port {address.port} is in use by {user}: stop it, or change http.listen in {file}'


def check_duplicate_ports(scene: CheckContext, part: Component) -> Iterator[tuple[str, str]]:
    """Check that no two servers of an environment use the same port."""
    own_ports = {address.port for address in tcp_addresses(part)}
    for other in scene.environment.servers:
        if other.path < part.path:
            for port in sorted(own_ports & {address.port for address in tcp_addresses(other)}):
                yield BROKEN, (f'port {port} is also used by {other.name}: change http.listen in '
                               f'{part.path}/config/server.toml')  # fmt: skip


def check_redis_program(scene: CheckContext, part: Component) -> Iterator[tuple[str, str]]:
    """Check that a server program for the embedded Redis is installed."""
    from zatotx.model.errors import StartError
    from zatotx.redis.server_binary import find_server_binary

    try:
        find_server_binary()
    except StartError as error:
        yield BROKEN, str(error)


CHECKS = (
    Check(
        'processes',
        'a component ended without being stopped (its pid file names another process or none), or is '
        'stopped while others are running',
        EVERY_COMPONENT,
        check_running,
    ),
    Check(
        'ports', 'a port is in use by another program, or a running server does not listen on it', SERVER, check_ports
    ),
    Check('ports', 'two servers have the same port', SERVER, check_duplicate_ports),
    Check('files', 'no program for the embedded Redis is installed', REDIS, check_redis_program),
    Check(
        'ready',
        'a server is running and /zato/ready does not respond with 200',
        SERVER,
        check_ready,
        sends_requests=True,
    ),
    Check('ready', 'the embedded Redis is running and does not respond', REDIS, check_ready, sends_requests=True),
)
