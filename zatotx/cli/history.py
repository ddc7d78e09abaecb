"""`zatotx history`: who changed what, and the configuration of any revision, out of the database itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from threading import Event
from time import monotonic, time
from typing import TYPE_CHECKING, Any

import click

from zatotx.cli.completion_values import object_type_keys
from zatotx.cli.environment.layout import find_environment
from zatotx.cli.environment.odb_access import command_actor, database
from zatotx.cli.environment.private_files import write
from zatotx.cli.errors import CommandError
from zatotx.cli.output import format_option, path_argument, print_json, print_step, print_table, progress

if TYPE_CHECKING:
    from zatotx.interfaces.config import HistoryRow
    from zatotx.odb.database import Database

LIVE_WITHIN = 30.0  # seconds all servers that run have to take up a restored revision
LOOK_EVERY = 0.2
LONG = 60  # characters of a value in a table
MOST_OF_ONE = 8  # lines of one revision in a table


class ListUnlessNamed(click.Group):
    """`history PATH` is `history list PATH`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = ['list', *args]
        return super().parse_args(ctx, args)


@click.group(
    cls=ListUnlessNamed,
    epilog='\b\nExamples:\n  zatotx history ~/env/qs-1\n  zatotx history ~/env/qs-1 --name crm.user --format json\n'
    '  zatotx history show ~/env/qs-1 17\n  zatotx history restore ~/env/qs-1 16 --dry-run',
)
def history() -> None:
    """Who changed what, when and from where; any revision can be exported and restored.

    `zatotx history PATH` is `zatotx history list PATH`. The last 100,000 changes of a cluster are kept.
    """


@history.command('list', epilog='\b\nExamples:\n  zatotx history ~/env/qs-1 --type channel_rest --limit 20')
@path_argument()
@click.option('--type', default='', shell_complete=object_type_keys,
              help='Of that type only: basic_auth, channel_rest …, or file for code.')
@click.option('--name', default='', help='Only of objects that are, or once were, called so.')
@click.option('--since', default=0, metavar='REV', help='Only what came after that revision.')
@click.option('--limit', default=50, show_default=True, type=click.IntRange(1, 100_000), help='How many at most.')
@format_option()
def list_(path: str, form: str, **which: Any) -> None:
    """Changes of a cluster, the newest first; secrets are masked."""
    rows = changes(path, **which)
    if form == 'json':
        print_json([as_json(row) for row in rows])
        return
    print_table(('REVISION', 'WHEN', 'WHO', 'FROM', 'CHANGE'), list(table(rows)))


@history.command(epilog='\b\nExamples:\n  zatotx history show ~/env/qs-1 17')
@path_argument()
@click.argument('revision', metavar='REV', type=click.IntRange(1), help='A number that history list shows.')
@format_option()
def show(path: str, revision: int, form: str) -> None:
    """All that changed with one revision, old and new."""
    rows = changes(path, revision=revision, limit=100_000)
    if not rows:
        raise CommandError(f'The history has no change with the revision {revision}.')
    if form == 'json':
        print_json([as_json(row) for row in rows])
        return
    first = rows[0]
    click.echo(
        f'Revision {revision}, {format_time(first)}, by {first.who} ({format_origin(first)}), cid {first.cid or "-"}'
    )
    for row in reversed(rows):
        click.echo(f'{row.action} {row.type} {row.name!r}')
        for field in sorted({*row.old, *row.new}):
            click.echo(f'    {field}: {format_side(row.old, field)} -> {format_side(row.new, field)}')


@history.command(epilog='\b\nExamples:\n  zatotx history export ~/env/qs-1 16 --output then.yaml')
@path_argument()
@click.argument('revision', metavar='REV', type=click.IntRange(1), help='A number that history list shows.')
@click.option('--output', type=click.Path(), help='Where to write to; default: print it.')
@click.option('--include-secrets', is_flag=True, help='Secrets in clear where they can be read.')
def export(path: str, revision: int, output: str | None, include_secrets: bool) -> None:
    """The configuration as it was at a revision, as YAML for enmasse."""
    from zatotx.api.history import to_yaml
    from zatotx.odb.setup import schema_and_revision

    with database(find_environment(path)) as opened:
        text = to_yaml(schema_and_revision(opened, revision), opened.types, include_secrets)
    if output is None:
        click.echo(text, nl=False)
    else:
        write(Path(output), text)


@history.command(short_help='Bring the configuration back to what it was at a revision.',
                 epilog='\b\nExamples:\n  zatotx history restore ~/env/qs-1 16 --dry-run\n'
                 '  zatotx history restore ~/env/qs-1 16')  # fmt: skip
@path_argument()
@click.argument('revision', metavar='REV', type=click.IntRange(1), help='A number that history list shows.')
@click.option('--dry-run', is_flag=True, help='Print what would change; write nothing.')
def restore(path: str, revision: int, dry_run: bool) -> None:
    """Bring the configuration back to what it was at a revision, as a new one: all of it or nothing.

    Secrets come back too. Deployed code stays as it is (see `zatotx service rollback`), and so do the users of
    credentials.toml.
    """
    from zatotx.odb.setup import restore as bring_back

    with database(find_environment(path)) as opened, progress(f'Restoring revision {revision}'):
        done = bring_back(opened, revision, command_actor(f'history restore {revision}'), dry_run=dry_run)
        for line in done.lines:
            click.echo(line)
        if not done.lines:
            click.echo(f'Nothing to do: nothing has changed since revision {revision}.')
        elif dry_run:
            click.echo('Nothing was written.')
        else:
            until_live(opened, done.revision)
            click.echo(f'Revision {revision} is in force again, as revision {done.revision}.')


def until_live(opened: Database, revision: int) -> None:
    """Wait for the servers that run. Raises Failure naming those that do not follow."""
    from zatotx.node.live_config import live_nodes
    from zatotx.odb.nodes import nodes

    end = monotonic() + LIVE_WITHIN
    while True:
        behind = {n.name for n in live_nodes(opened.read(nodes), time()) if n.applied_revision < revision}
        if not behind:
            return
        if monotonic() > end:
            raise CommandError(f'Revision {revision} is stored, but not in force yet on {", ".join(sorted(behind))}.')
        Event().wait(LOOK_EVERY)


def changes(path: str, **which: Any) -> list[HistoryRow]:
    """The rows that are asked for."""
    from zatotx.odb.history import Filter, newest

    wanted = Filter(**which)
    with database(find_environment(path)) as opened:
        rows = opened.read(lambda connection, cluster: newest(connection, cluster, wanted))
    if len(rows) == wanted.limit and not wanted.revision:
        print_step(f'The newest {wanted.limit}; --limit gives more.')
    return rows


def table(rows: Sequence[HistoryRow]) -> Iterator[tuple[object, ...]]:
    """A line a change. Of a revision that changed a lot (an import, the first start) the first lines say enough."""
    for revision, group in groupby(rows, lambda row: row.revision):
        together = list(group)
        shown = len(together) if len(together) <= MOST_OF_ONE else MOST_OF_ONE - 1
        for row in together[:shown]:
            yield row.revision, format_time(row), row.who, format_origin(row), summary(row)
        if shown < len(together):
            first = together[0]
            more = f'and {len(together) - shown} more: zatotx history show PATH {revision}'
            yield revision, format_time(first), first.who, format_origin(first), more


def as_json(row: HistoryRow) -> dict[str, Any]:
    from zatotx.api.history import to_row

    return to_row(row)


def format_time(row: HistoryRow) -> str:
    return datetime.fromtimestamp(row.at, UTC).strftime('%Y-%m-%d %H:%M:%SZ')


def format_origin(row: HistoryRow) -> str:
    """By which door, and from which address."""
    return ' '.join(part for part in (row.source, row.address) if part) or '-'


def summary(row: HistoryRow) -> str:
    """The change in one line."""
    what = f'{row.action} {row.type} {row.name!r}'
    if row.action != 'edit':
        return what
    return (
        f'{what}: {", ".join(f"{f} {format_side(row.old, f)} -> {format_side(row.new, f)}" for f in sorted(row.new))}'
    )


def format_side(document: dict[str, object], field: str) -> str:
    """A value, or nothing."""
    if field not in document:
        return '-'
    text = repr(document[field])
    return text if len(text) <= LONG else f'{text[:LONG]}…'
