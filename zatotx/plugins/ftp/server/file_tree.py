"""The directory tree of an FTP channel, as its clients access it. All functions block, and run in threads.

Paths are opened one component after another, relative to the directory before, and no symbolic link is followed: what
another process changes meanwhile leads nowhere else. Names of the root that belong to the channel itself are hidden.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path as FilePath
from threading import Lock

from attrs import define, field

from zatotx.plugins.ftp.server.command_syntax import Path, matches
from zatotx.plugins.ftp.server.listing_format import FileEntry

WORK, PROCESSED, FAILED = '.zatotx', 'processed', 'failed'
RESERVED = frozenset((WORK, PROCESSED, FAILED))  # names of the root

FILE_MODE, DIRECTORY_MODE = 0o640, 0o750
INCOMPLETE = stat.S_ISVTX  # the mode bit of a file whose upload has not ended; stays with it when it is renamed

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@define(eq=False)
class FileTree:
    """The files and directories below a channel's root. `root` may be a symbolic link."""

    root: FilePath
    _busy: set[tuple[int, int, str]] = field(factory=set, init=False)  # directories and names that are being uploaded
    _lock: Lock = field(factory=Lock, init=False)

    @contextmanager
    def open_directory(self, path: Path) -> Iterator[int]:
        """A descriptor of a directory. Raises OSError."""
        descriptor = self.directory_descriptor(path)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def directory_descriptor(self, path: Path) -> int:
        """Return a descriptor of a directory, which the caller closes. Raises OSError."""
        check_reserved(path)
        descriptor = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        for part in path:
            try:
                inner = os.open(part, _DIRECTORY, dir_fd=descriptor)
            finally:
                os.close(descriptor)
            descriptor = inner
        return descriptor

    @contextmanager
    def open_parent(self, path: Path) -> Iterator[tuple[int, str]]:
        """A descriptor of the directory that a name is in, and the name. Raises OSError."""
        if not path:
            raise OSError(errno.EACCES, 'the root directory')
        check_reserved(path)
        with self.open_directory(path[:-1]) as parent:
            yield parent, path[-1]

    def find(self, path: Path) -> FileEntry:
        """Return a file or directory. Raises OSError."""
        if not path:
            return _entry('/', self.root.stat())
        with self.open_parent(path) as (parent, name):
            entry = _visible(name, os.stat(name, dir_fd=parent, follow_symlinks=False))
            if entry is None:
                raise FileNotFoundError(errno.ENOENT, 'neither a file nor a directory')
            return entry

    def entries(self, path: Path) -> list[FileEntry]:
        """Return what is in a directory, by name; a file itself. The last component may be a pattern. Raises
        OSError."""
        pattern = path[-1] if path and set(path[-1]) & set('*?[') else ''
        try:
            return self._entries(path)
        except FileNotFoundError:
            if not pattern:
                raise
        return [entry for entry in self._entries(path[:-1]) if matches(entry.name, [pattern])]

    def _entries(self, path: Path) -> list[FileEntry]:
        if path and not self.find(path).is_directory:
            return [self.find(path)]
        entries = []
        with self.open_directory(path) as descriptor, os.scandir(descriptor) as found:
            for each in found:
                if path or each.name not in RESERVED:
                    try:
                        entry = _visible(each.name, each.stat(follow_symlinks=False))
                    except FileNotFoundError:  # it was deleted meanwhile
                        continue
                    if entry is not None:
                        entries.append(entry)
        return sorted(entries, key=lambda entry: entry.name)

    def make_directory(self, path: Path) -> None:
        """Make a directory. Raises OSError."""
        with self.open_parent(path) as (parent, name):
            os.mkdir(name, DIRECTORY_MODE, dir_fd=parent)

    def remove_directory(self, path: Path) -> None:
        """Remove an empty directory. Raises OSError."""
        with self.open_parent(path) as (parent, name):
            os.rmdir(name, dir_fd=parent)

    def delete(self, path: Path) -> None:
        """Delete a file. Raises OSError."""
        with self.open_parent(path) as (parent, name):
            if self.is_busy(parent, name):
                raise OSError(errno.EBUSY, 'it is being uploaded')
            check_regular(os.stat(name, dir_fd=parent, follow_symlinks=False))
            os.unlink(name, dir_fd=parent)

    def rename(self, source: Path, target: Path) -> None:
        """Rename a file or directory. A file may replace another one. Raises OSError."""
        with self.open_parent(source) as (from_, old), self.open_parent(target) as (to, new):
            if self.is_busy(from_, old) or self.is_busy(to, new):
                raise OSError(errno.EBUSY, 'it is being uploaded')
            os.rename(old, new, src_dir_fd=from_, dst_dir_fd=to)

    def open_to_read(self, path: Path) -> int:
        """Return a descriptor of a complete file. Raises OSError."""
        with self.open_parent(path) as (parent, name):
            descriptor = os.open(name, os.O_RDONLY | _FILE, dir_fd=parent)
        return _checked(descriptor, may_be_incomplete=False)

    def open_to_write(self, parent: int, name: str) -> int:
        """Return a descriptor of a file, made where it is missing. Raises OSError."""
        return _checked(os.open(name, os.O_RDWR | os.O_CREAT | _FILE, FILE_MODE, dir_fd=parent))

    def claim(self, parent: int, name: str) -> tuple[int, int, str]:
        """Reserve a name for an upload. Raises OSError EBUSY where another upload has it."""
        key = _key(parent, name)
        with self._lock:
            if key in self._busy:
                raise OSError(errno.EBUSY, 'it is being uploaded')
            self._busy.add(key)
        return key

    def release(self, key: tuple[int, int, str]) -> None:
        """End what `claim` began."""
        with self._lock:
            self._busy.discard(key)

    def is_busy(self, parent: int, name: str) -> bool:
        """Return whether the file is being uploaded."""
        with self._lock:
            return _key(parent, name) in self._busy


def check_reserved(path: Path) -> None:
    """Check that a path contains no name that is reserved for the channel's own files. Raises OSError."""
    if path and path[0] in RESERVED:
        raise OSError(errno.EACCES, 'the name is reserved')


def _key(parent: int, name: str) -> tuple[int, int, str]:
    found = os.fstat(parent)
    return found.st_dev, found.st_ino, name


def _checked(descriptor: int, *, may_be_incomplete: bool = True) -> int:
    try:
        found = os.fstat(descriptor)
        check_regular(found)
        if found.st_mode & INCOMPLETE and not may_be_incomplete:
            raise OSError(errno.EBUSY, 'its upload has not ended')
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def check_regular(found: os.stat_result) -> None:
    """Check that a path is a regular file. Raises OSError."""
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, 'a directory')
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EACCES, 'no regular file')


def _visible(name: str, found: os.stat_result) -> FileEntry | None:
    is_usual = stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)
    return _entry(name, found) if is_usual else None


def _entry(name: str, found: os.stat_result) -> FileEntry:
    return FileEntry(name=name, is_directory=stat.S_ISDIR(found.st_mode), size=found.st_size, modified=found.st_mtime,
                     mode=found.st_mode & 0o777, unique=f'{found.st_dev:x}g{found.st_ino:x}')  # fmt: skip
