"""Stores uploaded files on disk, from the first received byte until the service that processes the upload has finished.
All functions block, and run in threads.

What is on the disk decides what an upload is, so that the process may be killed at every step:

==============================================  =====================================================
on the disk                                     state
==============================================  =====================================================
NAME with the mode bit INCOMPLETE               cut or in progress; can be resumed; is not delivered
NAME without it                                 complete, not to be delivered before it is renamed
.zatotx/received/ID.json, ID/NAME               received: to be delivered, or being delivered
.zatotx/received/ID.json alone                  either not received, or settled: is removed
processed/NAME, failed/NAME                     settled
==============================================  =====================================================

The rename from NAME to ID/NAME makes an upload received. Its bytes and its record are on the disk before (fsync), the
directories after it, and only then the client gets its reply.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path as FilePath
from threading import Lock
from time import time
from uuid import uuid4

import msgspec
from attrs import define, field

from zatotx.plugins.ftp.server.command_syntax import Path
from zatotx.plugins.ftp.server.file_tree import (
    DIRECTORY_MODE,
    FAILED,
    FILE_MODE,
    INCOMPLETE,
    WORK,
    FileTree,
    check_regular,
    check_reserved,
)

_BLOCK = 1 << 20


class UploadRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The record of a received upload. `id` identifies the delivery, and remains the same when the delivery is
    repeated."""

    id: str
    name: str  # below the directory, components separated by '/'
    size: int
    sha256: str
    user: str
    received_at: float  # seconds since the epoch
    redelivered: bool = False  # whether its service may have had it before


@define(eq=False)
class UploadFile:
    """A file that is being received. `close` may be called while another thread writes."""

    path: Path
    store: UploadStore
    parent: int  # descriptor of its directory
    file: int
    offset: int  # where the next byte goes
    claimed: tuple[int, int, str]
    start: int  # where the first byte went
    _hash: hashlib._Hash | None = None  # None where the upload was resumed
    _lock: Lock = field(factory=Lock, init=False)
    _is_closed: bool = field(default=False, init=False)

    def write(self, data: bytes) -> None:
        """Append bytes. Raises OSError."""
        with self._lock:
            if self._is_closed:
                raise OSError(errno.EBADF, 'the upload was ended')
            rest = memoryview(data)
            while rest:
                written = os.write(self.file, rest)
                rest = rest[written:]
            if self._hash is not None:
                self._hash.update(data)
            self.offset += len(data)

    def sha256(self) -> str:
        """Return the hash of the whole file."""
        return hash_file(self.file) if self._hash is None else self._hash.hexdigest()

    def close(self) -> None:
        """Release the file. What was received of it stays."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            os.close(self.file)
            os.close(self.parent)
            self.store.tree.release(self.claimed)


@define(eq=False)
class UploadStore:
    """The stored uploads of one directory. `now` returns seconds since the epoch."""

    tree: FileTree
    now: Callable[[], float] = time
    _lock_file: int = field(default=-1, init=False)
    _moving: Lock = field(factory=Lock, init=False)
    _planned: dict[str, FilePath] = field(factory=dict, init=False)  # by the id of an upload that is to fail

    @property
    def received(self) -> FilePath:
        """The directory of the uploads that are not settled."""
        return self.tree.root / WORK / 'received'

    def open(self) -> list[UploadRecord]:
        """Make the directory where it is missing, and take it for this process. Returns the uploads that a process
        before left, the oldest first. Raises OSError, BlockingIOError where another process has the directory."""
        self.received.mkdir(DIRECTORY_MODE, parents=True, exist_ok=True)
        lock_file = os.open(self.tree.root / WORK / 'lock', os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
        try:
            fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock_file)
            raise
        self._lock_file = lock_file
        return self._recover()

    def close(self) -> None:
        """Leave the directory to other processes."""
        if self._lock_file >= 0:
            os.close(self._lock_file)
            self._lock_file = -1

    def begin(self, path: Path, offset: int | None) -> UploadFile:
        """Begin to receive a file, at an offset or at its end (None). Raises OSError; EINVAL for an offset beyond the
        end of the file."""
        check_reserved(path)
        parent = self.tree.directory_descriptor(path[:-1])
        try:
            claimed = self.tree.claim(parent, path[-1])
        except BaseException:
            os.close(parent)
            raise
        try:
            file = self.tree.open_to_write(parent, path[-1])
            try:
                start = self._prepare(file, offset)
            except BaseException:
                os.close(file)
                raise
        except BaseException:
            self.tree.release(claimed)
            os.close(parent)
            raise
        return UploadFile(path, self, parent, file, start, claimed, start, None if start else hashlib.sha256())

    def keep(self, upload: UploadFile) -> None:
        """Make a complete upload a file of its directory, to be delivered when it is renamed. Raises OSError."""
        try:
            os.fsync(upload.file)
            os.fchmod(upload.file, FILE_MODE)
            os.fsync(upload.parent)
        finally:
            upload.close()

    def receive(self, upload: UploadFile, user: str) -> UploadRecord:
        """Make a complete upload a received one. Raises OSError; it stays incomplete then, and can be resumed."""
        try:
            os.fsync(upload.file)
            return self._receive(upload.file, upload.parent, upload.path[-1], (upload.path, user, upload.sha256()))
        finally:
            upload.close()

    def receive_renamed(self, source: Path, target: Path, user: str) -> UploadRecord:
        """Make a complete file of the directory a received one, under its new name, which replaces a file. Raises
        OSError; EBUSY where its upload was cut."""
        with self.tree.open_parent(target) as (to, new), self.tree.open_parent(source) as (parent, name):
            self._check_replaceable(to, new)
            claimed = self.tree.claim(parent, name)
            try:
                file = self.tree.open_to_read(source)
                try:
                    record = self._receive(file, parent, name, (target, user, hash_file(file)))
                finally:
                    os.close(file)
                with suppress(FileNotFoundError):  # the rest of a cut upload is replaced, as by any other rename
                    os.unlink(new, dir_fd=to)
                return record
            finally:
                self.tree.release(claimed)

    def is_complete_file(self, path: Path) -> bool:
        """Return whether a name is a file whose upload was not cut, and not a directory. Raises OSError; EBUSY for a
        file that was cut."""
        if self.tree.find(path).is_directory:
            return False
        os.close(self.tree.open_to_read(path))
        return True

    def path_of(self, record: UploadRecord) -> FilePath:
        """Return where the bytes of an upload are until it is settled."""
        return self.received / record.id / record.name.rpartition('/')[2]

    def plan_failure(self, record: UploadRecord) -> FilePath:
        """Return the path that an upload will have after `settle` with `failed`. Raises OSError."""
        with self._moving:
            if record.id not in self._planned:
                self._planned[record.id] = self._free_target(record, FAILED)
            return self._planned[record.id]

    def settle(self, record: UploadRecord, folder: str) -> None:
        """Move an upload to `processed` or `failed`. A file that its service has moved or deleted is left alone.
        Raises OSError."""
        source = self.path_of(record)
        if source.exists():
            with self._moving:  # otherwise two uploads of one name could get the same target
                planned = self._planned.get(record.id) if folder == FAILED else None
                target = self._free_target(record, folder) if planned is None else planned
                source.rename(target)
                self._planned.pop(record.id, None)
            _sync_directory(target.parent)
        (self.received / f'{record.id}.json').unlink(missing_ok=True)
        shutil.rmtree(source.parent, ignore_errors=True)

    def _prepare(self, file: int, offset: int | None) -> int:
        size = os.fstat(file).st_size
        start = size if offset is None else offset
        if start > size:
            raise OSError(errno.EINVAL, 'the offset is beyond the end of the file')
        os.fchmod(file, FILE_MODE | INCOMPLETE)
        os.ftruncate(file, start)
        os.lseek(file, start, os.SEEK_SET)
        return start

    def _receive(self, file: int, parent: int, name: str, described: tuple[Path, str, str]) -> UploadRecord:
        path, user, sha256 = described
        record = UploadRecord(id=uuid4().hex, name='/'.join(path), size=os.fstat(file).st_size, sha256=sha256,
                              user=user, received_at=self.now())  # fmt: skip
        private = self.received / record.id
        try:
            private.mkdir(DIRECTORY_MODE)
            _write_durably(self.received / f'{record.id}.json', msgspec.json.encode(record))
            _sync_directory(self.received)
            os.rename(name, private / path[-1], src_dir_fd=parent)
        except BaseException:
            (self.received / f'{record.id}.json').unlink(missing_ok=True)
            shutil.rmtree(private, ignore_errors=True)
            raise
        os.fchmod(file, FILE_MODE)
        for directory in (private, self.received):
            _sync_directory(directory)
        os.fsync(parent)
        return record

    def _check_replaceable(self, parent: int, name: str) -> None:
        if self.tree.is_busy(parent, name):
            raise OSError(errno.EBUSY, 'it is being uploaded')
        with suppress(FileNotFoundError):
            check_regular(os.stat(name, dir_fd=parent, follow_symlinks=False))

    def _recover(self) -> list[UploadRecord]:
        records = []
        for file in self.received.glob('*.json'):
            try:
                record = msgspec.json.decode(file.read_bytes(), type=UploadRecord)
            except msgspec.DecodeError:  # it was being written: the upload has not been received
                file.unlink()
                continue
            if self.path_of(record).exists():
                records.append(msgspec.structs.replace(record, redelivered=True))
            else:
                file.unlink()
        for directory in self.received.iterdir():
            if directory.is_dir() and not (self.received / f'{directory.name}.json').exists():
                shutil.rmtree(directory, ignore_errors=True)
        return sorted(records, key=lambda record: record.received_at)

    def _free_target(self, record: UploadRecord, folder: str) -> FilePath:
        """Return a path of which nothing exists yet."""
        root = self.tree.root / folder
        wanted = root / record.name
        try:
            wanted.parent.mkdir(DIRECTORY_MODE, parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):  # a file has the name of the directory
            wanted = root / record.name.rpartition('/')[2]
        if not os.path.lexists(wanted) and wanted not in self._planned.values():
            return wanted
        stem = wanted.stem.encode()[:200].decode('utf-8', 'ignore')
        return wanted.with_name(f'{stem}.{record.id}{wanted.suffix.encode()[:20].decode("utf-8", "ignore")}')


def hash_file(descriptor: int) -> str:
    """Return the SHA-256 hash of an open file."""
    digest, position = hashlib.sha256(), 0
    while data := os.pread(descriptor, _BLOCK, position):
        digest.update(data)
        position += len(data)
    return digest.hexdigest()


def _write_durably(path: FilePath, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
    try:
        os.write(descriptor, data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_directory(path: FilePath) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
