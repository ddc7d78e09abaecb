"""Processes and ports: what should run does, and has its address."""

from __future__ import annotations

from collections.abc import Iterator

from zatotx.cli.checks.finding import BROKEN, EVERY_PART, PATIENCE, WARNING, Check, CheckContext
from zatotx.cli.environment.layout import REDIS, SERVER, Component
from zatotx.cli.environment.listen_addresses import addresses
from zatotx.cli.environment.pid_files import described, running_process
from zatotx.cli.environment.port_owner import holds_port, is_free, port_owner
from zatotx.cli.environment.readiness_probe import probe


def is_running(scene: CheckContext, part: Component) -> Iterator[tuple[str, str]]:
    """A part that does not run was stopped, and not alone."""
    if running_process(part) is not None:
        return
    if part.pid_file.exists():
        pid = part.pid_file.read_text(errors='replace').strip()[:20]
        yield BROKEN, (f'it ended without being stopped: {part.pid_file} names process {pid or "none"}, which is none '
                       f"of its own; see {part.path}/logs, then 'zatotx start {part.path}'")  # fmt: skip
    elif any(running_process(other) is not None for other in scene.place.parts):
        yield WARNING, f"it does not run, others of its environment do: 'zatotx start {part.path}'"


def is_answering(scene: CheckContext, part: Component) -> Iterator[tuple[str, str]]:
    """A part that runs is ready."""
    state = probe(part, PATIENCE)
    if state.pid is not None and state.why:
        yield BROKEN, f"it runs and is not ready: {state.why}; see {part.path}/logs"


def port_is_ours(scene: CheckContext, part: Component) -> Iterator[tuple[str, str]]:
    """A server's ports are free, or held by itself."""
    file, process = part.path / 'config' / 'server.toml', running_process(part)
    for where in addresses(part):
        if process is not None and holds_port(process.pid, where.port):
            continue
        if process is not None:
            yield BROKEN, (f'it runs and does not listen on port {where.port}: see {part.path}/logs, then '
                           f"'zatotx restart {part.path}'")  # fmt: skip
        elif not is_free(where.host, where.port):
            other = port_owner(where.port)
            by = described(other) if other else 'another program'
            yield BROKEN, f'port {where.port} is taken by {by}: end it, or change http.listen in {file}'


def ports_differ(scene: CheckContext, part: Component) -> Iterator[tuple[str, str]]:
    """No two servers of an environment want the same port."""
    mine = {where.port for where in addresses(part)}
    for other in scene.place.servers:
        if other.path < part.path:
            for port in sorted(mine & {where.port for where in addresses(other)}):
                yield BROKEN, (f'port {port} is {other.name}\'s too: change http.listen in '
                               f'{part.path}/config/server.toml')  # fmt: skip


def redis_program(scene: CheckContext, part: Component) -> Iterator[tuple[str, str]]:
    """There is a program for the embedded Redis."""
    from zatotx.model.errors import StartError
    from zatotx.redis.server_binary import find_binary

    try:
        find_binary()
    except StartError as error:
        yield BROKEN, str(error)


CHECKS = (
    Check('processes', 'a part ended without being stopped (a pid file is left that names none of its processes), or '
          'does not run while others do', EVERY_PART, is_running),
    Check('ports', 'a port is taken by another program, or a running server does not listen on it', SERVER,
          port_is_ours),
    Check('ports', 'two servers have the same port', SERVER, ports_differ),
    Check('files', 'there is no program for the embedded Redis', REDIS, redis_program),
    Check('ready', 'a server runs and /zato/ready does not answer 200', SERVER, is_answering, asks=True),
    Check('ready', 'the embedded Redis runs and does not answer', REDIS, is_answering, asks=True),
)  # fmt: skip
