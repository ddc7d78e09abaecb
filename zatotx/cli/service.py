"""`zatotx service`: what the services of a running cluster can be asked for."""

from __future__ import annotations

import json
import sys

import click

from zatotx.cli.completion_values import services
from zatotx.cli.deployment_report import print_report
from zatotx.cli.environment.cluster_client import TIMEOUT, Cluster, successful
from zatotx.cli.environment.layout import find_environment
from zatotx.cli.errors import CommandError
from zatotx.cli.output import format_option, path_argument, print_json, print_table, progress
from zatotx.cli.secret_values import read_value


@click.group(
    epilog='\b\nExamples:\n  zatotx service list ~/env/qs-1\n  zatotx service invoke ~/env/qs-1 zato.ping'
)
def service() -> None:
    """Services of a running cluster."""


@service.command(
    short_help='Invoke the service NAME and print its response.',
    epilog='\b\nExamples:\n  zatotx service invoke ~/env/qs-1 zato.ping\n'
    "  zatotx service invoke ~/env/qs-1 crm.get-balance --payload '{\"account_id\": 1}' --timeout 5\n"
    '  zatotx service invoke ~/env/qs-1 crm.log-in --payload @log-in.json'
)
@path_argument()
@click.argument('name', shell_complete=services, help='The service, e.g. zato.ping.')
@click.option('--payload', default='{}', show_default=True, metavar='JSON|-|@FILE',
              help='JSON for the service. Everybody on the machine can read it in the list of processes: with '
              'secrets in it write - for standard input, or @FILE.')
@click.option('--headers', multiple=True, metavar='NAME=VALUE',
              help='An HTTP header, e.g. X-Zato-CID=my-own-id; may be repeated.')
@click.option('--timeout', default=TIMEOUT, show_default=True, type=click.FloatRange(min=0.1),
              help='Seconds it may take.')
def invoke(path: str, name: str, payload: str, headers: tuple[str, ...], timeout: float) -> None:
    """Invoke the service NAME on a running server and print its response."""
    fields = dict(header(given) for given in headers)
    body = check_response(read_value(payload, 'payload'))
    with progress(f'Waiting for {name}'):
        answer = successful(Cluster(find_environment(path)).post(name, body, headers=fields, timeout=timeout))
    sys.stdout.buffer.write(answer.body)
    if answer.body and not answer.body.endswith(b'\n'):
        sys.stdout.buffer.write(b'\n')
    sys.stdout.flush()


def header(given: str) -> tuple[str, str]:
    name, equals, value = given.partition('=')
    if not equals or not name or not given.isprintable():
        raise click.BadParameter(f'{given!r} is not of the form NAME=VALUE', param_hint="'--headers'")
    return name, value


def check_response(payload: str) -> bytes:
    """The payload as it is sent; a mistake in it is found here, where it can be named best."""
    try:
        json.loads(payload)
    except ValueError as error:
        raise click.BadParameter(f'it is not JSON: {error}', param_hint="'--payload'") from None
    return payload.encode()


@service.command(
    'list',
    epilog='\b\nExamples:\n  zatotx service list ~/env/qs-1\n  zatotx service list ~/env/qs-1 --all --format json',
)
@path_argument()
@click.option('--all', 'internal', is_flag=True, help="zato.* services, the broker's own, too.")
@format_option()
def list_services(path: str, internal: bool, form: str) -> None:
    """List the services of the cluster by name."""
    found = Cluster(find_environment(path)).call('zato.service.get-list', {'cluster_id': 1, 'name_filter': '*'})
    rows = sorted((row for row in found or [] if internal or not row.get('is_internal')), key=lambda row: row['name'])
    if form == 'json':
        print_json(rows)
        return
    print_table(
        ('NAME', 'ACTIVE', 'FROM'), [(row['name'], yes_or_no(row.get('is_active')), source(row)) for row in rows]
    )


def yes_or_no(value: object) -> str:
    return 'yes' if value else 'no'


def source(row: dict[str, object]) -> str:
    """Where its code is from; '-' for a service whose file no longer has it."""
    if row.get('is_internal'):
        return 'zatotx'
    return f'{row["file"]} version {row["version"]}' if row.get('file') else '-'


@service.command(
    short_help='Bring back an earlier version of a file or of a service.',
    epilog='\b\nExamples:\n  zatotx service rollback ~/env/qs-1 crm.get-balance\n'
    '  zatotx service rollback ~/env/qs-1 crm.py --to 3'
)
@path_argument()
@click.argument('name', shell_complete=services, help='A service, or a deployed file such as crm.py.')
@click.option('--to', 'number', type=click.IntRange(min=1), help='The version to bring back; default: the one before.')
def rollback(path: str, name: str, number: int | None) -> None:
    """Bring back an earlier version of the file called NAME, or of the one that holds the service NAME."""
    with progress(f'Waiting until every node runs it: {name}'):
        report = Cluster(find_environment(path)).call('zato.service.rollback', {'name': name, 'number': number})
    if not isinstance(report, dict):
        raise CommandError('The server gave no report: see its log.')
    print_report(report)
