"""`zatotx odb`: checks and upgrades the schema of an environment's database, without a server."""

from __future__ import annotations

import click

from zatotx.cli.command_output import make_path_argument, progress_if_slow
from zatotx.cli.environment.environment_layout import components_of, find_environment
from zatotx.cli.environment.odb_and_redis_access import convert_errors, odb_url, open_odb
from zatotx.cli.environment.process_discovery import running_process
from zatotx.cli.environment.secret_key_access import any_server
from zatotx.cli.errors import CommandError

STATE_SENTENCES = {
    'current': 'has the schema of this version of zatotx',
    'older': "has the schema of an older version: stop the servers and run 'zatotx odb upgrade'",
    'compatible': 'has the schema of a newer version of zatotx, which this version can use',
    'newer': 'has the schema of a newer version of zatotx: install that version',
    'empty': "has no tables: create an environment with its database with 'zatotx quickstart create'",
    'foreign': 'contains tables of another program',
}


@click.group(epilog='\b\nExamples:\n  zatotx odb check ~/env/qs-1\n  zatotx odb upgrade ~/env/qs-1')
def odb() -> None:
    """Check and upgrade the schema of an environment's database."""


@odb.command(short_help='Compare the schema with this version.',
             epilog='\b\nExamples:\n  zatotx odb current ~/env/qs-1')
@make_path_argument()
def current(path: str) -> None:
    """Compare the schema with this version of zatotx, and print current, older, compatible, newer, empty or foreign.
    compatible: newer, but this version can use it."""
    click.echo(read_schema_state(path))


@odb.command(short_help='Open the database and read all objects.',
             epilog='\b\nExamples:\n  zatotx odb check ~/env/qs-1')
@make_path_argument()
def check(path: str) -> None:
    """Open the database and read all objects. Returns 0 on success; otherwise prints what to do and returns 1."""
    from zatotx.odb.offline_operations import read_snapshot

    found = read_schema_state(path)
    if found not in ('current', 'compatible'):
        raise CommandError(f'The database {STATE_SENTENCES[found]}.')
    with open_odb(find_environment(path)) as opened:
        objects = read_snapshot(opened)
    click.echo(f'The database {STATE_SENTENCES[found]}: {len(objects)} objects at revision {objects.revision}.')


@odb.command(epilog='\b\nExamples:\n  zatotx odb upgrade ~/env/qs-1')
@make_path_argument()
def upgrade(path: str) -> None:
    """Upgrade the schema to this version of zatotx, atomically. Servers must be stopped, unless those of the present
    version can use the new schema: then they are upgraded afterwards, one by one.

    MariaDB and MySQL do not support this in one transaction: there, the next run continues an upgrade that was
    interrupted.
    """
    from zatotx.odb.offline_operations import needs_stopped_nodes
    from zatotx.odb.offline_operations import upgrade_odb as upgrade_schema

    environment = find_environment(path)
    running = [
        part.name for part in components_of(environment.environment) if part.type.is_node and running_process(part)
    ]
    with convert_errors():
        must_stop = bool(running) and needs_stopped_nodes(odb_url(any_server(environment)))
    if must_stop:
        raise CommandError(f"{', '.join(running)} must be stopped first: 'zatotx stop {environment.environment}'.")
    with progress_if_slow('Upgrading'), convert_errors():
        changed = upgrade_schema(odb_url(any_server(environment)))
    message = 'The database was upgraded to this version.'
    click.echo(message if changed else f'Nothing to do: the database {STATE_SENTENCES["current"]}.')


def read_schema_state(path: str) -> str:
    """Return the state of the database schema: 'current', 'older', 'newer', 'empty' or 'foreign'."""
    from zatotx.odb.offline_operations import inspect_schema_state

    with convert_errors():
        return inspect_schema_state(odb_url(any_server(find_environment(path))))
