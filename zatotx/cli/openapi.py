"""`zatotx openapi`: writes the OpenAPI document of a running cluster."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from zatotx.cli.command_output import make_path_argument, print_note, progress_if_slow
from zatotx.cli.environment.cluster_client import ClusterClient, raise_for_status
from zatotx.cli.environment.environment_layout import Environment, find_environment
from zatotx.cli.environment.listen_addresses import first_tcp_address
from zatotx.cli.environment.secret_key_access import any_server
from zatotx.cli.errors import CommandError


@click.command(epilog='\b\nExamples:\n  zatotx openapi ~/env/qs-1\n'
                      '  zatotx openapi ~/env/qs-1 --output api.yaml --format yaml')  # fmt: skip
@make_path_argument()
@click.option('--output', type=click.Path(dir_okay=False, writable=True),
              help='The file to write; default: standard output.')
@click.option('--format', 'form', type=click.Choice(['json', 'yaml']),
              help='The format; default: json, or yaml if the file name ends with .yaml or .yml.')
def openapi(path: str, output: str | None, form: str | None) -> None:
    """Export the OpenAPI 3.1 document of the REST channels of a running cluster and of their services.

    Its `servers` is [http] public_url of the server that PATH names, or of the first one; if that is not set, the
    address of that server. Channels that OpenAPI cannot describe are listed on stderr.
    """
    environment = find_environment(path)
    with progress_if_slow('Generating the document'):
        document = fetch_document(environment)
    for sentence in document.get('x-zatotx-left-out', []):
        print_note(f'Left out: {sentence}.')
    text = format_document(document, form or format_from_extension(output))
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        Path(output).write_text(text, 'utf-8')
    except OSError as error:
        raise CommandError(f'{output} cannot be written: {error.strerror}.') from None
    print_note(f'Wrote {output}: {len(document["paths"])} paths.')


def fetch_document(environment: Environment) -> dict[str, Any]:
    """Fetch the OpenAPI document from a running server; the document contains the server's full address. Raises
    CommandError if no server is running."""
    response = raise_for_status(ClusterClient(environment).post('zato.openapi.get', b'{}'))
    document: dict[str, Any] = json.loads(response.body)
    if document['servers'] != [{'url': '/'}]:
        return document
    return {**document, 'servers': [{'url': first_tcp_address(any_server(environment)).url}]}


def format_from_extension(output: str | None) -> str:
    return 'yaml' if output is not None and output.lower().endswith(('.yaml', '.yml')) else 'json'


def format_document(document: dict[str, Any], form: str) -> str:
    """Format the OpenAPI document as text. `form` is the output format."""
    if form == 'json':
        return json.dumps(document, indent=2, ensure_ascii=False) + '\n'
    import yaml

    dumper = getattr(yaml, 'CSafeDumper', yaml.SafeDumper)
    text: str = yaml.dump(document, Dumper=dumper, allow_unicode=True, sort_keys=False, default_flow_style=False)
    return text
