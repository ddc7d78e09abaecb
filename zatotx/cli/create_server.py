"""`zatotx create server`: adds a server to an environment."""

from __future__ import annotations

import click

from zatotx.cli.command_output import make_path_argument
from zatotx.cli.environment.cluster_file import next_component_name, read_shared_settings
from zatotx.cli.environment.component_types import LOAD_BALANCER, SERVER
from zatotx.cli.environment.components.operations_registry import operations_of
from zatotx.cli.environment.components.server import write_server
from zatotx.cli.environment.creation_plan import SERVER_PORT, EnvironmentPlan
from zatotx.cli.environment.environment_authority import issue_server_certificate
from zatotx.cli.environment.environment_layout import Component, components_of, find_environment
from zatotx.cli.environment.listen_addresses import first_tcp_address
from zatotx.cli.environment.process_discovery import is_port_free
from zatotx.cli.errors import CommandError
from zatotx.cli.quickstart import MAX_PORT, MAX_WORKERS


@click.command(
    'server',
    short_help='Add a server to an environment.',
    epilog='\b\nExamples:\n  zatotx create server ~/env/qs-1\n'
    '  zatotx create server ~/env/qs-1 --port 17050 --workers 2',
)
@make_path_argument()
@click.option('--port', default=0, type=click.IntRange(0, MAX_PORT),
              help="Where it listens; default: after the environment's other servers.")
@click.option('--workers', default=1, show_default=True, type=click.IntRange(1, MAX_WORKERS),
              help='Processes that share its listening sockets; at most one per CPU core is useful.')
def create_server(path: str, port: int, workers: int) -> None:
    """Add a server to the environment at PATH. It uses the cluster, database, Redis and secret key of the other nodes,
    and is not started.

    When it starts, it fetches services and configuration from the database. A load balancer of the environment sends it
    requests once it is ready.
    """
    environment = find_environment(path).environment
    parts = components_of(environment)
    shared = read_shared_settings(environment)
    name, number = next_component_name(environment, parts, SERVER, 'server')
    servers = [part for part in parts if part.kind == SERVER]
    chosen = port or free_port(servers)
    tls = any(first_tcp_address(part).scheme == 'https' for part in servers)
    plan = EnvironmentPlan(
        cluster=shared.cluster, servers=number, port_offset=chosen - SERVER_PORT - number + 1, odb_url=shared.odb_url,
        redis_url=shared.redis_url, key=shared.key, users={}, workers=workers, tls=tls,
        load_balancer=any(part.kind == LOAD_BALANCER for part in parts),
    )  # fmt: skip
    if tls:
        issue_server_certificate(environment, plan.cluster, name)
    write_server(environment, plan, number)
    click.echo(f'{name}   {"https" if tls else "http"}://127.0.0.1:{chosen}')
    click.echo(f'Start it  zatotx start {environment / name}')


def free_port(servers: list[Component]) -> int:
    """Return a free port that is higher than the ports of the existing servers. If there are no servers, return the
    default port. Raises CommandError."""
    own = [address.port for part in servers for address in operations_of(part).listen_addresses(part)]
    for port in range(max(own, default=SERVER_PORT - 1) + 1, MAX_PORT):
        if is_port_free('127.0.0.1', port):
            return port
    raise CommandError('No port is free: give one with --port.')
