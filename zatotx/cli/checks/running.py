"""All checks, and one run of them: those that ask others each in a thread of its own, all of them within a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

from zatotx.cli.checks import certificates, cluster, files, machine, processes, stores, versions
from zatotx.cli.checks.finding import (
    BROKEN,
    ENVIRONMENT,
    EVERY_PART,
    Check,
    CheckContext,
    Finding,
    environment,
)
from zatotx.cli.environment.layout import Component
from zatotx.cli.errors import CommandError, error_sentence

CHECKS: tuple[Check, ...] = (
    *files.CHECKS, *processes.CHECKS, *versions.CHECKS, *certificates.CHECKS, *machine.CHECKS, *stores.CHECKS,
    *cluster.CHECKS,
)  # fmt: skip
LONGEST = 10.0  # seconds that all questions together may take; each gives up by itself after PATIENCE
AT_ONCE = 16

Job = tuple[Check, Component]


def run_checks(scene: CheckContext, checks: Iterable[Check] = CHECKS, longest: float = LONGEST) -> list[Finding]:
    """Everything that is found, a sentence once. What asks nobody is looked at first: asking may put things right."""
    jobs = [job for check in checks for job in _jobs(check, scene)]
    found: dict[int, list[Finding]] = {}
    for number, (check, part) in enumerate(jobs):
        if not check.asks:
            found[number] = run_check(check, part, scene)
    found.update(_asked({n: job for n, job in enumerate(jobs) if job[0].asks}, scene, longest))
    told: dict[tuple[str, str], Finding] = {}
    for number in sorted(found):
        for finding in found[number]:
            told.setdefault((finding.where, finding.text), finding)
    return sorted(told.values(), key=lambda one: one.severity)


def _jobs(check: Check, scene: CheckContext) -> Iterator[Job]:
    if check.of == ENVIRONMENT:
        if scene.place.whole:
            yield check, environment(scene.place)
        return
    for part in scene.place.parts:
        if check.of in (EVERY_PART, part.kind):
            yield check, part


def run_check(check: Check, part: Component, scene: CheckContext) -> list[Finding]:
    """What one check finds. Where it cannot look, that is what it finds."""
    where = 'environment' if part.kind == ENVIRONMENT else part.name
    found: list[tuple[str, str]] = []
    try:
        found.extend(check.look(scene, part))
    except CommandError as error:
        found.append((BROKEN, error.format_message()))
    except OSError as error:
        found.append((BROKEN, f'it cannot be looked at: {error_sentence(error)}'))
    except Exception as error:
        found.append((BROKEN, f'it cannot be looked at: {type(error).__name__}: {error}; please report this'))
    return [Finding(severity, where, check.subject, text.rstrip('.')) for severity, text in found]


def _asked(jobs: dict[int, Job], scene: CheckContext, longest: float) -> dict[int, list[Finding]]:
    """What the checks that ask find, side by side. A thread that hangs is left behind: it ends with the process."""
    found: dict[int, list[Finding]] = {}
    turns = threading.Semaphore(AT_ONCE)

    def work(number: int, job: Job) -> None:
        with turns:
            found[number] = run_check(*job, scene)

    threads: dict[int, Any] = {
        number: threading.Thread(target=work, args=(number, job), daemon=True) for number, job in jobs.items()
    }
    for thread in threads.values():
        thread.start()
    end = time.monotonic() + longest
    for number, thread in threads.items():
        thread.join(max(0.0, end - time.monotonic()))
        if thread.is_alive():
            check, part = jobs[number]
            late = f'no answer within {longest:g} s: see whether what it depends on hangs'
            found[number] = [Finding(BROKEN, part.name, check.subject, late)]
    return dict(found)
