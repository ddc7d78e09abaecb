"""`zatotx update password`: changes a user's password in the cluster and in credentials.toml."""

from __future__ import annotations

from pathlib import Path

import click

from zatotx.cli.command_output import make_path_argument, progress_if_slow
from zatotx.cli.completion_values import complete_users
from zatotx.cli.environment.atomic_files import toml_string, write_private_file
from zatotx.cli.environment.cluster_client import ClusterClient, PasswordRejectedError
from zatotx.cli.environment.component_types import SERVER
from zatotx.cli.environment.components.web_admin import find_break_glass, write_break_glass
from zatotx.cli.environment.environment_layout import (
    CREDENTIALS,
    Environment,
    UserCredentials,
    components_of,
    find_environment,
    read_toml,
)
from zatotx.cli.environment.process_discovery import running_process
from zatotx.cli.errors import CommandError
from zatotx.cli.secret_options import make_secret_option, read_secret
from zatotx.rules.enmasse.reference_resolution import is_obvious_reference

# Types of users with passwords -> the prefixes of their services.
USER_TYPES = {'basic_auth': 'zato.security.basic-auth', 'admin_user': 'zato.admin.user'}


@click.group(epilog='\b\nExamples:\n  zatotx update password ~/env/qs-1 admin.invoke')
def update() -> None:
    """Change the settings of an environment."""


@update.command(
    short_help='Change the password of USER.',
    epilog='\b\nExamples:\n  zatotx update password ~/env/qs-1 admin.invoke\n'
    '  zatotx update password ~/env/qs-1 pubapi < new-password.txt\n'
    '  zatotx update password ~/env/qs-1 pubapi --password @new-password.txt'
)
@make_path_argument()
@click.argument('user', shell_complete=complete_users, help='The name of a Basic auth definition or a web admin user.')
@make_secret_option('password', 'The new password', 'given')
def password(path: str, user: str, given: str | None) -> None:
    """Change the password of USER, whether or not the environment is running.

    USER is the name of a Basic auth definition or of a web admin user, or break-glass. If credentials.toml contains the
    user, it is changed too.
    """
    environment = find_environment(path)
    new_password = read_secret(given, 'password', 'New password', confirm=True)
    if not new_password:
        raise click.UsageError('the new password is empty')
    if is_obvious_reference(new_password):
        raise CommandError(
            'The new password is a reference such as ${NAME}, which would not be resolved: specify the password itself.'
        )
    local = find_break_glass(environment.environment)
    if local is not None and local[1] == user:
        write_break_glass(local[0], UserCredentials(user, new_password))
        file_note = change_password_in_file(environment.environment / CREDENTIALS, user, new_password)
        click.echo(f'The password of {user} was changed in {local[0]}{file_note}.')
        return
    with progress_if_slow(f'Changing the password of {user}'):
        delay_note = change_password(environment, user, new_password)
        file_note = change_password_in_file(environment.environment / CREDENTIALS, user, new_password)
    click.echo(f'The password of {user} was changed in the cluster{file_note}{delay_note}.')


def change_password(environment: Environment, user: str, new: str) -> str:
    """Change the password of a user. It is changed through a running server or, if no server is running or none accepts
    the stored credentials, in the database. Returns a clause that says when the change takes effect."""
    if any(running_process(part) for part in components_of(environment.environment) if part.kind == SERVER):
        try:
            change_password_over_api(environment, user, new)
            return ''
        except PasswordRejectedError:
            change_password_in_odb(environment, user, new)
            return '; running servers apply it within 2 s'
    change_password_in_odb(environment, user, new)
    return ''


def change_password_over_api(environment: Environment, user: str, new: str) -> None:
    """Change the password through a running server. The new password is active on every node when this function
    returns."""
    cluster = ClusterClient(environment)
    names: list[str] = []
    for prefix in USER_TYPES.values():
        for row in cluster.call(f'{prefix}.get-list', {'cluster_id': 1}) or []:
            if row['name'] == user:
                cluster.call(f'{prefix}.change-password', {'id': row['id'], 'password1': new, 'password2': new})
                return
            names.append(row['name'])
    raise unknown_user(user, names)


def change_password_in_odb(environment: Environment, user: str, new: str) -> None:
    from zatotx.cli.environment.odb_and_redis_access import command_actor, open_odb
    from zatotx.odb.offline_operations import read_snapshot, set_object_password

    with open_odb(environment) as opened:
        objects = read_snapshot(opened)
        if all(objects.find(type_, user) is None for type_ in USER_TYPES):
            raise unknown_user(user, [stored.name for stored in objects.objects_of_types(*USER_TYPES)])
        set_object_password(opened, user, new, command_actor('update password'))


def unknown_user(user: str, names: list[str]) -> CommandError:
    return CommandError(f'There is no user {user!r}, only {", ".join(sorted(names))}.')


def change_password_in_file(path: Path, user: str, new: str) -> str:
    """Replace the user's password in credentials.toml, and leave everything else unchanged. Returns a clause that
    describes the change.
    """
    sections = [name for name, values in read_toml(path).items() if is_section_of_user(values, user)]
    if not sections:
        return ''
    lines, section = [], ''
    for line in path.read_text('utf-8').splitlines():
        if line.startswith('['):
            section = line.strip().strip('[]').strip()
        key = line.partition('=')[0].strip()
        lines.append(f'password = {toml_string(new)}' if section in sections and key == 'password' else line)
    write_private_file(path, '\n'.join(lines) + '\n')
    return f' and in {path}'


def is_section_of_user(values: object, user: str) -> bool:
    return isinstance(values, dict) and values.get('username') == user
