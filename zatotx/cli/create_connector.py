"""`zatotx create connector`: adds a connector to an environment."""

from __future__ import annotations

import click

from zatotx.cli.command_output import make_path_argument
from zatotx.cli.environment.cluster_file import next_component_name, read_shared_settings
from zatotx.cli.environment.component_types import CONNECTOR
from zatotx.cli.environment.components.connector import PORT, NewConnector, write_connector
from zatotx.cli.environment.components.operations_registry import operations_of
from zatotx.cli.environment.environment_layout import Component, components_of, find_environment
from zatotx.cli.environment.process_discovery import is_port_free
from zatotx.cli.errors import CommandError

MAX_PORT = 65_535


@click.command(
    'connector',
    short_help='Add a connector to an environment.',
    epilog='\b\nExamples:\n  zatotx create connector ~/env/qs-1\n  zatotx create connector ~/env/qs-1 --port 17055',
)
@make_path_argument()
@click.option('--port', default=0, type=click.IntRange(0, MAX_PORT),
              help="Where it listens for its own endpoints; default: after the environment's other connectors.")
def create_connector(path: str, port: int) -> None:
    """Add a connector to the environment at PATH. It uses the cluster, database, Redis and secret key of the other
    nodes, and is not started."""
    environment = find_environment(path).environment
    parts = components_of(environment)
    shared = read_shared_settings(environment)
    name, _ = next_component_name(environment, parts, CONNECTOR, 'connector')
    chosen = port or _free_port(parts)
    write_connector(environment / name, NewConnector(
        cluster=shared.cluster, port=chosen, odb_url=shared.odb_url, redis_url=shared.redis_url, key=shared.key,
    ))  # fmt: skip
    click.echo(f'{name}  http://127.0.0.1:{chosen}')
    click.echo(f'Start it    zatotx start {environment / name}')


def _free_port(parts: tuple[Component, ...]) -> int:
    """Return a free port after those of the connectors, else after their default. Raises CommandError."""
    own = [address.port for part in parts if part.kind == CONNECTOR
           for address in operations_of(part).listen_addresses(part)]  # fmt: skip
    for port in range(max(own, default=PORT - 1) + 1, MAX_PORT):
        if is_port_free('127.0.0.1', port):
            return port
    raise CommandError('No port is free: give one with --port.')
