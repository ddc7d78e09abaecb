"""The seats of a server's processes: 0, 1, 2 …, each held by one process at a time, by a lock that the kernel gives
back.

What a process has for itself (its row in the ODB, its socket for the other workers, the directory of its deployed code)
goes by its seat. So a worker that drains and the one that takes over from it are never in each other's way: they sit on
different seats. Seats are few and used again.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Collection
from pathlib import Path

from zatotx.model.errors import StartError
from zatotx.node.directory_lock import DirectoryLock
from zatotx.node.workers.control_pipe import WorkerSpec

MOST = 256  # seats of a server: far more than workers, for those that drain beside those that serve


def slot_file(work: Path, seat: int) -> Path:
    """The file whose lock is the seat."""
    return work / f'worker-{seat}.lock'


def is_taken(path: Path) -> bool:
    """Whether a process holds the lock of that file now."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(fd)
    return False


def free_slot(work: Path, besides: Collection[int] = ()) -> int:
    """The lowest seat that nobody holds and that is none of `besides`. Raises StartError where there is none."""
    for seat in range(MOST):
        if seat not in besides and not is_taken(slot_file(work, seat)):
            return seat
    raise StartError(f'{work} has {MOST} processes that do not end: end those of {work.parent} first')


def any_taken(work: Path) -> bool:
    """Whether processes of an earlier parent are still there."""
    return any(is_taken(path) for path in work.glob('worker-*.lock'))


class SlotLocks:
    """Several locks as one."""

    def __init__(self, *locks: DirectoryLock) -> None:
        self._locks = locks

    def release(self) -> None:
        """Idempotent."""
        for lock in self._locks:
            lock.release()


def acquire_slot(work: Path, place: WorkerSpec | None) -> tuple[WorkerSpec, SlotLocks]:
    """Take the seat that a worker was given; without a place, the server's directory whole and the lowest free seat.
    Raises StartError where another process has it."""
    if place is not None:
        seat = DirectoryLock(slot_file(work, place.seat))
        seat.take()
        return place, SlotLocks(seat)
    lock = DirectoryLock(work / 'lock')
    lock.take()
    number = free_slot(work)  # not 0 where workers of a killed parent still drain
    seat = DirectoryLock(slot_file(work, number))
    seat.take()
    return WorkerSpec(seat=number, late=False, sockets={}), SlotLocks(seat, lock)
