"""`zatotx enmasse`: exports the configuration of a cluster to a file, and imports it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from zatotx.cli.command_output import make_path_argument, progress_if_slow
from zatotx.cli.environment.atomic_files import write_private_file
from zatotx.cli.environment.cluster_client import ClusterClient, response_element, split_errors
from zatotx.cli.environment.environment_layout import find_environment
from zatotx.cli.errors import CommandError, combine_errors

MAX_CHANNELS_SHOWN = 20  # maximum number of channels named in a sentence
TIMEOUT = 300.0  # seconds, enough for tens of thousands of objects


@click.command(
    epilog='\b\nExamples:\n  zatotx enmasse ~/env/qs-1 --import --input crm.yaml --dry-run\n'
    '  CRM_PASSWORD=… zatotx enmasse ~/env/qs-1 --import --input crm.yaml\n'
    '  zatotx enmasse ~/env/qs-1 --export --output all.yaml'
)
@make_path_argument()
@click.option('--import', 'do_import', is_flag=True, help='Import the configuration in --input.')
@click.option('--export', 'do_export', is_flag=True, help='Export the configuration of the cluster as YAML.')
@click.option('--input', type=click.Path(),
              help='The YAML file to import, with --import only; - reads standard input.')
@click.option('--output', type=click.Path(), help='The file to write; default: standard output.')
@click.option('--replace', is_flag=True, help='Reset fields that the file omits to their defaults.')
@click.option('--dry-run', is_flag=True, help='Print what would change, without writing anything.')
@click.option('--include-secrets', is_flag=True, help='Export secrets in clear, if they can be decrypted.')
def enmasse(path: str, do_import: bool, do_export: bool, **options: Any) -> None:
    """Import or export the configuration of a running cluster.

    An import is atomic, reports all errors at once, and is in force on every node when the command returns 0.

    ${NAME} in a value is replaced by an environment variable of this command. A value file:PATH is replaced by the
    contents of that file, which only its owner may access (0600); a relative PATH is relative to the YAML file.
    $${NAME} and $file:PATH stand for the literal texts ${NAME} and file:PATH. Zato_Enmasse_Env.NAME and $NAME, as in
    Zato, are variables if they are the whole value.
    """
    if do_import == do_export:
        raise click.UsageError('specify either --import or --export')
    misplaced = [f'--{name.replace("_", "-")}' for name in MISPLACED_OPTIONS[do_import] if options[name]]
    if misplaced:
        raise click.UsageError(f'{", ".join(misplaced)} cannot be used with {"--import" if do_import else "--export"}')
    cluster = ClusterClient(find_environment(path))
    if do_import:
        import_file(cluster, options['input'], replace=options['replace'], dry_run=options['dry_run'])
    else:
        export_file(cluster, options['output'], include_secrets=options['include_secrets'])


MAX_PARSED_OBJECTS = 2000  # objects of a document that is sent as a JSON object
MISPLACED_OPTIONS = {
    True: ('include_secrets', 'output'),
    False: ('dry_run', 'replace', 'input'),
}  # options, by do_import


def import_file(cluster: ClusterClient, source: str | None, *, replace: bool, dry_run: bool) -> None:
    from zatotx.processes.private_files import make_private_file_reader
    from zatotx.rules.enmasse.reference_resolution import substitute_references

    if source is None:
        raise click.UsageError('--import needs --input FILE.yaml')
    base_directory = Path.cwd() if source == '-' else Path(source).absolute().parent
    document, missing = substitute_references(
        read_document(source), os.environ, make_private_file_reader(base_directory)
    )
    count = sum(len(value) for value in document.values() if isinstance(value, list))
    # As text, a large document does not count against the limits of JSON objects.
    sent = document if count <= MAX_PARSED_OBJECTS else json.dumps(document, ensure_ascii=False)
    payload = {'document': sent, 'replace': replace, 'dry_run': dry_run or bool(missing), 'resolved': True}
    with progress_if_slow(f'Importing {count} objects'):
        response = cluster.invoke('zato.enmasse.import', payload, timeout=TIMEOUT)
    # Unresolved references and the errors that the cluster found are reported together; then nothing was written.
    server_errors = split_errors(response) if response.status >= 400 else []
    # Other errors at the path of an unresolved reference are consequences.
    paths = tuple(str(error).removesuffix(error.description) for error in missing)
    errors = [*map(str, missing), *(error for error in server_errors if not paths or not error.startswith(paths))]
    if errors:
        raise combine_errors(errors, f'{source} has {{}} errors, nothing was imported')
    print_import_result(response_element(response), dry_run)


def read_document(source: str) -> dict[str, Any]:
    """Parse the document in a file, or from standard input for '-'."""
    from zatotx.cli.enmasse_file import parse_yaml

    try:
        content = sys.stdin.buffer.read() if source == '-' else Path(source).read_bytes()
    except OSError as error:
        raise CommandError(f'{source} cannot be read: {error.strerror}.') from None
    return parse_yaml(source, content)


def print_import_result(result: Mapping[str, Any], dry_run: bool) -> None:
    """Print the differences of an import, and a summary."""
    for text in result['diff']:
        click.echo(text)
    if result.get('open'):
        click.echo(open_channels_sentence(result['open']))
    done = 'Would change' if dry_run else 'Changed'
    live = '' if dry_run else f'; every node runs revision {result["revision"]}'
    changed = result['changed']
    click.echo(f'{done} {changed} object{"s" * (changed != 1)}, left {result["unchanged"]} unchanged{live}.')


def open_channels_sentence(channels: Sequence[str]) -> str:
    """Return a sentence that lists the channels in the document that require no credentials."""
    more = f' and {len(channels) - MAX_CHANNELS_SHOWN} more' if len(channels) > MAX_CHANNELS_SHOWN else ''
    names = ', '.join(channels[:MAX_CHANNELS_SHOWN])
    return f'Open to anyone, because neither security nor groups are set: {names}{more}.'


def export_file(cluster: ClusterClient, target: str | None, *, include_secrets: bool) -> None:
    with progress_if_slow('Exporting'):
        result = cluster.call('zato.enmasse.export', {'include_secrets': include_secrets}, timeout=TIMEOUT)
    text = str(result['yaml'])
    if target is None:
        click.echo(text, nl=False)
    else:
        write_private_file(Path(target).absolute(), text)
