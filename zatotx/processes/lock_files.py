"""Advisory lock files for a directory or a Unix socket. The kernel releases a lock when the process that holds it
dies."""

from __future__ import annotations

import errno
import fcntl
import os
from contextlib import suppress
from pathlib import Path

from zatotx.model.errors import StartError


class DirectoryLock:
    """An exclusive lock on a directory, which is held from `acquire` to `release`. The lock file contains the process
    ID of the holder."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None

    def acquire(self) -> None:
        """Acquire the lock. Raises StartError if another process holds it."""
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(fd, 32, 0).decode('ascii', 'replace').strip() or 'unknown'
            os.close(fd)
            raise StartError(
                f'{self._path.parent.parent} is in use by process {holder}: stop that server first'
            ) from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, b'%d\n' % os.getpid(), 0)
        self._fd = fd

    def release(self) -> None:
        """Release the lock. Idempotent."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


class SocketLockFile:
    """The lock file `<path>.lock` of a Unix socket, which is held from `acquire` to `release`.

    Twisted's FilesystemLock is not used: it is a symbolic link that names a process id. If its holder is killed and
    another process gets the id, the lock can never be acquired again.
    """

    def __init__(self, path: str) -> None:
        self._path = f'{path}.lock'
        self._fd: int | None = None

    def acquire(self) -> None:
        """Acquire the lock. Raises OSError if another process holds it."""
        while self._fd is None:
            try:
                fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            except OSError as error:
                if error.errno != errno.ELOOP:
                    raise
                os.unlink(self._path)  # noqa: PTH108 - a symbolic link by Twisted, left by an older version
                continue
            try:
                self._lock(fd)
            except BaseException:
                os.close(fd)
                raise

    def release(self) -> None:
        """Release the lock and remove its file. Idempotent."""
        if self._fd is not None:
            with suppress(FileNotFoundError):
                os.unlink(self._path)  # noqa: PTH108 - before it is released: see _lock
            os.close(self._fd)
            self._fd = None

    def _lock(self, fd: int) -> None:
        """Lock the open file. Leaves `_fd` unset if the last holder has removed the file in the meantime."""
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(fd, 32, 0).decode('ascii', 'replace').strip() or 'another process'
            raise OSError(errno.EADDRINUSE, f'its lock file is held by process {holder}') from None
        try:
            is_current = os.path.samestat(os.fstat(fd), os.stat(self._path))  # noqa: PTH116
        except FileNotFoundError:
            is_current = False
        if not is_current:
            os.close(fd)
            return
        os.ftruncate(fd, 0)
        os.pwrite(fd, b'%d\n' % os.getpid(), 0)
        self._fd = fd
