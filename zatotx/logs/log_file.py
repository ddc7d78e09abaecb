"""A log file on disk: appended to by any number of processes, rotated, and never the reason that something else fails.

Each write is one call with O_APPEND: the kernel keeps those of several processes apart. Before it, one look at the path
tells whether this is still the file of that name: whoever rotates it, an external logrotate included, needs to tell
nobody. Only one process at a time rotates the files of a directory, under a lock that the kernel gives back.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic

MAX_BYTES = 20_000_000  # Zato's logging.conf: maxBytes
KEEP = 10  # Zato's logging.conf: backupCount
LOCK = '.rotation'  # in the directory of the logs
_RETRY = 1.0  # seconds between tries while the disk refuses
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC


def missing_lines_message(count: int, why: str) -> str:
    """The line that stands where entries are missing."""
    return f'Lines of this log missing here: {count} ({why})'


class LogFile:
    """Appends entries, each a line (or a line with its traceback below). Where the disk refuses (full, broken, its
    directory gone), entries are dropped and counted in `lost`, and the file is tried again a second later; the first
    entry it takes then is preceded by a line that says how many are missing.

    Not thread-safe: one thread at a time. Safe among processes.
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
        self.notice: Callable[[int, str], str] = missing_lines_message
        self._mode = mode
        self._clock = clock
        self._untold = 0  # entries lost since the file last took one
        self._why = ''
        self._retry_at = 0.0
        self._torn = False  # the file ends in the middle of a line
        self.limit(max_bytes, keep)
        self._fd, self._which = self._opened()

    def limit(self, max_bytes: int, keep: int) -> None:
        """A file of `max_bytes` becomes .1, and the files up to .`keep` are kept."""
        self._max, self._keep = max_bytes, keep
        self._full_at = max_bytes

    def append(self, entries: Sequence[str]) -> None:
        """Write each entry with its end, all in one write. Never raises."""
        if self._untold and self._clock() < self._retry_at:
            self._lose(len(entries))
            return
        data = ('\n'.join(entries) + '\n').encode('utf-8', 'backslashreplace')
        try:
            size = self._followed()
        except OSError as error:
            self._refused(error, len(entries))
            return
        if size and size + len(data) > self._full_at:
            self._rotate(size)
        notice = self._notice()
        written, wrong = _write(self._fd, notice + data)
        if wrong is None:
            self._untold, self._torn = 0, False
            return
        if written:
            self._torn = not (notice + data)[:written].endswith(b'\n')
        if written >= len(notice) > 1:
            self._untold = 0
        self._refused(wrong, len(entries) - _whole(entries, written - len(notice)))

    def reopen(self) -> None:
        """Open the path anew, after somebody moved the file away; where that fails, the old file is written on."""
        if self._fd >= 0:
            with suppress(OSError):
                self._renew()

    def close(self) -> None:
        """Close the file; idempotent. What is appended later is lost."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _opened(self) -> tuple[int, tuple[int, int]]:
        fd = os.open(self.path, _FLAGS, self._mode)
        found = os.fstat(fd)
        return fd, (found.st_dev, found.st_ino)

    def _followed(self) -> int:
        """The size of the file at the path, which is the one that is open from now on. Raises OSError where it is gone
        and no other can be made: what were written to it would be nowhere."""
        if self._fd < 0:
            return 0
        size = self._size_of_ours()
        if size is not None:
            return size
        try:
            return self._renew()
        except OSError:
            found = os.fstat(self._fd)
            if found.st_nlink:  # moved, and still to be found somewhere
                return 0
            raise

    def _size_of_ours(self) -> int | None:
        """None where another file, or none, is at the path."""
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_size if (found.st_dev, found.st_ino) == self._which else None

    def _renew(self) -> int:
        with suppress(OSError):
            self.path.parent.mkdir(mode=0o750)  # it may have been removed with all that was in it
        fd, which = self._opened()
        os.close(self._fd)
        self._fd, self._which, self._torn = fd, which, False
        return os.fstat(fd).st_size

    def _rotate(self, size: int) -> None:
        # A directory that lets nothing be renamed must not cost a line: the file grows on and is tried again when it
        # has grown by as much once more. Nor does anybody wait for who rotates just now: the next look finds it done.
        try:
            lock = os.open(self.path.parent / LOCK, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            self._full_at = size + self._max
            return
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if self._size_of_ours() is not None:  # else another process was quicker
                self._shift()
            self._renew()
            self._full_at = self._max
        except BlockingIOError:
            pass  # somebody else rotates
        except OSError:
            self._full_at = size + self._max
        finally:
            os.close(lock)

    def _shift(self) -> None:
        free = next((number for number in range(1, self._keep) if not self._numbered(number).exists()), self._keep)
        for number in range(free - 1, 0, -1):
            self._numbered(number).rename(self._numbered(number + 1))
        self.path.rename(self._numbered(1))

    def _numbered(self, number: int) -> Path:
        return self.path.with_name(f'{self.path.name}.{number}')

    def _notice(self) -> bytes:
        start = b'\n' if self._torn else b''
        if not self._untold:
            return start
        return start + f'{self.notice(self._untold, self._why)}\n'.encode()

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
