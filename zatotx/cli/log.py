"""`zatotx log`: what is heard in the logs, while the cluster runs."""

from __future__ import annotations

import click

from zatotx.cli.environment.cluster_client import Cluster
from zatotx.cli.environment.layout import find_environment
from zatotx.cli.output import format_option, path_argument, print_json, print_table, progress

ALL = '(all others)'


@click.group(
    epilog='\b\nExamples:\n  zatotx log levels ~/env/qs-1\n  zatotx log level ~/env/qs-1 debug --of crm'
)
def log() -> None:
    """What is heard in the logs of a running cluster."""


@log.command(
    epilog='\b\nExamples:\n  zatotx log levels ~/env/qs-1\n  zatotx log levels ~/env/qs-1/server1 --format json'
)
@path_argument()
@format_option()
def levels(path: str, form: str) -> None:
    """Say which levels are in force, by area or logger."""
    found = Cluster(find_environment(path)).call('zato.logging.get-levels', {}) or []
    if form == 'json':
        print_json({row['name']: row['level'] for row in found})
    else:
        print_table(('NAME', 'LEVEL'), [(row['name'] or ALL, row['level']) for row in found])


@log.command(
    short_help='Set the LEVEL from which on logs are written.',
    epilog='\b\nExamples:\n  zatotx log level ~/env/qs-1 debug --of crm\n'
    '  zatotx log level ~/env/qs-1 warning --of kvdb\n'
    "  zatotx log level ~/env/qs-1 '' --of crm"
)
@path_argument()
@click.argument('level', help='From which level on it is written; empty takes back what was set with --of.')
@click.option('--of', 'name', default='', metavar='NAME',
              help='An area (kvdb, admin), a service or another logger; default: all that have no level of their own.')
def level(path: str, level: str, name: str) -> None:
    """Set the LEVEL from which on the logs of every server are written, until the next restart.

    Levels are trace1, debug, info, warning, error and critical. An empty LEVEL with --of takes back what was set. To
    make a level last, write it into server.toml: [log] level, or [log.levels].
    """
    with progress('Setting the level'):
        answer = Cluster(find_environment(path)).call('zato.logging.set-level', {'name': name, 'level': level})
    if not answer or not answer.get('announced'):
        click.echo('Set on the server that was asked; the others could not be told: Redis is away.', err=True)
