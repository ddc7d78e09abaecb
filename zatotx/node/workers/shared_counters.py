"""Counts that the workers of a server share: a file in work/ that all of them have mapped into their memory.

Each count is a row of numbers, one a seat: a worker writes its own and reads those of the others, without a lock and
without asking anybody. A worker that died leaves no counts behind: its parent clears its seat, and so does whoever sits
down there next. Which row has which name stands in a second file, that only grows.
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

ROWS = 4096  # names: more counts than any server has; those beyond count each worker alone
_LEAST_SEATS = 16
_FILE, _NAMES = 'board', 'board.names'
_SIZE = 4  # bytes of a number


@frozen
class SharedCounterRow:
    """One count as one worker has it."""

    publish: Callable[[int], None]  # this worker's number
    others: Callable[[], int]  # the sum of the others'
    least: Callable[[], int]  # the smallest of the others' that is not 0; 0 where there is none


class SharedCounters:
    """The mapped file."""

    _log = Logger()

    def __init__(self, work: Path) -> None:
        """Raises OSError where there is none: `make_board` makes it."""
        self._names_file = work / _NAMES
        fd = os.open(work / _FILE, os.O_RDWR | os.O_CLOEXEC)
        try:
            self._map = mmap.mmap(fd, 0)
        finally:
            os.close(fd)
        self._numbers = memoryview(self._map).cast('i')
        self.seats = len(self._numbers) // ROWS
        self._names: dict[str, int] = {}
        self._read = 0  # bytes of the names' file that are known
        self._told = False

    def clear(self, seat: int) -> None:
        """Nobody sits there any more, or somebody new."""
        if seat < self.seats:
            for row in range(ROWS):
                self._numbers[row * self.seats + seat] = 0

    def shared(self, name: str, seat: int) -> SharedCounterRow | None:
        """The count of that name for the worker of that seat; None where there is no room for it. Blocks for as long as
        it takes to read and write a line in a file."""
        row = self._row(name)
        if row is None or seat >= self.seats:
            if not self._told:
                self._told = True
                self._log.warn('There is no room on {where} for {name} of worker {seat}: it is counted in each worker'
                               ' alone', where=str(self._names_file.with_name(_FILE)), name=name, seat=seat)
            return None
        numbers = self._numbers[row * self.seats : (row + 1) * self.seats]

        def publish(number: int) -> None:
            numbers[seat] = number

        def others() -> int:
            return sum(numbers) - numbers[seat]

        def least() -> int:
            return min((number for other, number in enumerate(numbers) if number and other != seat), default=0)

        publish(0)
        return SharedCounterRow(publish, others, least)

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
    """An empty board with seats for so many workers, and for as many that drain beside them. The workers of an earlier
    parent keep theirs."""
    for name in (_FILE, _NAMES):
        (work / name).unlink(missing_ok=True)
    fd = os.open(work / _FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    os.ftruncate(fd, ROWS * max(_LEAST_SEATS, 2 * workers + 4) * _SIZE)
    os.close(fd)
    return SharedCounters(work)
