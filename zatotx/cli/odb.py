"""`zatotx odb`: the schema of an environment's database, without a server."""

from __future__ import annotations

import click

from zatotx.cli.environment.layout import SERVER, components_of, find_environment
from zatotx.cli.environment.odb_access import database, error_sentences, odb_url
from zatotx.cli.environment.pid_files import running_process
from zatotx.cli.environment.secret_keys import any_server
from zatotx.cli.errors import CommandError
from zatotx.cli.output import path_argument, progress

SAID = {
    'current': 'is what this version of zatotx works with',
    'older': "is of an older version: stop the servers and run 'zatotx odb upgrade'",
    'newer': 'is of a newer version than this zatotx: install that one',
    'empty': "has no tables: 'zatotx quickstart create' makes an environment with its database",
    'foreign': 'has tables of another program',
}


@click.group(epilog='\b\nExamples:\n  zatotx odb check ~/env/qs-1\n  zatotx odb upgrade ~/env/qs-1')
def odb() -> None:
    """The schema of an environment's database."""


@odb.command(short_help='Say how the schema stands to this version.',
             epilog='\b\nExamples:\n  zatotx odb current ~/env/qs-1')
@path_argument()
def current(path: str) -> None:
    """Say how the schema stands to this version of zatotx: current, older, newer, empty or foreign."""
    click.echo(state(path))


@odb.command(short_help='Open the database and read all of it.',
             epilog='\b\nExamples:\n  zatotx odb check ~/env/qs-1')
@path_argument()
def check(path: str) -> None:
    """Open the database and read all of it: 0 when that went well, else 1 and what to do."""
    from zatotx.odb.setup import snapshot

    found = state(path)
    if found != 'current':
        raise CommandError(f'The database {SAID[found]}.')
    with database(find_environment(path)) as opened:
        objects = snapshot(opened)
    click.echo(f'The database {SAID[found]}: {len(objects)} objects at revision {objects.revision}.')


@odb.command(epilog='\b\nExamples:\n  zatotx odb upgrade ~/env/qs-1')
@path_argument()
def upgrade(path: str) -> None:
    """Bring the schema to this version of zatotx, all of it or nothing. Servers must be stopped.

    MariaDB and MySQL cannot do it at once: there, an upgrade that was interrupted is gone on with by the next.
    """
    from zatotx.odb.setup import upgrade as bring_up

    place = find_environment(path)
    up = [part.name for part in components_of(place.environment) if part.kind == SERVER and running_process(part)]
    if up:
        raise CommandError(f"{', '.join(up)} runs: 'zatotx stop {place.environment}' first.")
    with progress('Upgrading'), error_sentences():
        done = bring_up(odb_url(any_server(place)))
    said = 'The database was brought to this version.'
    click.echo(said if done else f'Nothing to do: the database {SAID["current"]}.')


def state(path: str) -> str:
    """'current', 'older', 'newer', 'empty' or 'foreign'."""
    from zatotx.odb.setup import schema_state

    with error_sentences():
        return schema_state(odb_url(any_server(find_environment(path))))
