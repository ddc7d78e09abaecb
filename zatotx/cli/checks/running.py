"""The list of all checks, and their execution: checks that send requests run in threads of their own, with a common
timeout."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

from zatotx.cli.checks import certificates, cluster, files, machine, processes, stores, versions
from zatotx.cli.checks.finding import (
    BROKEN,
    ENVIRONMENT,
    EVERY_COMPONENT,
    Check,
    CheckContext,
    Finding,
    as_component,
)
from zatotx.cli.environment.layout import Component
from zatotx.cli.errors import CommandError, format_os_error

CHECKS: tuple[Check, ...] = (
    *files.CHECKS, *processes.CHECKS, *versions.CHECKS, *certificates.CHECKS, *machine.CHECKS, *stores.CHECKS,
    *cluster.CHECKS,
)  # fmt: skip
TOTAL_TIMEOUT = 10.0  # timeout in seconds for all requests together; each has its own timeout of PATIENCE
MAX_THREADS = 16

Job = tuple[Check, Component]


def run_checks(scene: CheckContext, checks: Iterable[Check] = CHECKS, timeout: float = TOTAL_TIMEOUT) -> list[Finding]:
    """Run all checks and return their findings without duplicates. Checks that send no requests run first, because
    requests may change what they would find."""
    jobs = [job for check in checks for job in _jobs(check, scene)]
    found: dict[int, list[Finding]] = {}
    for number, (check, part) in enumerate(jobs):
        if not check.sends_requests:
            found[number] = run_check(check, part, scene)
    found.update(_run_in_threads({n: job for n, job in enumerate(jobs) if job[0].sends_requests}, scene, timeout))
    unique: dict[tuple[str, str], Finding] = {}
    for number in sorted(found):
        for finding in found[number]:
            unique.setdefault((finding.where, finding.text), finding)
    return sorted(unique.values(), key=lambda one: one.severity)


def _jobs(check: Check, scene: CheckContext) -> Iterator[Job]:
    if check.target == ENVIRONMENT:
        if scene.environment.is_complete:
            yield check, as_component(scene.environment)
        return
    for part in scene.environment.components:
        if check.target in (EVERY_COMPONENT, part.kind):
            yield check, part


def run_check(check: Check, part: Component, scene: CheckContext) -> list[Finding]:
    """Run one check and return its findings. An exception in the check is a finding, too."""
    where = 'environment' if part.kind == ENVIRONMENT else part.name
    found: list[tuple[str, str]] = []
    try:
        found.extend(check.run(scene, part))
    except CommandError as error:
        found.append((BROKEN, error.format_message()))
    except OSError as error:
        found.append((BROKEN, f'the check failed: {format_os_error(error)}'))
    except Exception as error:
        found.append((BROKEN, f'the check failed: {type(error).__name__}: {error}; please report this'))
    return [Finding(severity, where, check.subject, text.rstrip('.')) for severity, text in found]


def _run_in_threads(jobs: dict[int, Job], scene: CheckContext, longest: float) -> dict[int, list[Finding]]:
    """Run checks that send requests in parallel. Threads that hang are abandoned: they end with the process."""
    found: dict[int, list[Finding]] = {}
    semaphore = threading.Semaphore(MAX_THREADS)

    def work(number: int, job: Job) -> None:
        with semaphore:
            found[number] = run_check(*job, scene)

    threads: dict[int, Any] = {
        number: threading.Thread(target=work, args=(number, job), daemon=True) for number, job in jobs.items()
    }
    for thread in threads.values():
        thread.start()
    deadline = time.monotonic() + longest
    for number, thread in threads.items():
        thread.join(max(0.0, deadline - time.monotonic()))
        if thread.is_alive():
            check, part = jobs[number]
            timeout_text = f'the check took longer than {longest:g} s: see whether what it depends on hangs'
            found[number] = [Finding(BROKEN, part.name, check.subject, timeout_text)]
    return dict(found)
