"""`zatotx doctor`: finds current and imminent problems of an environment, whether or not it is running."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click

from zatotx.cli.checks import (
    certificate_authority,
    files_and_permissions,
    load_balancer,
    machine_resources,
    object_certificates,
    odb_and_redis,
    running_cluster,
    tls_files,
    versions,
)
from zatotx.cli.checks.check_definition import (
    BROKEN,
    ENVIRONMENT,
    EVERY_COMPONENT,
    NODE,
    Check,
    CheckContext,
    Finding,
    environment_as_component,
)
from zatotx.cli.command_output import make_format_option, make_path_argument, print_json, progress_if_slow
from zatotx.cli.environment.component_types import SERVER
from zatotx.cli.environment.environment_layout import (
    INFO_FILE,
    Component,
    Environment,
    find_environment,
    read_component,
)
from zatotx.cli.environment.process_discovery import running_process
from zatotx.cli.errors import CommandError, format_os_error

# Checks that send requests run in threads of their own, with a common timeout.
CHECKS: tuple[Check, ...] = (
    *files_and_permissions.CHECKS,
    *certificate_authority.CHECKS,
    *machine_resources.CHECKS,
    *versions.CHECKS,
    *odb_and_redis.CHECKS,
    *running_cluster.CHECKS,
    *load_balancer.CHECKS,
    *tls_files.CHECKS,
    *object_certificates.CHECKS,
)
TOTAL_TIMEOUT = 10.0  # timeout in seconds for all requests together; each has its own timeout of PATIENCE
MAX_THREADS = 16

Job = tuple[Check, Component]


def run_checks(
    context: CheckContext, checks: Iterable[Check] = CHECKS, timeout: float = TOTAL_TIMEOUT
) -> list[Finding]:
    """Run all checks and return their findings without duplicates. Checks that send no requests run first, because
    requests may change their results."""
    jobs = [job for check in checks for job in _jobs(check, context)]
    found: dict[int, list[Finding]] = {}
    for number, (check, part) in enumerate(jobs):
        if not check.sends_requests:
            found[number] = run_check(check, part, context)
    found.update(_run_in_threads({n: job for n, job in enumerate(jobs) if job[0].sends_requests}, context, timeout))
    unique: dict[tuple[str, str], Finding] = {}
    for number in sorted(found):
        for finding in found[number]:
            unique.setdefault((finding.where, finding.text), finding)
    return sorted(unique.values(), key=lambda one: one.severity)


def _jobs(check: Check, context: CheckContext) -> Iterator[Job]:
    if check.target == ENVIRONMENT:
        if context.environment.is_complete:
            yield check, environment_as_component(context.environment)
        return
    for part in context.environment.components:
        if check.target in (EVERY_COMPONENT, part.kind) or (check.target == NODE and part.type.is_node):
            yield check, part


def run_check(check: Check, part: Component, context: CheckContext) -> list[Finding]:
    """Run one check and return its findings. An exception in the check becomes a finding, too."""
    where = 'environment' if part.kind == ENVIRONMENT else part.name
    found: list[tuple[str, str]] = []
    try:
        found.extend(check.run(context, part))
    except CommandError as error:
        found.append((BROKEN, error.format_message()))
    except OSError as error:
        found.append((BROKEN, f'the check failed: {format_os_error(error)}'))
    except Exception as error:
        found.append((BROKEN, f'the check failed: {type(error).__name__}: {error}; please report this'))
    return [Finding(severity, where, check.subject, text.rstrip('.')) for severity, text in found]


def _run_in_threads(jobs: dict[int, Job], context: CheckContext, timeout: float) -> dict[int, list[Finding]]:
    """Run checks that send requests in parallel. Threads that hang are abandoned: they end with the process."""
    found: dict[int, list[Finding]] = {}
    semaphore = threading.Semaphore(MAX_THREADS)

    def work(number: int, job: Job) -> None:
        with semaphore:
            found[number] = run_check(*job, context)

    threads: dict[int, Any] = {
        number: threading.Thread(target=work, args=(number, job), daemon=True) for number, job in jobs.items()
    }
    for thread in threads.values():
        thread.start()
    deadline = time.monotonic() + timeout
    for number, thread in threads.items():
        thread.join(max(0.0, deadline - time.monotonic()))
        if thread.is_alive():
            check, part = jobs[number]
            timeout_text = f'the check took longer than {timeout:g} s: see whether what it depends on hangs'
            found[number] = [Finding(BROKEN, part.name, check.subject, timeout_text)]
    return dict(found)


@click.command(epilog='\b\nExamples:\n  zatotx doctor ~/env/qs-1\n  zatotx doctor ~/env/qs-1/server1 --format json')
@make_path_argument()
@make_format_option()
def doctor(path: str, form: str) -> int:
    """Find problems of an environment or one component, on disk and in running processes.

    Checks files, permissions, processes, ports, versions, certificates, disk space, limits, ODB, Redis, clocks, the
    nodes of the cluster, and what running servers report about themselves. Changes nothing, works on stopped
    environments too, and takes a few seconds at most. Each finding is one sentence that says what to do.

    Returns 1 if anything is broken; warnings alone return 0.
    """
    environment = find_damaged_environment(path)
    with progress_if_slow('Checking'):
        findings = run_checks(CheckContext(environment))
    broken = sum(finding.severity == BROKEN for finding in findings)
    if form == 'json':
        print_json(to_json(environment, findings))
    else:
        print_findings(environment, findings)
    return 1 if broken else 0


def find_damaged_environment(path: str) -> Environment:
    """Return the environment or component at `path`, even if files that describe it are missing. Raises CommandError if
    `path` contains neither."""
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
    """Return a sentence with the number of findings. If no component is running, a second sentence says so."""
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
    """Return the names of the running components, whether or not they are ready."""
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
