"""`zatotx quickstart create`: creates a complete environment, ready to be started."""

from __future__ import annotations

import secrets
import string
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import click

from zatotx.cli.environment.atomic_files import atomic_directory, make_private_dir
from zatotx.cli.environment.layout import CREDENTIALS, SERVER_PORT, Credentials
from zatotx.cli.environment.processes import is_free
from zatotx.cli.environment.templates import EnvironmentPlan, write_credentials, write_redis, write_server
from zatotx.cli.output import print_note, progress

MAX_WORKERS = 64
MAX_SERVERS = 11  # ports 17010 to 17020; the next one is another component's default
LETTERS = string.ascii_letters + string.digits


class CreationStep(NamedTuple):
    text: str
    run: Callable[[], None]


@click.group(epilog='\b\nExamples:\n  zatotx quickstart create ~/env/qs-1 --servers 2')
def quickstart() -> None:
    """Create a complete environment."""


@quickstart.command(
    'create',
    short_help='Create servers, database, Redis, keys and credentials.',
    epilog='\b\nExamples:\n  zatotx quickstart create ~/env/qs-1\n'
    '  zatotx quickstart create ~/env/qs-2 --servers 3 --port-offset 100'
)
@click.argument('path', type=click.Path(), help='The directory to create; it must be absent or empty.')
@click.option('--servers', default=2, show_default=True, type=click.IntRange(1, MAX_SERVERS),
              help='Number of servers.')
@click.option('--workers', default=1, show_default=True, type=click.IntRange(1, MAX_WORKERS),
              help='Processes per server that share its listening sockets; at most one per CPU core is useful.')
@click.option('--port-offset', default=0, show_default=True, help='Added to every default port (17010, 17011, …).')
@click.option('--cluster-name', default='', help='Default: quickstart- and five random hex digits.')
@click.option('--odb-url', default='', help='SQLAlchemy URL of an existing, empty database; default: SQLite in PATH.')
@click.option('--redis-url', default='', help='URL of an existing Redis or Valkey; default: one embedded in PATH.')
def create_environment(path: str, servers: int, workers: int, port_offset: int, **urls: str) -> None:
    """Create servers, database, Redis, keys and credentials at PATH, which must be absent or empty.

    The environment is created completely, or not at all.
    """
    target = Path(path).absolute()
    ports = [SERVER_PORT + port_offset + number for number in range(servers)]
    check_ports(ports)
    plan = plan_environment(ports, urls)._replace(workers=workers)
    with atomic_directory(target, CREDENTIALS) as directory:
        steps = creation_steps(plan, directory)
        for number, step in enumerate(steps, 1):
            click.echo(f'[{number}/{len(steps)}] {step.text}')
            with progress(f'    {step.text}: in progress'):
                step.run()
    print_summary(target, plan)


def check_ports(ports: list[int]) -> None:
    """Raise BadParameter if a port is out of range; print a note if one is in use."""
    if not (ports[0] > 0 and ports[-1] <= 65535):
        bounds = f'the offset must be from {1 - SERVER_PORT} to {65536 - SERVER_PORT - len(ports)}'
        text = f'ports {ports[0]} to {ports[-1]} are out of range: {bounds}'
        raise click.BadParameter(text, param_hint="'--port-offset'")
    for port in ports:
        if not is_free('127.0.0.1', port):
            print_note(
                f'Note: port {port} is in use; stop the program that uses it before the start, or use another '
                '--port-offset.'
            )


def resolve_odb_url(url: str) -> str:
    """Return the URL with an absolute path: on the command line it is relative to the current directory, for servers to
    theirs. Raises BadParameter."""
    from zatotx.odb.urls import make_absolute

    try:
        return make_absolute(url, str(Path.cwd())) if url else ''
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="'--odb-url'") from None


def resolve_redis_url(url: str) -> str:
    """Return the URL with absolute paths, as for the database. Raises BadParameter, without the password."""
    from zatotx.model.errors import StartError
    from zatotx.redis.url import resolve_paths

    try:
        return resolve_paths(url, Path.cwd()) if url else ''
    except StartError as error:
        raise click.BadParameter(str(error), param_hint="'--redis-url'") from None


def plan_environment(ports: list[int], urls: dict[str, str]) -> EnvironmentPlan:
    """Return what will be created, with new secrets."""
    from zatotx.odb.secrets import new_key

    return EnvironmentPlan(
        cluster=urls['cluster_name'] or f'quickstart-{secrets.randbits(20):05x}',
        ports=tuple(ports),
        odb_url=resolve_odb_url(urls['odb_url']),
        redis_url=resolve_redis_url(urls['redis_url']),
        key=new_key(),
        users={
            'web_admin': Credentials('admin', new_password()),
            'api': Credentials('admin.invoke', new_password()),
            'pubapi': Credentials('pubapi', new_password()),
        },
    )


def new_password() -> str:
    """Return a password with 190 random bits that needs no quoting anywhere."""
    return ''.join(secrets.choice(LETTERS) for _ in range(32))


def creation_steps(plan: EnvironmentPlan, directory: Path) -> list[CreationStep]:
    """Return the steps that fill `directory`. The database is the last one that may fail, because it may be elsewhere.
    """
    steps = []
    if not plan.redis_url:
        steps.append(CreationStep('Redis', partial(write_redis, directory)))
    for number in range(1, len(plan.ports) + 1):
        steps.append(CreationStep(f'server{number}', partial(write_server, directory, plan, number)))
    steps.append(CreationStep('Credentials', partial(write_credentials, directory, plan)))
    steps.append(CreationStep('Database, with the first users', partial(create_environment_odb, directory, plan)))
    return steps


def create_environment_odb(directory: Path, plan: EnvironmentPlan) -> None:
    """Create the schema, the cluster, its servers, and the users that all else depends on."""
    from zatotx.cli.environment.databases import all_object_types, convert_errors
    from zatotx.odb.maintenance import NewCluster, create_odb
    from zatotx.odb.nodes import NodeAddress
    from zatotx.schema.snapshot import Operation

    if not plan.odb_url:
        make_private_dir(directory / 'odb')
    users = [
        {'name': user.username, 'username': user.username, 'realm': 'zatotx', 'password': user.password}
        for user in plan.api_users()
    ]
    first = plan.users['web_admin']  # the first user of the web admin, who may create others
    new = NewCluster(
        name=plan.cluster,
        nodes=tuple(
            NodeAddress(name=f'server{i}', host='127.0.0.1', port=port) for i, port in enumerate(plan.ports, 1)
        ),
        operations=(
            *(Operation(action='create', type='basic_auth', name=user['name'], fields=user) for user in users),
            Operation(action='create', type='admin_user', name=first.username, fields={
                'name': first.username, 'username': first.username, 'password': first.password, 'roles': ['admin'],
            }),
        ),
    )
    with convert_errors():
        create_odb(plan.odb_url_from(directory), plan.key, new, types=all_object_types(), is_exclusive=True)


def print_summary(target: Path, plan: EnvironmentPlan) -> None:
    """Print addresses, users and the next command."""
    click.echo(f'\nCluster   {plan.cluster}')
    for number, port in enumerate(plan.ports, 1):
        click.echo(f'server{number}   http://127.0.0.1:{port}')
    click.echo(f'Users     {", ".join(user.username for user in plan.api_users())}')
    click.echo(f'Passwords {target / CREDENTIALS}')
    click.echo(f'Start it  zatotx start {target}')
