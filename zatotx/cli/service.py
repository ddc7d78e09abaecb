"""`zatotx service`: invokes, lists and rolls back services of a running cluster."""

from __future__ import annotations

import json
import sys
from base64 import b64encode
from collections.abc import Mapping
from typing import Any

import click

from zatotx.cli.command_output import make_format_option, make_path_argument, print_json, print_table, progress_if_slow
from zatotx.cli.completion_values import complete_services
from zatotx.cli.environment.cluster_client import TIMEOUT, ClusterClient, raise_for_status, response_element
from zatotx.cli.environment.environment_layout import find_environment
from zatotx.cli.errors import CommandError, combine_errors
from zatotx.cli.secret_options import read_value


def print_deployment_report(report: Mapping[str, Any]) -> None:
    """Print one line if every node runs the version. Raises CommandError, whose message lists the nodes that rejected
    the version or did not respond."""
    version = f'{report["file"]} version {report["number"]}'
    refused = report.get('refused') or {}
    missing = report.get('missing') or []
    errors = [f'{node} refused {version}: {reason}' for node, reason in sorted(refused.items())]
    if missing:
        errors.append(f'{", ".join(missing)} did not report in time whether it runs {version}')
    if errors:
        raise combine_errors([f'{each}.' for each in errors], '{} nodes do not run it')
    services = ', '.join(report.get('services') or []) or 'no services'
    click.echo(f'Every node runs {version}: {services}')


@click.group(
    epilog='\b\nExamples:\n  zatotx service list ~/env/qs-1\n  zatotx service invoke ~/env/qs-1 zato.ping'
)
def service() -> None:
    """Invoke, list and roll back the services of a running cluster."""


@service.command(
    short_help='Invoke the service NAME and print its response.',
    epilog='\b\nExamples:\n  zatotx service invoke ~/env/qs-1 zato.ping\n'
    "  zatotx service invoke ~/env/qs-1 crm.get-balance --payload '{\"account_id\": 1}' --timeout 5\n"
    '  zatotx service invoke ~/env/qs-1 crm.log-in --payload @log-in.json\n'
    '  zatotx service invoke ~/env/qs-1 crm.send-report --async'
)
@make_path_argument()
@click.argument('name', shell_complete=complete_services, help='The service, e.g. zato.ping.')
@click.option('--payload', default='{}', show_default=True, metavar='JSON|-|@FILE',
              help='The JSON payload. Every user of the machine can read it in the process list: if it contains '
              'secrets, use - for standard input, or @FILE.')
@click.option('--headers', multiple=True, metavar='NAME=VALUE',
              help='An HTTP header, e.g. X-Zato-CID=my-own-id; can be repeated.')
@click.option('--timeout', default=TIMEOUT, show_default=True, type=click.FloatRange(min=0.1),
              help='Maximum duration in seconds.')
@click.option('--async', 'is_async', is_flag=True,
              help='Do not wait: write the invocation to the work stream and print its correlation ID.')
def invoke(path: str, name: str, payload: str, headers: tuple[str, ...], timeout: float, is_async: bool) -> None:
    """Invoke the service NAME on a running server and print its response."""
    fields = dict(parse_header(text) for text in headers)
    body = encode_payload(read_value(payload, 'payload'))
    if is_async:
        request = {'name': name, 'payload': b64encode(body).decode('ascii'), 'data_format': 'json', 'async': True}
        request_body = json.dumps(request).encode()
        response = ClusterClient(find_environment(path)).post('zato.service.invoke', request_body, headers=fields,
                                                              timeout=timeout)  # fmt: skip
        click.echo(response_element(raise_for_status(response))['cid'])
        return
    with progress_if_slow(f'Waiting for {name}'):
        response = raise_for_status(
            ClusterClient(find_environment(path)).post(name, body, headers=fields, timeout=timeout)
        )
    sys.stdout.buffer.write(response.body)
    if response.body and not response.body.endswith(b'\n'):
        sys.stdout.buffer.write(b'\n')
    sys.stdout.flush()


def parse_header(given: str) -> tuple[str, str]:
    name, equals, value = given.partition('=')
    if not equals or not name or not given.isprintable():
        raise click.BadParameter(f'{given!r} is not of the form NAME=VALUE', param_hint="'--headers'")
    return name, value


def encode_payload(payload: str) -> bytes:
    """Encode a payload for the request. Raises BadParameter if the payload is not valid JSON."""
    try:
        json.loads(payload)
    except ValueError as error:
        raise click.BadParameter(f'it is not JSON: {error}', param_hint="'--payload'") from None
    return payload.encode()


@service.command(
    'list',
    epilog='\b\nExamples:\n  zatotx service list ~/env/qs-1\n  zatotx service list ~/env/qs-1 --all --format json',
)
@make_path_argument()
@click.option('--all', 'internal', is_flag=True, help='Include the internal zato.* services.')
@make_format_option()
def list_services(path: str, internal: bool, form: str) -> None:
    """List the services of the cluster by name."""
    found = ClusterClient(find_environment(path)).call('zato.service.get-list', {'cluster_id': 1, 'name_filter': '*'})
    rows = sorted((row for row in found or [] if internal or not row.get('is_internal')), key=lambda row: row['name'])
    if form == 'json':
        print_json(rows)
        return
    print_table(
        ('NAME', 'ACTIVE', 'FROM'),
        [(row['name'], yes_or_no(row.get('is_active')), format_file_and_version(row)) for row in rows],
    )


def yes_or_no(value: object) -> str:
    return 'yes' if value else 'no'


def format_file_and_version(row: dict[str, object]) -> str:
    """Return the file and the version of a service's code, or '-' if the file no longer contains the service."""
    if row.get('is_internal'):
        return 'zatotx'
    return f'{row["file"]} version {row["version"]}' if row.get('file') else '-'


@service.command(
    short_help='Roll back a file or a service to an earlier version.',
    epilog='\b\nExamples:\n  zatotx service rollback ~/env/qs-1 crm.get-balance\n'
    '  zatotx service rollback ~/env/qs-1 crm.py --to 3'
)
@make_path_argument()
@click.argument('name', shell_complete=complete_services, help='A service, or a deployed file such as crm.py.')
@click.option('--to', 'number', type=click.IntRange(min=1), help='The version to restore; default: the previous one.')
def rollback(path: str, name: str, number: int | None) -> None:
    """Roll back the file called NAME, or the file that contains the service NAME, to an earlier version."""
    with progress_if_slow(f'Waiting until every node runs it: {name}'):
        report = ClusterClient(find_environment(path)).call('zato.service.rollback', {'name': name, 'number': number})
    if not isinstance(report, dict):
        raise CommandError('The server returned no report: see its log.')
    print_deployment_report(report)
