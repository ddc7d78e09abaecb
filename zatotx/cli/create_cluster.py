"""`zatotx create odb` and `zatotx create cluster`: create a cluster without nodes. Nodes on this or other machines can
be added later.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from zatotx.cli.command_output import progress_if_slow
from zatotx.cli.environment.atomic_files import atomic_directory
from zatotx.cli.environment.cluster_file import write_cluster_files
from zatotx.cli.environment.component_types import REDIS
from zatotx.cli.environment.components.operations_registry import operations_of_type
from zatotx.cli.environment.creation_plan import CreationStep, EnvironmentPlan
from zatotx.cli.environment.environment_authority import write_authority
from zatotx.cli.environment.environment_layout import CREDENTIALS
from zatotx.cli.environment.initial_files import write_credentials
from zatotx.cli.quickstart import create_environment_odb, plan_environment, resolve_odb_url, run_steps


@click.command(
    'odb',
    short_help='Create the tables in an empty database.',
    epilog='\b\nExamples:\n  zatotx create odb --odb-url postgresql+psycopg://zatotx:secret@10.0.0.5/zatotx',
)
@click.option('--odb-url', required=True, help='SQLAlchemy URL of an empty database, or of a new SQLite file.')
def create_odb(odb_url: str) -> None:
    """Create the tables of an ODB, to which `zatotx create cluster` adds clusters. An ODB of this version is not
    changed."""
    from zatotx.cli.environment.odb_and_redis_access import convert_errors
    from zatotx.odb.offline_operations import create_tables
    from zatotx.wire.url_masking import mask_url

    url = resolve_odb_url(odb_url)
    with progress_if_slow('Creating the tables'), convert_errors():
        is_new = create_tables(url)
    click.echo(f'{mask_url(url)} {"has the tables of an ODB now" if is_new else "is an ODB already"}.')


@click.command(
    'cluster',
    short_help='Create a cluster without nodes.',
    epilog='\b\nExamples:\n  zatotx create cluster /opt/zatotx/prod --cluster-name prod --redis-url redis://10.0.0.6\n'
    '  zatotx create server /opt/zatotx/prod',
)
@click.argument('path', type=click.Path(), help='The directory to create; it must be absent or empty.')
@click.option('--cluster-name', default='', help='Default: quickstart- and five random hex digits.')
@click.option('--odb-url', default='', help='SQLAlchemy URL of an empty database or an ODB; default: SQLite in PATH.')
@click.option('--redis-url', default='', help='URL of an existing Redis or Valkey; default: one embedded in PATH.')
def create_cluster(path: str, **urls: str) -> None:
    """Create a cluster at PATH, which must be absent or empty: its certificate authority, its users and their
    passwords, and its entry in the database.

    Nodes are added by `zatotx create server` and `zatotx create connector`. For a node on another machine, copy PATH
    without its nodes to that machine first.
    """
    target = Path(path).absolute()
    plan = plan_environment(0, 0, urls)
    with atomic_directory(target, CREDENTIALS) as directory:
        run_steps(_steps(plan, directory))
    click.echo(f'\nCluster   {plan.cluster}')
    click.echo(f'Passwords {target / CREDENTIALS}')
    click.echo(f'Add nodes zatotx create server {target}')


def _steps(plan: EnvironmentPlan, directory: Path) -> list[CreationStep]:
    """The database is the last step that may fail, because it may be elsewhere."""
    return [
        CreationStep('Certificate authority', partial(write_authority, directory, plan)),
        *operations_of_type(REDIS).creation_steps(directory, plan),
        CreationStep('Settings of the cluster', partial(write_cluster_files, directory, plan)),
        CreationStep('Credentials', partial(write_credentials, directory, plan, {})),
        CreationStep(
            'Database, with the first users',
            partial(create_environment_odb, directory, plan, is_exclusive=not plan.odb_url),
        ),
    ]
