"""The workers of a server, as its parent process lists them, and their replacement."""

from __future__ import annotations

import signal
import time

from zatotx.cli.environment.layout import SERVER, Component
from zatotx.cli.environment.pid_files import STEP, Process, running_process
from zatotx.node.workers.status_file import StatusFile, read_status_file

PATIENCE = 60.0  # seconds that the replacement of one worker may take beyond the time to drain


def read_worker_status(part: Component, process: Process | None) -> StatusFile | None:
    """What the parent process of a server's workers says of them; None where the server is one process, or down."""
    if part.kind != SERVER or process is None:
        return None
    return read_status_file(part.path / 'work', process.pid)


def missing_workers(part: Component, process: Process) -> str:
    """A sentence where not all workers serve, '' where they do or there are none."""
    roster = read_worker_status(part, process)
    if roster is None or roster.ready >= roster.wanted:
        return ''
    return f'{roster.ready} of {roster.wanted} workers are ready'


def replace_workers(part: Component, grace: float) -> list[str] | None:
    """Have the parent replace all workers, with the listening sockets kept; what went wrong, a sentence. None where the
    server has no parent process that could."""
    process = running_process(part)
    roster = read_worker_status(part, process)
    if process is None or roster is None:
        return None
    wanted = roster.asked + 1
    end = time.monotonic() + (PATIENCE + grace) * (len(roster.workers) + 1)
    process.send(signal.SIGUSR2)
    while process.alive():
        roster = read_worker_status(part, process)
        if roster is not None and roster.done >= wanted:
            why = roster.why.rstrip('.')
            return [f'the workers of {part.name} could not all be replaced: {why}; those that run go on'] if why else []
        if time.monotonic() > end:
            return [f'the workers of {part.name} are not replaced yet: see {part.path}/logs']
        time.sleep(STEP)
    return [f'{part.name} ended meanwhile: see {part.path}/logs']
