"""`zatotx doctor`: finds what is broken, or about to break, whether or not the environment runs."""

from __future__ import annotations

from pathlib import Path

import click

from zatotx.cli.checks.finding import BROKEN, CheckContext, Finding
from zatotx.cli.checks.running import CHECKS, run_checks
from zatotx.cli.environment.layout import INFO_FILE, SERVER, Component, Environment, find_environment, read_component
from zatotx.cli.environment.pid_files import running_process
from zatotx.cli.errors import CommandError
from zatotx.cli.output import format_option, path_argument, print_json, progress


@click.command(epilog='\b\nExamples:\n  zatotx doctor ~/env/qs-1\n  zatotx doctor ~/env/qs-1/server1 --format json')
@path_argument()
@format_option()
def doctor(path: str, form: str) -> int:
    """Find problems of an environment or one component, on disk and in running processes.

    Checks files, permissions, processes, ports, versions, certificates, disk space, limits, ODB, Redis, clocks, the
    nodes of the cluster, and what running servers report about themselves. Changes nothing, works on stopped
    environments too, and takes a few seconds at most. Each finding is one sentence that says what to do.

    Returns 1 if anything is broken; warnings alone return 0.
    """
    environment = find_damaged_environment(path)
    with progress('Checking'):
        findings = run_checks(CheckContext(environment))
    broken = sum(finding.severity == BROKEN for finding in findings)
    if form == 'json':
        print_json(to_json(environment, findings))
    else:
        print_findings(environment, findings)
    return 1 if broken else 0


def find_damaged_environment(path: str) -> Environment:
    """Return the environment or component at `path`, even if files that describe it are missing. Raises CommandError if
    there is none."""
    try:
        return find_environment(path)
    except CommandError:
        directory = Path(path).absolute()
        infos = sorted(directory.glob(f'*/{INFO_FILE}'))
        if not infos:
            raise
    return Environment(directory, tuple(_component_in(info.parent) for info in infos), is_complete=True)


def _component_in(directory: Path) -> Component:
    """Return the component in a directory; a directory that does not say what it is is taken for a server."""
    try:
        return read_component(directory)
    except CommandError:
        return Component(SERVER, directory)


def check_subjects() -> list[str]:
    """Return the subjects of all checks, without duplicates."""
    return list(dict.fromkeys(check.subject for check in CHECKS))


def print_findings(environment: Environment, findings: list[Finding]) -> None:
    for finding in findings:
        click.echo(f'{finding.severity.upper() if finding.severity == BROKEN else finding.severity:8} '
                   f'{finding.where}: {finding.subject}: {finding.text}.')  # fmt: skip
    if findings:
        click.echo()
    parts = ', '.join(part.name for part in environment.components)
    click.echo(f'{summary_sentence(environment, findings)} Checked {", ".join(check_subjects())} of {parts}.')


def summary_sentence(environment: Environment, findings: list[Finding]) -> str:
    """Return a sentence with the number of findings, and another one if nothing is running."""
    stopped = (
        ''
        if running_components(environment)
        else f" It is stopped: start it with 'zatotx start {start_path(environment)}'."
    )
    broken = sum(finding.severity == BROKEN for finding in findings)
    warnings = len(findings) - broken
    if not findings:
        return f'Nothing is broken.{stopped}' if stopped else 'No problems found.'
    counted = [f'{broken} broken'] if broken else ['Nothing is broken']
    counted += [f'{warnings} warning{"s" if warnings > 1 else ""}'] if warnings else []
    return f'{", ".join(counted)}.{stopped}'


def running_components(environment: Environment) -> list[str]:
    """Return the names of the components that are running, ready or not."""
    return [part.name for part in environment.components if running_process(part) is not None]


def start_path(environment: Environment) -> Path:
    return environment.environment if environment.is_complete else environment.components[0].path


def to_json(environment: Environment, findings: list[Finding]) -> dict[str, object]:
    broken = sum(finding.severity == BROKEN for finding in findings)
    return {
        'environment': str(environment.environment),
        'parts': [part.name for part in environment.components],
        'running': running_components(environment),
        'well': not broken,
        'broken': broken,
        'warnings': len(findings) - broken,
        'checked': check_subjects(),
        'findings': [finding._asdict() for finding in findings],
    }
