"""`zatotx create`: creates single components."""

from __future__ import annotations

from pathlib import Path

import click

from zatotx.cli.environment.atomic_files import atomic_directory
from zatotx.cli.environment.components.load_balancer import PORT, NewServer, write_load_balancer
from zatotx.cli.environment.layout import INFO_FILE


@click.group(epilog='\b\nExamples:\n  zatotx create load-balancer /opt/lb --server 10.0.0.1:17010')
def create() -> None:
    """Create a single component."""


@create.command(
    'load-balancer',
    short_help='Create a load balancer for servers that run elsewhere.',
    epilog='\b\nExamples:\n  zatotx create load-balancer /opt/lb --server 10.0.0.1:17010 --server 10.0.0.2:17010',
)
@click.argument('path', type=click.Path(), help='The directory to create; it must be absent or empty.')
@click.option('--server', 'servers', multiple=True, metavar='HOST:PORT', help='A server; may be given several times.')
@click.option('--cluster-name', default='zatotx', show_default=True, help='Name of the cluster, for cookies.')
@click.option('--port', default=PORT, show_default=True, type=click.IntRange(1, 65535), help='Where it listens.')
def create_load_balancer(path: str, servers: tuple[str, ...], cluster_name: str, port: int) -> None:
    """Create a load balancer at PATH, which must be absent or empty.

    Its settings are in PATH/config/lb.toml. It is created completely, or not at all.
    """
    target = Path(path).absolute()
    if any(character in cluster_name for character in '"\\\n\r\t'):
        raise click.BadParameter('must not contain quotation marks or backslashes', param_hint="'--cluster-name'")
    parsed = [parse_server(text, number) for number, text in enumerate(servers, 1)]
    with atomic_directory(target, INFO_FILE) as directory:
        write_load_balancer(directory, cluster=cluster_name, servers=parsed, port=port, name=target.name)
    click.echo(f'Load balancer  http://127.0.0.1:{port}')
    click.echo(f'Settings       {target}/config/lb.toml')
    click.echo(f'Start it       zatotx start {target}')


def parse_server(text: str, number: int) -> NewServer:
    """Return the server of an address HOST:PORT. Raises BadParameter."""
    host, _, port = text.rpartition(':')
    host = host.strip('[]')
    if not host or not port.isdecimal() or not 1 <= int(port) <= 65535 or any(c in host for c in '"\\ /'):
        raise click.BadParameter(f'{text!r} is not HOST:PORT, such as 10.0.0.1:17010', param_hint="'--server'")
    return NewServer(f'server{number}', host, int(port))
