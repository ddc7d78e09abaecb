"""`zatotx info` and `zatotx component-version`: show information about an environment, which is read from its files and
from the running cluster.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import click

from zatotx import __version__
from zatotx.cli.command_output import make_format_option, make_path_argument, print_json, print_table
from zatotx.cli.environment.cluster_client import ClusterClient
from zatotx.cli.environment.cluster_info import read_cluster_info
from zatotx.cli.environment.component_types import SERVER
from zatotx.cli.environment.environment_layout import Component, Environment, cluster_name, find_environment, read_info
from zatotx.cli.environment.odb_and_redis_access import redis_address
from zatotx.cli.environment.readiness_probe import probe_component
from zatotx.cli.environment.secret_key_access import any_server
from zatotx.cli.errors import CommandError
from zatotx.cli.process_commands import describe_status


@click.command(epilog='\b\nExamples:\n  zatotx info ~/env/qs-1\n  zatotx info ~/env/qs-1 --format json')
@make_path_argument()
@make_format_option()
def info(path: str, form: str) -> None:
    """Show information about an environment or one component: its components, their state, and the kinds of
    connections."""
    environment = find_environment(path)
    facts = collect_environment_info(environment)
    if form == 'json':
        print_json(facts)
        return
    click.echo(f'Environment {facts["environment"]}\nzatotx      {facts["version"]}')
    click.echo(f'Cluster     {facts["cluster"]["name"]}{_revision_suffix(facts["cluster"])}')
    click.echo(f'Leader      {facts["cluster"]["leader"] or "none"}')
    click.echo(f'ODB         {facts["odb"]["url"]}{_problem_suffix(facts["odb"])}')
    click.echo(f'Redis       {facts["redis"]["url"]}{_problem_suffix(facts["redis"])}\n')
    rows = [(c['name'], c['state'], c['version'], c['address']) for c in facts['components']]
    print_table(('COMPONENT', 'STATE', 'CREATED BY', 'ADDRESS'), rows)
    for component in facts['components']:
        workers = component.get('workers', ())
        if workers:
            workers_text = ', '.join(f"{w['worker']} (pid {w['pid']}, {w['state']})" for w in workers)
            click.echo(f'Workers of {component["name"]}: {workers_text}')
    click.echo()
    nodes = [(n['name'], n['worker'], n['state'], n['revision'], n['address'], n['pid'] or '') for n in facts['nodes']]
    if nodes:
        print_table(('NODE', 'WORKER', 'STATE', 'REVISION', 'ADDRESS', 'PID'), nodes)
        click.echo()
    kinds = [(name, 'yes' if kind['enabled'] else 'no', kind.get('why', '')) for name, kind in facts['kinds'].items()]
    print_table(('KIND', 'ENABLED', 'WHY NOT'), kinds)


def collect_environment_info(environment: Environment) -> dict[str, Any]:
    """Collect the information about an environment. `server` is the information that a running server returns, or None
    if none is running; `leader` is None if the scheduler has no leader. `problem` says why some information could not
    be determined."""
    states = [(part, probe_component(part)) for part in environment.components]
    running = any(part.kind == SERVER and state.ready for part, state in states)
    server = ClusterClient(environment).call('zato.info.get-info', {}) if running else None
    live = server['cluster'] if server else {}
    odb, cluster, nodes = read_cluster_info(environment)
    return {
        'environment': str(environment.environment),
        'version': __version__,
        'cluster': {'name': cluster_name(environment), 'leader': None, **cluster, **live},
        'nodes': nodes,
        'odb': odb,
        'redis': redis_info(environment),
        'components': [
            {**describe_status(part, state), 'version': creating_version(part)} for part, state in states
        ],
        'kinds': kind_info(),
        'server': {**server, 'uptime': round(max(0.0, time.time() - server['started']), 1)} if server else None,
    }


def redis_info(environment: Environment) -> dict[str, str]:
    """Return the URL of Redis with its password masked."""
    try:
        return {'url': str(redis_address(any_server(environment))), 'problem': ''}
    except (CommandError, OSError) as error:
        return {'url': '', 'problem': str(error)}


def _revision_suffix(cluster: Mapping[str, Any]) -> str:
    return f', revision {cluster["revision"]}' if 'revision' in cluster else ''


def _problem_suffix(store: Mapping[str, str]) -> str:
    return f' ({store["problem"].rstrip(".")})' if store['problem'] else ''


def creating_version(part: Component) -> str:
    """Return the version of zatotx that created a component."""
    return str(read_info(part.path).get('version', ''))


def kind_info() -> dict[str, Any]:
    """Return the installed kinds. For a disabled kind, the libraries to install are included."""
    from zatotx.connectors.kind_registry import describe_kinds_for_info as described_kinds
    from zatotx.connectors.kind_registry import find_kinds

    return {name: dict(facts) for name, facts in described_kinds(find_kinds()).items()}


@click.command('component-version', epilog='\b\nExamples:\n  zatotx component-version ~/env/qs-1/server1')
@make_path_argument()
def component_version(path: str) -> None:
    """Print the version of zatotx that created a component, or each component of an environment."""
    environment = find_environment(path)
    for part in environment.components:
        click.echo(f'{part.name} {creating_version(part)}' if environment.is_complete else creating_version(part))
