"""Counters that the workers of a server share. They are in a memory-mapped file in the directory work/.

Each counter is a row of integers, one per slot: a worker writes its own integer and reads those of the others, without
locks or messages. The parent clears the slot of a worker that has died, and so does the next worker in that slot. A
second, append-only file maps rows to names.
"""

from __future__ import annotations

import fcntl
import json
import mmap
import os
from collections.abc import Callable
from pathlib import Path

from attrs import frozen
from twisted.logger import Logger

ROWS = 4096  # maximum number of counters; further ones are counted per worker
_MIN_SLOTS = 16
_FILE, _NAMES = 'board', 'board.names'
_SIZE = 4  # bytes of an integer


@frozen
class SharedCounterRow:
    """The view of one worker on one shared counter."""

    set_own: Callable[[int], None]  # sets this worker's value
    sum_of_others: Callable[[], int]  # returns the sum of the other workers' values
    minimum_of_others: Callable[[], int]  # returns the smallest non-zero value of the other workers; 0 if there is none


class SharedCounters:
    """The memory-mapped file of shared counters."""

    _log = Logger()

    def __init__(self, work: Path) -> None:
        """Open the file that `create_counters_file` has created. Raises OSError if it does not exist."""
        self._names_file = work / _NAMES
        fd = os.open(work / _FILE, os.O_RDWR | os.O_CLOEXEC)
        try:
            self._map = mmap.mmap(fd, 0)
        finally:
            os.close(fd)
        self._numbers = memoryview(self._map).cast('i')
        self.slots = len(self._numbers) // ROWS
        self._names: dict[str, int] = {}
        self._read = 0  # bytes of the names file that have been read
        self._has_warned = False

    def clear(self, slot: int) -> None:
        """Reset the counters of a slot, because its worker has ended or a new one starts."""
        if slot < self.slots:
            for row in range(ROWS):
                self._numbers[row * self.slots + slot] = 0

    def row(self, name: str, slot: int) -> SharedCounterRow | None:
        """Return the row of a counter for the worker in that slot; None if the file is full. Blocks while a line is
        read from or written to a file."""
        row = self._row(name)
        if row is None or slot >= self.slots:
            if not self._has_warned:
                self._has_warned = True
                self._log.warn('{where} is full, so {name} of worker {seat} is counted for this worker'
                               ' only', where=str(self._names_file.with_name(_FILE)), name=name, seat=slot)
            return None
        numbers = self._numbers[row * self.slots : (row + 1) * self.slots]

        def publish(number: int) -> None:
            numbers[slot] = number

        def others() -> int:
            return sum(numbers) - numbers[slot]

        def minimum() -> int:
            return min((number for other, number in enumerate(numbers) if number and other != slot), default=0)

        publish(0)
        return SharedCounterRow(publish, others, minimum)

    def _row(self, name: str) -> int | None:
        if name in self._names:
            return self._names[name]
        fd = os.open(self._names_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, 'r+b') as file:
            fcntl.flock(fd, fcntl.LOCK_EX)
            file.seek(self._read)
            for line in file.readlines():
                self._names[json.loads(line)] = len(self._names)
            if name not in self._names and len(self._names) < ROWS:
                file.write(json.dumps(name).encode() + b'\n')
                self._names[name] = len(self._names)
            self._read = file.tell()
        return self._names.get(name)


def create_counters_file(work: Path, workers: int) -> SharedCounters:
    """Create an empty counters file with slots for the given number of workers, and for the same number of workers that
    are draining. Workers of an earlier parent process keep using the old file."""
    for name in (_FILE, _NAMES):
        (work / name).unlink(missing_ok=True)
    fd = os.open(work / _FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    os.ftruncate(fd, ROWS * max(_MIN_SLOTS, 2 * workers + 4) * _SIZE)
    os.close(fd)
    return SharedCounters(work)
