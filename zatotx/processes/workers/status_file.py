"""The status file work/workers.json, in which a parent process reports the state of its workers to the `zatotx`
commands.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from zatotx.system.atomic_file import write_file

FILE_NAME = 'workers.json'


class WorkerStatus(msgspec.Struct, frozen=True):
    """The status of one worker."""

    worker: int  # its slot
    pid: int
    state: str  # starting, ready, leaving, hung


class StatusFile(msgspec.Struct, frozen=True, kw_only=True):
    """The contents of the status file. `asked` is the number of requested replacements of all workers (SIGUSR2), and
    `done` is the number of finished replacements. `why` is the error of the last replacement, or '' if it succeeded."""

    parent: int  # its process id
    wanted: int
    workers: tuple[WorkerStatus, ...] = ()
    asked: int = 0
    done: int = 0
    why: str = ''

    @property
    def ready_count(self) -> int:
        """The number of workers that serve requests."""
        return sum(worker.state == 'ready' for worker in self.workers)


def write_status_file(work: Path, status: StatusFile) -> None:
    """Write the status file atomically."""
    write_file(work / FILE_NAME, msgspec.json.encode(status))


def read_status_file(work: Path, parent: int) -> StatusFile | None:
    """Return the status that the process `parent` has written. Returns None if the process is not a parent process, or
    if the file is left over from an earlier parent process."""
    try:
        status = msgspec.json.decode((work / FILE_NAME).read_bytes(), type=StatusFile)
    except (OSError, msgspec.DecodeError):
        return None
    return status if status.parent == parent else None
