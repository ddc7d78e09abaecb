"""`zatotx quickstart create`: creates a complete environment that is ready to be started."""

from __future__ import annotations

import secrets
import string
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import click

from zatotx.cli.command_output import print_note, progress_if_slow
from zatotx.cli.environment.atomic_files import atomic_directory, make_private_dir
from zatotx.cli.environment.components.operations_registry import all_operations
from zatotx.cli.environment.components.web_admin import BREAK_GLASS, BREAK_GLASS_USER
from zatotx.cli.environment.creation_plan import CreationStep, EnvironmentPlan
from zatotx.cli.environment.environment_authority import write_authority
from zatotx.cli.environment.environment_layout import CREDENTIALS, UserCredentials
from zatotx.cli.environment.initial_files import write_credentials
from zatotx.cli.environment.process_discovery import is_port_free

MAX_WORKERS = 64
MAX_PORT = 65535
MAX_SERVERS = 11  # ports 17010 to 17020; the next one is another component's default
MAX_CONNECTORS = 10  # ports 17031 to 17040
LETTERS = string.ascii_letters + string.digits


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
@click.option('--connectors', default=1, show_default=True, type=click.IntRange(0, MAX_CONNECTORS),
              help='Number of connectors, which fetch messages from brokers.')
@click.option('--port-offset', default=0, show_default=True, help='Added to every default port (17010, 17011, …).')
@click.option('--load-balancer/--no-load-balancer', 'load_balancer', default=True, show_default=True,
              help='Whether to create a load balancer in front of the servers.')
@click.option('--web-admin/--no-web-admin', 'web_admin', default=True, show_default=True,
              help='Whether to create a web admin.')
@click.option('--cluster-name', default='', help='Default: quickstart- and five random hex digits.')
@click.option('--odb-url', default='', help='SQLAlchemy URL of an existing, empty database; default: SQLite in PATH.')
@click.option('--redis-url', default='', help='URL of an existing Redis or Valkey; default: one embedded in PATH.')
@click.option('--tls', is_flag=True, help='Servers listen with TLS, with certificates of the authority in PATH/ca.')
@click.option('--no-tls-agent', is_flag=True, help="The load balancer's agent listens without TLS, on loopback only.")
def create_environment(
    path: str, servers: int, workers: int, connectors: int, port_offset: int, load_balancer: bool,
    web_admin: bool, tls: bool, no_tls_agent: bool, **urls: str,
) -> None:
    """Create servers, database, Redis, certificates, keys and credentials at PATH, which must be absent or empty.

    The environment is created completely, or not at all.
    """
    target = Path(path).absolute()
    plan = plan_environment(servers, port_offset, urls)
    if web_admin:
        plan.users[BREAK_GLASS] = UserCredentials(BREAK_GLASS_USER, new_password())
    plan = plan._replace(
        workers=workers, connectors=connectors, load_balancer=load_balancer, web_admin=web_admin, tls=tls,
        agent_tls=not no_tls_agent
    )
    check_ports(plan)
    with atomic_directory(target, CREDENTIALS) as directory:
        run_steps(creation_steps(plan, directory))
    print_summary(target, plan)


def run_steps(steps: Sequence[CreationStep]) -> None:
    """Run the steps, and print the description of each step."""
    for number, step in enumerate(steps, 1):
        click.echo(f'[{number}/{len(steps)}] {step.text}')
        with progress_if_slow(f'    {step.text}: in progress'):
            step.run()


def planned_ports(plan: EnvironmentPlan) -> dict[str, int]:
    """Return the ports of all components that will be created, by component name."""
    return {name: port for each in all_operations() for name, port in each.ports(plan).items()}


def check_ports(plan: EnvironmentPlan) -> None:
    """Check the ports of a new environment. Raises BadParameter if a port is out of range, and prints a note if a port
    is in use."""
    ports = sorted(planned_ports(plan).values())
    if not (ports[0] > 0 and ports[-1] <= MAX_PORT):
        defaults = [port - plan.port_offset for port in ports]
        bounds = f'the offset must be from {1 - defaults[0]} to {MAX_PORT - defaults[-1]}'
        text = f'ports {ports[0]} to {ports[-1]} are out of range: {bounds}'
        raise click.BadParameter(text, param_hint="'--port-offset'")
    for port in ports:
        if not is_port_free('127.0.0.1', port):
            print_note(
                f'Note: port {port} is in use; stop the program that uses it before the start, or use another '
                '--port-offset.'
            )


def resolve_odb_url(url: str) -> str:
    """Return the database URL with an absolute path. On the command line, a path is relative to the current directory,
    but in the settings of a server it is relative to the server's directory. Raises BadParameter."""
    from zatotx.odb.odb_urls import make_url_absolute

    try:
        return make_url_absolute(url, str(Path.cwd())) if url else ''
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="'--odb-url'") from None


def resolve_redis_url(url: str) -> str:
    """Return the URL of Redis with absolute paths. Raises BadParameter, whose message does not contain the password."""
    from zatotx.model.errors import StartError
    from zatotx.redis.redis_url import resolve_url_paths

    try:
        return resolve_url_paths(url, Path.cwd()) if url else ''
    except StartError as error:
        raise click.BadParameter(str(error), param_hint="'--redis-url'") from None


def plan_environment(servers: int, port_offset: int, urls: dict[str, str]) -> EnvironmentPlan:
    """Return the plan of the environment, with newly generated secrets."""
    from zatotx.odb.secrets import new_key

    return EnvironmentPlan(
        cluster=urls['cluster_name'] or f'quickstart-{secrets.randbits(20):05x}',
        servers=servers,
        port_offset=port_offset,
        odb_url=resolve_odb_url(urls['odb_url']),
        redis_url=resolve_redis_url(urls['redis_url']),
        key=new_key(),
        users={
            'web_admin': UserCredentials('admin', new_password()),
            'api': UserCredentials('admin.invoke', new_password()),
            'pubapi': UserCredentials('pubapi', new_password()),
        },
    )


def new_password() -> str:
    """Generate a password with 190 random bits, whose characters need no quoting in files and shells."""
    return ''.join(secrets.choice(LETTERS) for _ in range(32))


def creation_steps(plan: EnvironmentPlan, directory: Path) -> list[CreationStep]:
    """Return the steps that create the environment in `directory`. Among the steps that may fail, the creation of the
    database is the last one, because the database may be on another machine.
    """
    steps = [CreationStep('Certificate authority', partial(write_authority, directory, plan))]
    steps += [step for each in all_operations() for step in each.creation_steps(directory, plan)]
    steps.append(CreationStep('Credentials', partial(write_credentials, directory, plan, planned_ports(plan))))
    steps.append(CreationStep('Database, with the first users', partial(create_environment_odb, directory, plan)))
    return steps


def create_environment_odb(directory: Path, plan: EnvironmentPlan, *, is_exclusive: bool = True) -> None:
    """Create the schema, the cluster, its servers, and the users that all commands need. `is_exclusive` says that the
    database must not contain another cluster."""
    from zatotx.cli.environment.odb_and_redis_access import all_object_types, convert_errors
    from zatotx.odb.nodes import NodeAddress
    from zatotx.odb.offline_operations import NewCluster, create_odb
    from zatotx.schema.scheduler_job import default_job_operations
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
            NodeAddress(name=f'server{i}', host='127.0.0.1', port=port) for i, port in enumerate(plan.server_ports, 1)
        ),
        operations=(
            *(Operation(action='create', type='basic_auth', name=user['name'], fields=user) for user in users),
            Operation(action='create', type='admin_user', name=first.username, fields={
                'name': first.username, 'username': first.username, 'password': first.password, 'roles': ['admin'],
            }),
            *default_job_operations(),
        ),
    )
    with convert_errors():
        create_odb(plan.odb_url_from(directory), plan.key, new, types=all_object_types(),
                   is_exclusive=is_exclusive)


def print_summary(target: Path, plan: EnvironmentPlan) -> None:
    """Print the addresses, the users and the next command."""
    click.echo(f'\nCluster   {plan.cluster}')
    for title, text in (line for each in all_operations() for line in each.summary(plan)):
        click.echo(f'{title:9} {text}')
    click.echo(f'Users     {", ".join(user.username for user in plan.api_users())}')
    click.echo(f'Passwords {target / CREDENTIALS}')
    click.echo(f'Start it  zatotx start {target}')
