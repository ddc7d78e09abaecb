"""Reads the status of a server's workers, as its parent process writes it, and replaces the workers."""

from __future__ import annotations

import signal
import time

from zatotx.cli.environment.layout import SERVER, Component
from zatotx.cli.environment.pid_files import POLL_INTERVAL, Process, running_process
from zatotx.node.workers.status_file import StatusFile, read_status_file

REPLACE_TIMEOUT = 60.0  # seconds that replacing one worker may take in addition to its grace period


def read_worker_status(part: Component, process: Process | None) -> StatusFile | None:
    """Return the status that the parent process of a server's workers has written; None if the server has a single
    process or is stopped."""
    if part.kind != SERVER or process is None:
        return None
    return read_status_file(part.path / 'work', process.pid)


def missing_workers(part: Component, process: Process) -> str:
    """Return a sentence if not all workers serve requests; '' if they do or there are none."""
    status = read_worker_status(part, process)
    if status is None or status.ready_count >= status.wanted:
        return ''
    return f'{status.ready_count} of {status.wanted} workers are ready'


def replace_workers(part: Component, grace: float) -> list[str] | None:
    """Make the parent process replace all workers, which keeps the listening sockets. Returns errors, one sentence
    each; None if the server has no parent process."""
    process = running_process(part)
    status = read_worker_status(part, process)
    if process is None or status is None:
        return None
    target = status.asked + 1
    deadline = time.monotonic() + (REPLACE_TIMEOUT + grace) * (len(status.workers) + 1)
    process.send(signal.SIGUSR2)
    while process.is_alive():
        status = read_worker_status(part, process)
        if status is not None and status.done >= target:
            reason = status.why.rstrip('.')
            error = f'not all workers of {part.name} could be replaced: {reason}; the running ones continue'
            return [error] if reason else []
        if time.monotonic() > deadline:
            return [f'the workers of {part.name} are not replaced yet: see {part.path}/logs']
        time.sleep(POLL_INTERVAL)
    return [f'{part.name} ended in the meantime: see {part.path}/logs']
