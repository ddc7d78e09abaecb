"""A log file on disk: appended to, rotated, and never the reason that something else fails."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic

MAX_BYTES = 20_000_000  # Zato's logging.conf: maxBytes
KEEP = 10  # Zato's logging.conf: backupCount
_RETRY = 1.0  # seconds between tries while the disk refuses
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC


class LogFile:
    """Appends entries, each a line (or a line with its traceback below). Where the disk refuses (full, broken),
    entries are dropped and counted in `lost`, and the file is tried again a second later; the first entry it takes then
    is preceded by a line that says how many are missing.

    Not thread-safe: one thread at a time.
    """

    def __init__(
        self,
        path: Path,
        *,
        max_bytes: int = MAX_BYTES,
        keep: int = KEEP,
        mode: int = 0o640,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """Raises OSError where the file cannot be opened now."""
        self.path = path
        self.lost = 0  # entries, since the start
        self._limits = (max_bytes, keep)
        self._mode = mode
        self._clock = clock
        self._untold = 0  # entries lost since the file last took one
        self._why = ''
        self._retry_at = 0.0
        self._torn = False  # the file ends in the middle of a line
        self._fd, self._size = self._opened()

    def append(self, entries: Sequence[str]) -> None:
        """Write each entry with its end, all in one write. Never raises."""
        if self._untold and self._clock() < self._retry_at:
            self._lose(len(entries))
            return
        data = ('\n'.join(entries) + '\n').encode('utf-8', 'backslashreplace')
        if self._size and self._size + len(data) > self._limits[0]:
            self._rotate()
        notice = self._notice()
        written, error = _write(self._fd, notice + data)
        self._size += written
        if error is None:
            self._untold, self._torn = 0, False
            return
        if written:
            self._torn = not (notice + data)[:written].endswith(b'\n')
        if written >= len(notice) > 1:
            self._untold = 0
        self._refused(error, len(entries) - _whole(entries, written - len(notice)))

    def reopen(self) -> None:
        """Open the path anew, after somebody moved the file away; where that fails, the old file is written on."""
        with suppress(OSError):
            fd, size = self._opened()
            os.close(self._fd)
            self._fd, self._size, self._torn = fd, size, False

    def close(self) -> None:
        """Close the file; idempotent. What is appended later is lost."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _opened(self) -> tuple[int, int]:
        fd = os.open(self.path, _FLAGS, self._mode)
        return fd, os.fstat(fd).st_size

    def _rotate(self) -> None:
        # A directory that lets nothing be renamed must not cost a line: the file grows on and is tried again when it
        # has grown by as much once more.
        self._size = 0
        with suppress(OSError):
            for number in range(self._limits[1] - 1, 0, -1):
                with suppress(FileNotFoundError):
                    self._numbered(number).rename(self._numbered(number + 1))
            self.path.rename(self._numbered(1))
            self.reopen()

    def _numbered(self, number: int) -> Path:
        return self.path.with_name(f'{self.path.name}.{number}')

    def _notice(self) -> bytes:
        start = b'\n' if self._torn else b''
        if not self._untold:
            return start
        return start + f'Lines of this log missing here: {self._untold} ({self._why})\n'.encode()

    def _refused(self, error: OSError, entries: int) -> None:
        self._why = error.strerror or str(error)
        self._retry_at = self._clock() + _RETRY
        self._lose(entries)

    def _lose(self, entries: int) -> None:
        self.lost += entries
        self._untold += entries


def _write(fd: int, data: bytes) -> tuple[int, OSError | None]:
    """How many bytes the file took, and why not all of them."""
    done = 0
    view = memoryview(data)
    try:
        while done < len(data):
            done += os.write(fd, view[done:])
    except OSError as error:
        return done, error
    return done, None


def _whole(entries: Sequence[str], count: int) -> int:
    """How many entries lie whole within the first `count` bytes."""
    whole = 0
    for entry in entries:
        count -= len(entry.encode('utf-8', 'backslashreplace')) + 1
        if count < 0:
            break
        whole += 1
    return whole
