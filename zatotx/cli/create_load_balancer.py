"""`zatotx create load-balancer`: creates a load balancer outside an environment."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from zatotx.cli.environment.atomic_files import atomic_directory, make_private_dir, write_private_file
from zatotx.cli.environment.components.load_balancer import (
    AGENT_PORT,
    PORT,
    InitialAgent,
    InitialServer,
    write_load_balancer,
)
from zatotx.cli.environment.environment_layout import INFO_FILE
from zatotx.cli.errors import CommandError


@click.command(
    'load-balancer',
    short_help='Create a load balancer for servers that run elsewhere.',
    epilog='\b\nExamples:\n  zatotx create load-balancer /opt/lb --server 10.0.0.1:17010 --server 10.0.0.2:17010',
)
@click.argument('path', type=click.Path(), help='The directory to create; it must be absent or empty.')
@click.option('--server', 'servers', multiple=True, metavar='HOST:PORT', help='A server; may be given several times.')
@click.option('--cluster-name', default='zatotx', show_default=True, help='Name of the cluster, for cookies.')
@click.option('--port', default=PORT, show_default=True, type=click.IntRange(1, 65535), help='Where it listens.')
@click.option('--agent-cert', default='', metavar='FILE', help='The certificate of its agent. Default: no agent.')
@click.option('--agent-key', default='', metavar='FILE', help='The key of its agent. Default: no agent.')
@click.option('--agent-ca', default='', metavar='FILE', help="The authority of the agent's clients. Default: no agent.")
@click.option('--agent-crl', default='', metavar='FILE', help='Its revocation list. Default: revocations are ignored.')
def create_load_balancer(
    path: str, servers: tuple[str, ...], cluster_name: str, port: int, **agent_files: str
) -> None:
    """Create a load balancer at PATH, which must be absent or empty.

    Its settings are in PATH/config/lb.toml. It is created completely, or not at all. With the files of --agent-cert,
    --agent-key and --agent-ca, which are copied, it has an agent through which it is administered.
    """
    target = Path(path).absolute()
    if any(character in cluster_name for character in '"\\\n\r\t'):
        raise click.BadParameter('must not contain quotation marks or backslashes', param_hint="'--cluster-name'")
    parsed = [parse_server_address(text, number) for number, text in enumerate(servers, 1)]
    has_agent = check_agent_options(agent_files)
    with atomic_directory(target, INFO_FILE) as directory:
        write_load_balancer(
            directory,
            cluster=cluster_name,
            servers=parsed,
            port=port,
            name=target.name,
            agent=InitialAgent(AGENT_PORT, True, has_revocation_list=bool(agent_files['agent_crl']))
            if has_agent
            else None,
        )
        if has_agent:
            copy_agent_files(directory / 'tls-agent', agent_files)
    click.echo(f'Load balancer  http://127.0.0.1:{port}')
    if has_agent:
        click.echo(f'Agent          https://127.0.0.1:{AGENT_PORT}')
    click.echo(f'Settings       {target}/config/lb.toml')
    click.echo(f'Start it       zatotx start {target}')


def check_agent_options(files: Mapping[str, str]) -> bool:
    """Return whether the options enable an agent. Raises UsageError if only some of the agent's files are given."""
    given = [name for name, file in files.items() if file]
    required = ('agent_cert', 'agent_key', 'agent_ca')
    missing = [f'--{name.replace("_", "-")}' for name in required if name not in given]
    if given and missing:
        raise click.UsageError(f'The agent needs {", ".join(missing)}, too')
    return bool(given)


def copy_agent_files(directory: Path, files: Mapping[str, str]) -> None:
    """Copy the agent's TLS files to a directory, after checking that the agent can use them. Raises CommandError."""
    from zatotx.model.errors import StartError
    from zatotx.processes.mutual_tls import MutualTlsFiles, load_tls_context

    crl = Path(files['agent_crl']) if files['agent_crl'] else None
    found = MutualTlsFiles(Path(files['agent_cert']), Path(files['agent_key']), Path(files['agent_ca']), crl)
    try:
        load_tls_context(found)
    except StartError as error:
        raise CommandError(f'The agent cannot use its files: {error}.') from None
    make_private_dir(directory)
    for source, suffix in zip(found, ('cert', 'priv-key', 'ca-certs', 'crl'), strict=True):
        if source is not None:
            write_private_file(directory / f'zato-lba-{suffix}.pem', source.read_text('ascii'))


def parse_server_address(text: str, number: int) -> InitialServer:
    """Parse a server address of the form HOST:PORT. Raises BadParameter."""
    host, _, port = text.rpartition(':')
    host = host.strip('[]')
    if not host or not port.isdecimal() or not 1 <= int(port) <= 65535 or any(c in host for c in '"\\ /'):
        raise click.BadParameter(f'{text!r} is not HOST:PORT, such as 10.0.0.1:17010', param_hint="'--server'")
    return InitialServer(f'server{number}', host, int(port))
