"""`zatotx log`: shows and sets log levels of a running cluster."""

from __future__ import annotations

import click

from zatotx.cli.command_output import make_format_option, make_path_argument, print_json, print_table, progress_if_slow
from zatotx.cli.environment.cluster_client import ClusterClient
from zatotx.cli.environment.environment_layout import find_environment

DEFAULT_LEVEL_LABEL = '(all others)'


@click.group(
    epilog='\b\nExamples:\n  zatotx log levels ~/env/qs-1\n  zatotx log level ~/env/qs-1 debug --of crm'
)
def log() -> None:
    """Show and set the log levels of a running cluster."""


@log.command(
    epilog='\b\nExamples:\n  zatotx log levels ~/env/qs-1\n  zatotx log levels ~/env/qs-1/server1 --format json'
)
@make_path_argument()
@make_format_option()
def levels(path: str, form: str) -> None:
    """Show the current log levels by category or logger."""
    found = ClusterClient(find_environment(path)).call('zato.logging.get-levels', {}) or []
    if form == 'json':
        print_json({row['name']: row['level'] for row in found})
    else:
        print_table(('NAME', 'LEVEL'), [(row['name'] or DEFAULT_LEVEL_LABEL, row['level']) for row in found])


@log.command(
    short_help='Set the log level.',
    epilog='\b\nExamples:\n  zatotx log level ~/env/qs-1 debug --of crm\n'
    '  zatotx log level ~/env/qs-1 warning --of kvdb\n'
    "  zatotx log level ~/env/qs-1 '' --of crm"
)
@make_path_argument()
@click.argument('level', help='The lowest level to log; an empty LEVEL removes the level set with --of.')
@click.option('--of', 'name', default='', metavar='NAME',
              help='A category (kvdb, admin), a service or another logger; default: all without a level of their own.')
def level(path: str, level: str, name: str) -> None:
    """Set the log level of all servers until the next restart.

    Levels are trace1, debug, info, warning, error and critical. An empty LEVEL with --of removes the level that was
    set. To set a level permanently, write it to server.toml: [log] level, or [log.levels].
    """
    with progress_if_slow('Setting the level'):
        result = ClusterClient(find_environment(path)).call('zato.logging.set-level', {'name': name, 'level': level})
    if not result or not result.get('announced'):
        text = 'The level was set on one server only: the others could not be reached, because Redis is unavailable.'
        click.echo(text, err=True)
