"""`zatotx dead-letter`: lists, shows, edits, replays and deletes dead letters, which are messages whose processing
failed permanently."""

from __future__ import annotations

import json
from typing import Any

import click

from zatotx.cli.command_output import (
    Decorator,
    make_format_option,
    make_path_argument,
    print_json,
    print_table,
    progress_if_slow,
)
from zatotx.cli.completion_values import complete_services
from zatotx.cli.environment.cluster_client import ClusterClient
from zatotx.cli.environment.environment_layout import find_environment
from zatotx.cli.secret_options import read_value

MAX_CAUSE = 60  # characters of a cause in the table

_ids = click.argument('ids', metavar='[ID…]', nargs=-1, help='Ids that dead-letter list shows.')


def _all_option(verb: str) -> Decorator:
    return click.option('--all', 'everything', is_flag=True, help=f'{verb} all dead letters, or all of --service.')


def _service_option() -> Decorator:
    return click.option('--service', default='', metavar='NAME', shell_complete=complete_services,
                        help='Only dead letters of this service.')  # fmt: skip


@click.group(
    'dead-letter',
    epilog='\b\nExamples:\n  zatotx dead-letter list ~/env/qs-1\n  zatotx dead-letter replay ~/env/qs-1 --all',
)
def dead_letter() -> None:
    """List, show, edit, replay and delete dead letters: messages that failed the maximum number of times."""


@dead_letter.command('list', epilog='\b\nExamples:\n  zatotx dead-letter list ~/env/qs-1 --service crm.pay')
@make_path_argument()
@_ids
@_service_option()
@click.option('--limit', default=100, show_default=True, type=click.IntRange(1, 10_000), help='Maximum number of rows.')
@make_format_option()
def list_(path: str, ids: tuple[str, ...], service: str, limit: int, form: str) -> None:
    """List dead letters, those with the most recent failure first."""
    if ids:
        rows = [invoke_dead_letter_service(path, 'get', {'id': id_}) for id_ in ids]
    else:
        rows = invoke_dead_letter_service(path, 'get-list', {'service': service, 'limit': limit})
    if form == 'json':
        print_json(rows)
        return
    print_table(('ID', 'SERVICE', 'ATTEMPTS', 'LAST FAILED', 'CAUSE'), [
        (row['id'], row['service'], row['attempts'], row['last_failed'][:19], shorten(row['cause'])) for row in rows
    ])  # fmt: skip


@dead_letter.command(epilog='\b\nExamples:\n  zatotx dead-letter show ~/env/qs-1 0f3a…')
@make_path_argument()
@click.argument('ids', metavar='ID…', nargs=-1, required=True, help='Ids that dead-letter list shows.')
@make_format_option()
def show(path: str, ids: tuple[str, ...], form: str) -> None:
    """Show dead letters with their payloads. JSON output is an object for one ID, and a list for several."""
    rows = [invoke_dead_letter_service(path, 'get', {'id': id_}) for id_ in ids]
    if form == 'json':
        print_json(rows[0] if len(rows) == 1 else rows)
        return
    for row in rows:
        for name, value in row.items():
            click.echo(f'{name}: {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}')


@dead_letter.command(
    short_help='Change the payload or the service of a dead letter.',
    epilog='\b\nExamples:\n  zatotx dead-letter edit ~/env/qs-1 0f3a… --payload \'{"account_id": 1}\'\n'
    '  zatotx dead-letter edit ~/env/qs-1 0f3a… --payload @fixed.json',
)
@make_path_argument()
@click.argument('id_', metavar='ID', help='An id that dead-letter list shows.')
@click.option('--payload', metavar='JSON|-|@FILE',
              help='The new payload as JSON: - for standard input, or @FILE. Default: unchanged.')  # fmt: skip
@click.option('--service', default='', metavar='NAME', shell_complete=complete_services,
              help='The service that a replay runs. Default: unchanged.')  # fmt: skip
@make_format_option()
def edit(path: str, id_: str, payload: str | None, service: str, form: str) -> None:
    """Edit a dead letter: change the payload or service of its replay. This does not start the replay."""
    if payload is None and not service:
        raise click.UsageError('Give --payload or --service')
    changes: dict[str, Any] = {'id': id_}
    if payload is not None:
        changes['payload'] = decode_payload(read_value(payload, 'payload'))
    if service:
        changes['service'] = service
    row = invoke_dead_letter_service(path, 'edit', changes)
    if form == 'json':
        print_json(row)
    else:
        click.echo(f'Dead letter {id_} was changed; zatotx dead-letter replay runs it.')


@dead_letter.command(epilog='\b\nExamples:\n  zatotx dead-letter replay ~/env/qs-1 0f3a…\n'
                     '  zatotx dead-letter replay ~/env/qs-1 --all --service crm.pay')  # fmt: skip
@make_path_argument()
@_ids
@_all_option('Replay')
@_service_option()
@make_format_option()
def replay(path: str, ids: tuple[str, ...], everything: bool, service: str, form: str) -> None:
    """Replay dead letters: process them again, as new messages."""
    _change(path, 'replay', ids, everything=everything, service=service, form=form)


@dead_letter.command(epilog='\b\nExamples:\n  zatotx dead-letter purge ~/env/qs-1 0f3a…\n'
                     '  zatotx dead-letter purge ~/env/qs-1 --all')  # fmt: skip
@make_path_argument()
@_ids
@_all_option('Purge')
@_service_option()
@make_format_option()
def purge(path: str, ids: tuple[str, ...], everything: bool, service: str, form: str) -> None:
    """Delete dead letters."""
    _change(path, 'purge', ids, everything=everything, service=service, form=form)


def _change(path: str, action: str, ids: tuple[str, ...], *, everything: bool, service: str, form: str) -> None:
    if bool(ids) == everything:
        raise click.UsageError('Give either ids or --all')
    with progress_if_slow(f'Waiting for {action}'):
        result = invoke_dead_letter_service(path, action, {'ids': list(ids), 'all': everything, 'service': service})
    if form == 'json':
        print_json(result)
    else:
        ((word, count),) = result.items()
        click.echo(f'{count} dead letter{"" if count == 1 else "s"} {word}.')


def invoke_dead_letter_service(path: str, action: str, request: dict[str, Any]) -> Any:
    """Invoke a zato.dead-letter.* service and return its response."""
    return ClusterClient(find_environment(path)).call(f'zato.dead-letter.{action}', request)


def decode_payload(payload: str) -> Any:
    """Parse the payload that was given as JSON on the command line. Raises BadParameter."""
    try:
        return json.loads(payload)
    except ValueError as error:
        raise click.BadParameter(f'it is not JSON: {error}', param_hint="'--payload'") from None


def shorten(text: str) -> str:
    """Shorten the text to one line of limited length."""
    line = ' '.join(text.split())
    return line if len(line) <= MAX_CAUSE else f'{line[:MAX_CAUSE]}…'
