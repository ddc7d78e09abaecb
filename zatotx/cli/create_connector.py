"""`zatotx create connector`: adds a connector to an environment."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import click

from zatotx.cli.environment.component_types import CONNECTOR
from zatotx.cli.environment.components.connector import PORT, NewConnector, write_connector
from zatotx.cli.environment.components.registry import operations_of
from zatotx.cli.environment.layout import Component, components_of, find_environment
from zatotx.cli.environment.processes import is_free
from zatotx.cli.environment.secret_keys import read_secret_key
from zatotx.cli.errors import CommandError
from zatotx.cli.output import path_argument

MAX_PORT = 65_535


@click.command(
    'connector',
    short_help='Add a connector to an environment.',
    epilog='\b\nExamples:\n  zatotx create connector ~/env/qs-1\n  zatotx create connector ~/env/qs-1 --port 17055',
)
@path_argument()
@click.option('--port', default=0, type=click.IntRange(0, MAX_PORT),
              help="Where it listens for its own endpoints; default: after the environment's other connectors.")
def create_connector(path: str, port: int) -> None:
    """Add a connector to the environment at PATH. It has the cluster, database, Redis and secret key of the first
    server, and is not started."""
    environment = find_environment(path).environment
    parts = components_of(environment)
    server = next((part for part in parts if part.type.is_node and part.kind != CONNECTOR), None)
    if server is None:
        raise CommandError(f'{environment} has no server whose settings a connector could take.')
    settings = tomllib.loads(server.settings_path.read_text('utf-8'))
    name = _free_name(environment, parts)
    chosen = port or _free_port(parts)
    write_connector(environment / name, NewConnector(
        cluster=_text(settings, 'main', 'cluster', server), port=chosen,
        odb_url=_text(settings, 'odb', 'url', server), redis_url=_text(settings, 'kvdb', 'url', server),
        key=read_secret_key(server),
    ))  # fmt: skip
    click.echo(f'{name}  http://127.0.0.1:{chosen}')
    click.echo(f'Start it    zatotx start {environment / name}')


def _free_name(environment: Path, parts: tuple[Component, ...]) -> str:
    number = 1 + sum(part.kind == CONNECTOR for part in parts)
    while (environment / f'connector{number}').exists():
        number += 1
    return f'connector{number}'


def _free_port(parts: tuple[Component, ...]) -> int:
    """Return a free port after those of the connectors, else after their default. Raises CommandError."""
    own = [address.port for part in parts if part.kind == CONNECTOR
           for address in operations_of(part).listen_addresses(part)]  # fmt: skip
    for port in range(max(own, default=PORT - 1) + 1, MAX_PORT):
        if is_free('127.0.0.1', port):
            return port
    raise CommandError('No port is free: give one with --port.')


def _text(settings: dict[str, Any], section: str, key: str, server: Component) -> str:
    value = settings.get(section, {}).get(key)
    if not isinstance(value, str):
        raise CommandError(f'{server.settings_path} has no {section}.{key}.')
    return value
