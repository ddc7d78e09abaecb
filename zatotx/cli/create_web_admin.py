"""`zatotx create web-admin`: adds the web admin to an environment that has none."""

from __future__ import annotations

import click

from zatotx.cli.command_output import make_path_argument
from zatotx.cli.environment.cluster_file import read_shared_settings
from zatotx.cli.environment.component_types import LOAD_BALANCER, SERVER
from zatotx.cli.environment.components.operations_registry import operations_of
from zatotx.cli.environment.components.web_admin import (
    BREAK_GLASS,
    BREAK_GLASS_USER,
    NAME,
    PORT,
    NewWebAdmin,
    write_web_admin,
)
from zatotx.cli.environment.environment_authority import AUTHORITY, WEB_ADMIN, link_certificate
from zatotx.cli.environment.environment_layout import (
    CREDENTIALS,
    Component,
    UserCredentials,
    components_of,
    find_environment,
)
from zatotx.cli.environment.initial_files import add_credentials
from zatotx.cli.environment.listen_addresses import first_tcp_address
from zatotx.cli.errors import CommandError
from zatotx.cli.quickstart import MAX_PORT, new_password


@click.command(
    'web-admin',
    short_help='Add the web admin to an environment.',
    epilog='\b\nExamples:\n  zatotx create web-admin ~/env/qs-1\n  zatotx create web-admin ~/env/qs-1 --port 8443',
)
@make_path_argument()
@click.option('--port', default=PORT, show_default=True, type=click.IntRange(1, MAX_PORT), help='Where it listens.')
def create_web_admin(path: str, port: int) -> None:
    """Add the web admin to the environment at PATH, which must not have one. It calls the servers of the environment
    and the agent of its load balancer, and is not started."""
    environment = find_environment(path).environment
    if (environment / NAME).exists():
        raise CommandError(f'{environment / NAME} exists already.')
    parts = components_of(environment)
    servers = [first_tcp_address(part) for part in parts if part.kind == SERVER]
    if not servers:
        raise CommandError(f'{environment} has no server for the web admin to call: create one with '
                           f"'zatotx create server {environment}'.")  # fmt: skip
    account = UserCredentials(BREAK_GLASS_USER, new_password())
    write_web_admin(environment / NAME, NewWebAdmin(
        port=port, cluster=read_shared_settings(environment).cluster, servers=[each.url for each in servers],
        agent=_agent_url(parts), tls=any(each.scheme == 'https' for each in servers), break_glass=account,
    ))  # fmt: skip
    add_credentials(environment / CREDENTIALS, BREAK_GLASS, account)
    if (environment / AUTHORITY).is_dir():
        link_certificate(environment / NAME / 'tls', 'web-admin', WEB_ADMIN)
    click.echo(f'Web admin http://127.0.0.1:{port}')
    click.echo(f'Passwords {environment / CREDENTIALS}')
    click.echo(f'Start it  zatotx start {environment / NAME}')


def _agent_url(parts: tuple[Component, ...]) -> str:
    """Return the URL of the load balancer's agent; '' if there is none."""
    for part in parts:
        if part.kind == LOAD_BALANCER:
            for address in operations_of(part).listen_addresses(part):
                if address.section == 'agent':
                    return address.url
    return ''
