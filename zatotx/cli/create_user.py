"""`zatotx create user`: creates a user of the web admin."""

from __future__ import annotations

import click

from zatotx.cli.command_output import make_path_argument, progress_if_slow
from zatotx.cli.environment.cluster_client import ClusterClient
from zatotx.cli.environment.environment_layout import find_environment
from zatotx.cli.secret_options import make_secret_option, read_secret
from zatotx.rules.security.roles import ADMIN_USER_ROLES


@click.command(
    'user',
    short_help='Create a user of the web admin.',
    epilog='\b\nExamples:\n  zatotx create user ~/env/qs-1 ann --role operator\n'
    '  pass show zatotx/ann | zatotx create user ~/env/qs-1 ann',
)
@make_path_argument()
@click.argument('username', help='The user name of the login.')
@click.option('--role', 'roles', multiple=True, type=click.Choice(ADMIN_USER_ROLES),
              help='What the user may do; may be given several times. Default: viewer.')
@make_secret_option('password', 'The password', 'given')
def create_user(path: str, username: str, roles: tuple[str, ...], given: str | None) -> None:
    """Create a user of the web admin, by calling a running server of PATH."""
    environment = find_environment(path)
    password = read_secret(given, 'password', 'Password', confirm=True)
    if not password:
        raise click.UsageError('the password is empty')
    chosen = sorted(set(roles)) or ['viewer']
    with progress_if_slow(f'Creating the user {username}'):
        ClusterClient(environment).call('zato.admin.user.create', {
            'cluster_id': 1, 'name': username, 'username': username, 'roles': chosen, 'password': password,
        })
    click.echo(f'The user {username} was created: {", ".join(chosen)}.')
