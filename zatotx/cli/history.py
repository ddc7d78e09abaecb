"""`zatotx history`: shows the history of configuration changes, and exports or restores the configuration of any
revision, directly from the database.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from threading import Event
from time import monotonic, time
from typing import TYPE_CHECKING, Any

import click

from zatotx.cli.command_output import (
    make_format_option,
    make_path_argument,
    print_json,
    print_note,
    print_table,
    progress_if_slow,
)
from zatotx.cli.completion_values import object_type_keys
from zatotx.cli.environment.atomic_files import write_private_file
from zatotx.cli.environment.environment_layout import find_environment
from zatotx.cli.environment.odb_and_redis_access import command_actor, open_odb
from zatotx.cli.errors import CommandError

if TYPE_CHECKING:
    from zatotx.interfaces.config import HistoryRow
    from zatotx.odb.database import Database

APPLY_TIMEOUT = 30.0  # seconds that running servers get to apply a restored revision
CHECK_INTERVAL = 0.2
MAX_VALUE_LENGTH = 60  # maximum characters of a value in a table
MAX_LINES_PER_REVISION = 8  # maximum lines per revision in a table


class DefaultListGroup(click.Group):
    """A click group that makes `history PATH` a short form of `history list PATH`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = ['list', *args]
        return super().parse_args(ctx, args)


@click.group(
    cls=DefaultListGroup,
    epilog='\b\nExamples:\n  zatotx history ~/env/qs-1\n  zatotx history ~/env/qs-1 --name crm.user --format json\n'
    '  zatotx history show ~/env/qs-1 17\n  zatotx history restore ~/env/qs-1 16 --dry-run',
)
def history() -> None:
    """Show the history of configuration changes; export or restore any revision.

    `zatotx history PATH` is short for `zatotx history list PATH`. The last 100,000 changes of a cluster are kept.
    """


@history.command('list', epilog='\b\nExamples:\n  zatotx history ~/env/qs-1 --type channel_rest --limit 20')
@make_path_argument()
@click.option('--type', default='', shell_complete=object_type_keys,
              help='Only objects of this type: basic_auth, channel_rest …, or file for code.')
@click.option('--name', default='', help='Only objects that have, or once had, this name.')
@click.option('--since', default=0, metavar='REV', help='Only changes after this revision.')
@click.option('--limit', default=50, show_default=True, type=click.IntRange(1, 100_000),
              help='Maximum number of changes.')
@make_format_option()
def list_(path: str, form: str, **which: Any) -> None:
    """List the changes of a cluster, newest first; secrets are masked."""
    rows = read_changes(path, **which)
    if form == 'json':
        print_json([to_json(row) for row in rows])
        return
    print_table(('REVISION', 'WHEN', 'WHO', 'FROM', 'CHANGE'), list(table_rows(rows)))


@history.command(epilog='\b\nExamples:\n  zatotx history show ~/env/qs-1 17')
@make_path_argument()
@click.argument('revision', metavar='REV', type=click.IntRange(1), help='A number that history list shows.')
@make_format_option()
def show(path: str, revision: int, form: str) -> None:
    """Show all changes of one revision, with old and new values."""
    rows = read_changes(path, revision=revision, limit=100_000)
    if not rows:
        raise CommandError(f'The history has no change with the revision {revision}.')
    if form == 'json':
        print_json([to_json(row) for row in rows])
        return
    first = rows[0]
    click.echo(
        f'Revision {revision}, {format_time(first)}, by {first.who} ({format_origin(first)}), cid {first.cid or "-"}'
    )
    for row in reversed(rows):
        click.echo(f'{row.action} {row.type} {row.name!r}')
        for field in sorted({*row.old, *row.new}):
            click.echo(f'    {field}: {format_value(row.old, field)} -> {format_value(row.new, field)}')


@history.command(epilog='\b\nExamples:\n  zatotx history export ~/env/qs-1 16 --output then.yaml')
@make_path_argument()
@click.argument('revision', metavar='REV', type=click.IntRange(1), help='A number that history list shows.')
@click.option('--output', type=click.Path(), help='The file to write; default: standard output.')
@click.option('--include-secrets', is_flag=True, help='Export secrets in clear, if they can be decrypted.')
def export(path: str, revision: int, output: str | None, include_secrets: bool) -> None:
    """Export the configuration of a revision as YAML for enmasse."""
    from zatotx.api.configuration_history import snapshot_to_yaml
    from zatotx.odb.offline_operations import read_snapshot_at

    with open_odb(find_environment(path)) as opened:
        text = snapshot_to_yaml(read_snapshot_at(opened, revision), opened.types, include_secrets)
    if output is None:
        click.echo(text, nl=False)
    else:
        write_private_file(Path(output), text)


@history.command(short_help='Restore the configuration of a revision.',
                 epilog='\b\nExamples:\n  zatotx history restore ~/env/qs-1 16 --dry-run\n'
                 '  zatotx history restore ~/env/qs-1 16')  # fmt: skip
@make_path_argument()
@click.argument('revision', metavar='REV', type=click.IntRange(1), help='A number that history list shows.')
@click.option('--dry-run', is_flag=True, help='Print what would change, without writing anything.')
def restore(path: str, revision: int, dry_run: bool) -> None:
    """Restore the configuration of a revision, atomically, as a new revision.

    Secrets are restored too. Deployed code stays unchanged (see `zatotx service rollback`), and so do the users in
    credentials.toml.
    """
    from zatotx.odb.offline_operations import restore_revision

    with open_odb(find_environment(path)) as opened, progress_if_slow(f'Restoring revision {revision}'):
        result = restore_revision(opened, revision, command_actor(f'history restore {revision}'), dry_run=dry_run)
        for line in result.lines:
            click.echo(line)
        if not result.lines:
            click.echo(f'Nothing to do: the configuration has not changed since revision {revision}.')
        elif dry_run:
            click.echo('Nothing was written.')
        else:
            wait_until_applied(opened, result.revision)
            click.echo(f'Revision {revision} was restored as revision {result.revision}.')


def wait_until_applied(opened: Database, revision: int) -> None:
    """Wait until the running servers have applied a revision. Raises CommandError, whose message lists the servers that
    have not applied it."""
    from zatotx.node.live_config import live_nodes
    from zatotx.odb.nodes import list_nodes

    deadline = monotonic() + APPLY_TIMEOUT
    while True:
        behind = {n.name for n in live_nodes(opened.read(list_nodes), time()) if n.applied_revision < revision}
        if not behind:
            return
        if monotonic() > deadline:
            raise CommandError(f'Revision {revision} is stored, but not in force yet on {", ".join(sorted(behind))}.')
        Event().wait(CHECK_INTERVAL)


def read_changes(path: str, **which: Any) -> list[HistoryRow]:
    """Return the history rows that match the filter."""
    from zatotx.odb.configuration_history import HistoryFilter, newest_entries

    row_filter = HistoryFilter(**which)
    with open_odb(find_environment(path)) as opened:
        rows = opened.read(lambda connection, cluster: newest_entries(connection, cluster, row_filter))
    if len(rows) == row_filter.limit and not row_filter.revision:
        print_note(f'Showing the newest {row_filter.limit} changes; use --limit to see more.')
    return rows


def table_rows(rows: Sequence[HistoryRow]) -> Iterator[tuple[object, ...]]:
    """Yield one line for each change. For a revision with many changes (an import, the first start), yield only the
    first lines."""
    for revision, group in groupby(rows, lambda row: row.revision):
        together = list(group)
        shown = len(together) if len(together) <= MAX_LINES_PER_REVISION else MAX_LINES_PER_REVISION - 1
        for row in together[:shown]:
            yield row.revision, format_time(row), row.who, format_origin(row), format_change(row)
        if shown < len(together):
            first = together[0]
            more = f'and {len(together) - shown} more: zatotx history show PATH {revision}'
            yield revision, format_time(first), first.who, format_origin(first), more


def to_json(row: HistoryRow) -> dict[str, Any]:
    from zatotx.api.configuration_history import to_history_row

    return to_history_row(row)


def format_time(row: HistoryRow) -> str:
    return datetime.fromtimestamp(row.at, UTC).strftime('%Y-%m-%d %H:%M:%SZ')


def format_origin(row: HistoryRow) -> str:
    """Return the interface through which a change was made, and the client address."""
    return ' '.join(part for part in (row.source, row.address) if part) or '-'


def format_change(row: HistoryRow) -> str:
    """Format a change as one line."""
    change = f'{row.action} {row.type} {row.name!r}'
    if row.action != 'edit':
        return change
    fields = (f'{name} {format_value(row.old, name)} -> {format_value(row.new, name)}' for name in sorted(row.new))
    return f'{change}: {", ".join(fields)}'


def format_value(document: dict[str, object], field: str) -> str:
    """Format a value in shortened form, or return '-' if the document lacks the field."""
    if field not in document:
        return '-'
    text = repr(document[field])
    return text if len(text) <= MAX_VALUE_LENGTH else f'{text[:MAX_VALUE_LENGTH]}…'
