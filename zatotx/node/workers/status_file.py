"""work/workers.json: what a parent process says of its workers to the commands of `zatotx`."""

from __future__ import annotations

from pathlib import Path

import msgspec

FILE = 'workers.json'


class WorkerStatus(msgspec.Struct, frozen=True):
    """One worker."""

    worker: int  # its seat
    pid: int
    state: str  # starting, ready, leaving, hung


class StatusFile(msgspec.Struct, frozen=True, kw_only=True):
    """The moment's truth. `asked` and `done` count the replacements of all workers (SIGUSR2): `done` is the last one
    that is over, `why` what it failed of ('' = it did not)."""

    parent: int  # its process
    wanted: int
    workers: tuple[WorkerStatus, ...] = ()
    asked: int = 0
    done: int = 0
    why: str = ''

    @property
    def ready(self) -> int:
        """How many serve."""
        return sum(worker.state == 'ready' for worker in self.workers)


def write_status_file(work: Path, roster: StatusFile) -> None:
    """Whole or not at all."""
    aside = work / f'.{FILE}'
    aside.touch(mode=0o600)
    aside.write_bytes(msgspec.json.encode(roster))
    aside.replace(work / FILE)


def read_status_file(work: Path, parent: int) -> StatusFile | None:
    """What the process `parent` says; None where it is no parent, or an earlier one's word is all there is."""
    try:
        roster = msgspec.json.decode((work / FILE).read_bytes(), type=StatusFile)
    except (OSError, msgspec.DecodeError):
        return None
    return roster if roster.parent == parent else None
