"""A rotated log file to which several processes append. Its errors do not affect the rest of the process.

Each write is one call with O_APPEND, so the kernel keeps those of several processes apart. Before it, a stat of the
path checks that it is still the open file: tools that rotate it, such as logrotate, need not send a signal. One process
at a time rotates the files of a directory, under a lock that the kernel releases.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic

DEFAULT_MAX_BYTES = 20_000_000  # Zato's logging.conf: maxBytes
DEFAULT_KEEP = 10  # Zato's logging.conf: backupCount
ROTATION_LOCK = '.rotation'  # in the log directory
_RETRY = 1.0  # seconds between attempts after an error
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC


def missing_lines_message(count: int, reason: str) -> str:
    """Return the text line that reports that entries are missing."""
    return f'Lines of this log missing here: {count} ({reason})'


class LogFile:
    """Appends entries to a log file. An entry is a line, or a line with a traceback. If writing fails (disk full or
    broken, directory removed), entries are dropped and counted in `lost_entries`, and writing is retried a second
    later. A line with the number of missing entries then precedes the first written entry.

    Not thread-safe, but safe to use from several processes.
    """

    def __init__(
        self,
        path: Path,
        *,
        max_bytes: int = DEFAULT_MAX_BYTES,
        keep: int = DEFAULT_KEEP,
        mode: int = 0o640,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """Raises OSError if the file cannot be opened."""
        self.path = path
        self.lost_entries = 0  # number of entries since the start
        self.make_notice: Callable[[int, str], str] = missing_lines_message
        self._mode = mode
        self._clock = clock
        self._unreported = 0  # entries lost since the last successful write
        self._reason = ''
        self._retry_at = 0.0
        self._is_torn = False  # whether the file ends in the middle of a line
        self.set_limits(max_bytes, keep)
        self._fd, self._identity = self._open()

    def set_limits(self, max_bytes: int, keep: int) -> None:
        """Rotate a file of `max_bytes` to .1, and keep the files up to .`keep`."""
        self._max, self._keep = max_bytes, keep
        self._full_at = max_bytes

    def append(self, entries: Sequence[str]) -> None:
        """Write the entries and their line ends in one write. Never raises."""
        if self._unreported and self._clock() < self._retry_at:
            self._count_lost(len(entries))
            return
        data = ('\n'.join(entries) + '\n').encode('utf-8', 'backslashreplace')
        try:
            size = self._follow_path()
        except OSError as error:
            self._on_error(error, len(entries))
            return
        if size and size + len(data) > self._full_at:
            self._rotate(size)
        notice = self._notice_bytes()
        written, write_error = _write(self._fd, notice + data)
        if write_error is None:
            self._unreported, self._is_torn = 0, False
            return
        if written:
            self._is_torn = not (notice + data)[:written].endswith(b'\n')
        if written >= len(notice) > 1:
            self._unreported = 0
        self._on_error(write_error, len(entries) - _count_complete(entries, written - len(notice)))

    def reopen(self) -> None:
        """Open the path again after the file was moved; if that fails, continue with the old file."""
        if self._fd >= 0:
            with suppress(OSError):
                self._renew()

    def close(self) -> None:
        """Close the file; idempotent. Entries appended later are lost."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _open(self) -> tuple[int, tuple[int, int]]:
        fd = os.open(self.path, _FLAGS, self._mode)
        stat = os.fstat(fd)
        return fd, (stat.st_dev, stat.st_ino)

    def _follow_path(self) -> int:
        """Return the size of the file at the path, after opening it if it is not the open one. Raises OSError if the
        open file was removed and no other can be created: writes to it would be lost."""
        if self._fd < 0:
            return 0
        size = self._current_size()
        if size is not None:
            return size
        try:
            return self._renew()
        except OSError:
            stat = os.fstat(self._fd)
            if stat.st_nlink:  # moved, and still linked somewhere
                return 0
            raise

    def _current_size(self) -> int | None:
        """Return the size of the open file, None if it is not the one at the path."""
        try:
            stat = self.path.stat()
        except OSError:
            return None
        return stat.st_size if (stat.st_dev, stat.st_ino) == self._identity else None

    def _renew(self) -> int:
        with suppress(OSError):
            self.path.parent.mkdir(mode=0o750)  # it may have been removed with its content
        fd, which = self._open()
        os.close(self._fd)
        self._fd, self._identity, self._is_torn = fd, which, False
        return os.fstat(fd).st_size

    def _rotate(self, size: int) -> None:
        # A directory in which files cannot be renamed must not cost a line: the file keeps growing, and rotation is
        # tried again after it has grown by as much. A rotation by another process is not waited for: the next check
        # sees its result.
        try:
            lock = os.open(self.path.parent / ROTATION_LOCK, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            self._full_at = size + self._max
            return
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if self._current_size() is not None:  # otherwise another process was faster
                self._shift_numbers()
            self._renew()
            self._full_at = self._max
        except BlockingIOError:
            pass  # another process is rotating
        except OSError:
            self._full_at = size + self._max
        finally:
            os.close(lock)

    def _shift_numbers(self) -> None:
        free = next((number for number in range(1, self._keep) if not self._numbered(number).exists()), self._keep)
        for number in range(free - 1, 0, -1):
            self._numbered(number).rename(self._numbered(number + 1))
        self.path.rename(self._numbered(1))

    def _numbered(self, number: int) -> Path:
        return self.path.with_name(f'{self.path.name}.{number}')

    def _notice_bytes(self) -> bytes:
        start = b'\n' if self._is_torn else b''
        if not self._unreported:
            return start
        return start + f'{self.make_notice(self._unreported, self._reason)}\n'.encode()

    def _on_error(self, error: OSError, entries: int) -> None:
        self._reason = error.strerror or str(error)
        self._retry_at = self._clock() + _RETRY
        self._count_lost(entries)

    def _count_lost(self, entries: int) -> None:
        self.lost_entries += entries
        self._unreported += entries


def _write(fd: int, data: bytes) -> tuple[int, OSError | None]:
    """Write the data; returns how many bytes were written, and the error if not all were."""
    done = 0
    view = memoryview(data)
    try:
        while done < len(data):
            done += os.write(fd, view[done:])
    except OSError as error:
        return done, error
    return done, None


def _count_complete(entries: Sequence[str], count: int) -> int:
    """Return how many entries are complete within the first `count` bytes."""
    complete = 0
    for entry in entries:
        count -= len(entry.encode('utf-8', 'backslashreplace')) + 1
        if count < 0:
            break
        complete += 1
    return complete
