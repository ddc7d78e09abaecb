"""The slots of a server's processes. A slot is a number (0, 1, 2 and so on) that one process at a time holds through an
advisory lock.

The resources of a process (its row in the ODB, its IPC socket, the directory of its deployed code) are named by its
slot. A worker that drains and its replacement therefore never conflict: they hold different slots. Slots are reused.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Collection
from pathlib import Path

from zatotx.model.errors import StartError
from zatotx.processes.lock_files import DirectoryLock
from zatotx.processes.workers.control_pipe import WorkerSpec

MAX_SLOTS = 256  # slots per server; more than the maximum of workers, because draining workers keep theirs


def slot_lock_path(work: Path, slot: int) -> Path:
    """Return the path of a slot's lock file."""
    return work / f'worker-{slot}.lock'


def is_file_locked(path: Path) -> bool:
    """Return whether a process holds the lock of a file."""
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


def find_free_slot(work: Path, excluded: Collection[int] = ()) -> int:
    """Return the lowest free slot that is not in `excluded`. Raises StartError if there is no free slot."""
    for slot in range(MAX_SLOTS):
        if slot not in excluded and not is_file_locked(slot_lock_path(work, slot)):
            return slot
    raise StartError(f'All {MAX_SLOTS} slots of {work.parent} are taken by processes that do not end: end them first')


def has_running_predecessor(work: Path) -> bool:
    """Return whether worker processes of an earlier parent process are still running."""
    return any(is_file_locked(path) for path in work.glob('worker-*.lock'))


class SlotLocks:
    """A set of locks that are released together."""

    def __init__(self, *locks: DirectoryLock) -> None:
        self._locks = locks

    def release(self) -> None:
        """Release all locks. Idempotent."""
        for lock in self._locks:
            lock.release()


def acquire_slot(work: Path, worker_spec: WorkerSpec | None) -> tuple[WorkerSpec, SlotLocks]:
    """Acquire the slot of a worker. If `worker_spec` is None, acquire the server's directory and its lowest free slot.
    Raises StartError if another process holds them."""
    if worker_spec is not None:
        slot = DirectoryLock(slot_lock_path(work, worker_spec.slot))
        slot.acquire()
        return worker_spec, SlotLocks(slot)
    lock = DirectoryLock(work / 'lock')
    lock.acquire()
    number = find_free_slot(work)  # not 0 while workers of a killed parent still drain
    slot = DirectoryLock(slot_lock_path(work, number))
    slot.acquire()
    return WorkerSpec(slot=number, listen_when_ready=False, inherited_sockets={}), SlotLocks(slot, lock)
