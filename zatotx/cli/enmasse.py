"""`zatotx enmasse`: the configuration of a cluster out of and into a file."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from zatotx.cli.environment.cluster_client import Cluster, element, mistakes_of
from zatotx.cli.environment.layout import find_environment
from zatotx.cli.environment.private_files import write
from zatotx.cli.errors import CommandError, failure_of
from zatotx.cli.output import path_argument, progress

SHOWN = 20  # channels that a sentence names
TIMEOUT = 300.0  # seconds for ten thousands of objects


@click.command(
    epilog='\b\nExamples:\n  zatotx enmasse ~/env/qs-1 --import --input crm.yaml --dry-run\n'
    '  CRM_PASSWORD=… zatotx enmasse ~/env/qs-1 --import --input crm.yaml\n'
    '  zatotx enmasse ~/env/qs-1 --export --output all.yaml'
)
@path_argument()
@click.option('--import', 'do_import', is_flag=True, help='Bring the cluster to what --input says.')
@click.option('--export', 'do_export', is_flag=True, help='Write what the cluster has, as YAML.')
@click.option('--input', type=click.Path(), help='The YAML file to import: only an import has it; - reads a pipe.')
@click.option('--output', type=click.Path(), help='Where to write to; default: print it.')
@click.option('--replace', is_flag=True, help='Fields that the file leaves out go back to their defaults.')
@click.option('--dry-run', is_flag=True, help='Print what would change; write nothing.')
@click.option('--include-secrets', is_flag=True, help='Export secrets in clear where they can be read.')
def enmasse(path: str, do_import: bool, do_export: bool, **options: Any) -> None:
    """Import and export configuration, on a running cluster.

    An import is all or nothing, reports all mistakes at once, and is live on every node when this returns 0.

    ${NAME} in a value reads the environment of this command; a value file:PATH is what that file holds, which must be
    of its owner alone (0600); a relative PATH is relative to the YAML file. $${NAME} and $file:PATH are those texts
    themselves. Zato's Zato_Enmasse_Env.NAME and $NAME, as whole values, are variables too.
    """
    if do_import == do_export:
        raise click.UsageError('choose one of --import and --export')
    misplaced = [f'--{name.replace("_", "-")}' for name in UNFIT[do_import] if options[name]]
    if misplaced:
        raise click.UsageError(f'{", ".join(misplaced)} does not go with {"--import" if do_import else "--export"}')
    cluster = Cluster(find_environment(path))
    if do_import:
        import_file(cluster, options['input'], replace=options['replace'], dry_run=options['dry_run'])
    else:
        export(cluster, options['output'], include_secrets=options['include_secrets'])


UNFIT = {True: ('include_secrets', 'output'), False: ('dry_run', 'replace', 'input')}  # options, by do_import


def import_file(cluster: Cluster, source: str | None, *, replace: bool, dry_run: bool) -> None:
    from zatotx.node.file_references import reader
    from zatotx.rules.enmasse.document_text import substitute

    if source is None:
        raise click.UsageError('--import needs --input FILE.yaml')
    beside = Path.cwd() if source == '-' else Path(source).absolute().parent
    document, missing = substitute(read(source), os.environ, reader(beside))
    payload = {'document': document, 'replace': replace, 'dry_run': dry_run or bool(missing), 'resolved': True}
    with progress(f'Importing {sum(len(value) for value in document.values() if isinstance(value, list))} objects'):
        answer = cluster.invoke('zato.enmasse.import', payload, timeout=TIMEOUT)
    # References that lead nowhere, and what the cluster found wrong with the rest, at once: then nothing was written.
    found = mistakes_of(answer) if answer.status >= 400 else []
    told = tuple(str(mistake).removesuffix(mistake.text) for mistake in missing)  # what else is wrong there comes of it
    mistakes = [*map(str, missing), *(each for each in found if not told or not each.startswith(told))]
    if mistakes:
        raise failure_of(mistakes, f'{source} has {{}} mistakes, and nothing was imported')
    print_changes(element(answer), dry_run)


def read(source: str) -> dict[str, Any]:
    """The document of a file."""
    from zatotx.cli.enmasse_file import parse

    try:
        content = sys.stdin.buffer.read() if source == '-' else Path(source).read_bytes()
    except OSError as error:
        raise CommandError(f'{source} cannot be read: {error.strerror}.') from None
    return parse(source, content)


def print_changes(result: Mapping[str, Any], dry_run: bool) -> None:
    """The difference, and what became of it."""
    for text in result['diff']:
        click.echo(text)
    if result.get('open'):
        click.echo(open_to_anyone(result['open']))
    done = 'Would change' if dry_run else 'Changed'
    live = '' if dry_run else f'; every node runs revision {result["revision"]}'
    changed = result['changed']
    click.echo(f'{done} {changed} object{"s" * (changed != 1)}, left {result["unchanged"]} as they are{live}.')


def open_to_anyone(channels: Sequence[str]) -> str:
    """Which channels of the file need no credentials, in a sentence."""
    more = f' and {len(channels) - SHOWN} more' if len(channels) > SHOWN else ''
    return f'Open to anyone, as no security or groups stand there: {", ".join(channels[:SHOWN])}{more}.'


def export(cluster: Cluster, target: str | None, *, include_secrets: bool) -> None:
    with progress('Exporting'):
        result = cluster.call('zato.enmasse.export', {'include_secrets': include_secrets}, timeout=TIMEOUT)
    text = str(result['yaml'])
    if target is None:
        click.echo(text, nl=False)
    else:
        write(Path(target).absolute(), text)
