"""`zatotx info` and `zatotx component-version`: facts, from the disk and, where it runs, from the cluster."""

from __future__ import annotations

from typing import Any

import click

from zatotx import __version__
from zatotx.cli.client import Cluster
from zatotx.cli.layout import SERVER, Part, Place, cluster_name, find, read_info
from zatotx.cli.output import format_option, path_argument, print_json, print_table
from zatotx.cli.probe import health
from zatotx.cli.process import described


@click.command(epilog='\b\nExamples:\n  zatotx info ~/env/qs-1\n  zatotx info ~/env/qs-1 --format json')
@path_argument()
@format_option()
def info(path: str, form: str) -> None:
    """Facts about an environment or one part: what it consists of, what runs, which kinds of channels it has."""
    place = find(path)
    facts = gather(place)
    if form == 'json':
        print_json(facts)
        return
    click.echo(f'Environment {facts["environment"]}\nzatotx      {facts["version"]}')
    click.echo(f'Cluster     {facts["cluster"]["name"]}\n')
    rows = [(c['name'], c['state'], c['version'], c['address']) for c in facts['components']]
    print_table(('PART', 'STATE', 'MADE BY', 'ADDRESS'), rows)
    for component in facts['components']:
        workers = component.get('workers', ())
        if workers:
            said = ', '.join(f"{w['worker']} (pid {w['pid']}, {w['state']})" for w in workers)
            click.echo(f'Workers of {component["name"]}: {said}')
    click.echo()
    kinds = [(name, 'yes' if kind['enabled'] else 'no', kind.get('why', '')) for name, kind in facts['kinds'].items()]
    print_table(('KIND', 'ENABLED', 'WHY NOT'), kinds)


def gather(place: Place) -> dict[str, Any]:
    """All of it. `server` is what a running server says of itself, None where none runs."""
    states = [(part, health(part)) for part in place.parts]
    running = any(part.kind == SERVER and state.ready for part, state in states)
    server = Cluster(place).call('zato.info.get-info', {}) if running else None
    live = server['cluster'] if server else {}
    return {
        'environment': str(place.environment),
        'version': __version__,
        'cluster': {'name': cluster_name(place), 'leader': None, **live},
        'components': [
            {**described(part, state), 'version': made_by(part)} for part, state in states
        ],
        'kinds': kinds(),
        'server': server,
    }


def made_by(part: Part) -> str:
    """The version of zatotx that made a part."""
    return str(read_info(part.path).get('version', ''))


def kinds() -> dict[str, Any]:
    """The kinds found in this installation; a disabled one with what to install."""
    from zatotx.kinds import described as described_kinds
    from zatotx.kinds import find_kinds

    return {name: dict(facts) for name, facts in described_kinds(find_kinds()).items()}


@click.command('component-version', epilog='\b\nExamples:\n  zatotx component-version ~/env/qs-1/server1')
@path_argument()
def component_version(path: str) -> None:
    """Print the version of zatotx that made a part, or each part of an environment."""
    place = find(path)
    for part in place.parts:
        click.echo(f'{part.name} {made_by(part)}' if place.whole else made_by(part))
