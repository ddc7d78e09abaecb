"""`zatotx doctor`: what is broken or will be, found by looking, whatever runs or does not."""

from __future__ import annotations

from pathlib import Path

import click

from zatotx.cli.checks.finding import BROKEN, CheckContext, Finding
from zatotx.cli.checks.running import CHECKS, run_checks
from zatotx.cli.environment.layout import INFO_FILE, SERVER, Component, Environment, component_at, find_environment
from zatotx.cli.environment.pid_files import running_process
from zatotx.cli.errors import CommandError
from zatotx.cli.output import format_option, path_argument, print_json, progress


@click.command(epilog='\b\nExamples:\n  zatotx doctor ~/env/qs-1\n  zatotx doctor ~/env/qs-1/server1 --format json')
@path_argument()
@format_option()
def doctor(path: str, form: str) -> int:
    """Look for whatever is broken in an environment or one part of it, on the disk and in what runs.

    Files, permissions, processes, ports, versions, certificates, disk, limits, ODB, Redis, clocks, the nodes of the
    cluster and what running servers find in themselves. Changes nothing, needs nothing to run, and takes some seconds
    at most. Each finding is one sentence with what to do.

    Returns 1 where anything is broken; warnings alone leave it at 0.
    """
    place = check_context(path)
    with progress('Looking'):
        findings = run_checks(CheckContext(place))
    broken = sum(one.severity == BROKEN for one in findings)
    if form == 'json':
        print_json(to_json(place, findings))
    else:
        print_findings(place, findings)
    return 1 if broken else 0


def check_context(path: str) -> Environment:
    """The environment or part at `path`, also where files that say what it is are gone. Raises Failure where there is
    nothing of one."""
    try:
        return find_environment(path)
    except CommandError:
        directory = Path(path).absolute()
        infos = sorted(directory.glob(f'*/{INFO_FILE}'))
        if not infos:
            raise
    return Environment(directory, tuple(_part(info.parent) for info in infos), whole=True)


def _part(directory: Path) -> Component:
    """What a directory is; one that does not say so is taken for a server."""
    try:
        return component_at(directory)
    except CommandError:
        return Component(SERVER, directory)


def list_checks() -> list[str]:
    """What is looked at, each subject once."""
    return list(dict.fromkeys(check.subject for check in CHECKS))


def print_findings(place: Environment, findings: list[Finding]) -> None:
    for one in findings:
        click.echo(f'{one.severity.upper() if one.severity == BROKEN else one.severity:8} '
                   f'{one.where}: {one.subject}: {one.text}.')  # fmt: skip
    if findings:
        click.echo()
    parts = ', '.join(part.name for part in place.parts)
    click.echo(f'{exit_code(place, findings)} Looked at {", ".join(list_checks())} of {parts}.')


def exit_code(place: Environment, findings: list[Finding]) -> str:
    """How it is, in a sentence; that nothing of it runs, in another."""
    stopped = '' if running_parts(place) else f" It is stopped: 'zatotx start {start_path(place)}' starts it."
    broken = sum(one.severity == BROKEN for one in findings)
    warnings = len(findings) - broken
    if not findings:
        return f'Nothing is broken.{stopped}' if stopped else 'All is well.'
    counted = [f'{broken} broken'] if broken else ['Nothing is broken']
    counted += [f'{warnings} warning{"s" if warnings > 1 else ""}'] if warnings else []
    return f'{", ".join(counted)}.{stopped}'


def running_parts(place: Environment) -> list[str]:
    """The names of the parts that run, ready or not."""
    return [part.name for part in place.parts if running_process(part) is not None]


def start_path(place: Environment) -> Path:
    return place.environment if place.whole else place.parts[0].path


def to_json(place: Environment, findings: list[Finding]) -> dict[str, object]:
    broken = sum(one.severity == BROKEN for one in findings)
    return {
        'environment': str(place.environment),
        'parts': [part.name for part in place.parts],
        'running': running_parts(place),
        'well': not broken,
        'broken': broken,
        'warnings': len(findings) - broken,
        'checked': list_checks(),
        'findings': [one._asdict() for one in findings],
    }
