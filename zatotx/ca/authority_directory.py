"""The directory of a certificate authority, which contains its key, its serial numbers, its index, and the issued
files.

The layout is Zato's:

    .zato-ca-dir                          marks the directory
    ca-material/ca-{key,cert,crl}.pem     the authority
    ca-material/ca-serial, ca-crlnumber   the next serial number, the next number of a revocation list, in hexadecimal
    ca-material/ca-certindex              what was issued, in OpenSSL's format
    out-{priv,pub,cert,csr}/NAME-{priv,pub,cert,csr}-YYYY-mm-dd_HH-MM-SS.pem
    out-{priv,pub,cert,csr}/NAME-{priv,pub,cert,csr}.pem     symbolic links to the newest files of that name

Every change holds a lock, and survives the death of the process at any point: the new files are written to
ca-material/pending/SERIAL first, then the entry in the index makes them valid, then they are moved to their places.
What an interrupted change has left is completed, or removed if it is not in the index, by the next change.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from zatotx.ca.certificate_index import IndexEntry, InvalidIndexError, format_index, format_serial, parse_index
from zatotx.ca.errors import AuthorityError
from zatotx.system.atomic_file import write_file

MARKER = '.zato-ca-dir'
MATERIAL = 'ca-material'
KINDS = ('priv', 'pub', 'cert', 'csr')  # of issued files
LOCK_TIMEOUT = 10.0  # seconds to wait for another process that changes the authority
PRIVATE_DIR = 0o700
RANDOM_BITS = 64  # in each serial number: a directory that was restored from a backup repeats none

_LOCK_INTERVAL = 0.02  # seconds
_ISSUED = re.compile(r'(?P<name>.+)-cert-(?P<time>\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d)\.pem')
_TIME_FORM = '%Y-%m-%d_%H-%M-%S'


class IssuedFileName(NamedTuple):
    """The name of a certificate, and the time that is part of its file names."""

    name: str
    time: str

    def file(self, kind: str) -> str:
        return f'{self.name}-{kind}-{self.time}.pem'


def parse_issued_file(file: str) -> IssuedFileName | None:
    """Parse the name of a file in out-cert/. Returns None if the file was not created for an issued certificate."""
    found = _ISSUED.fullmatch(file)
    return IssuedFileName(found['name'], found['time']) if found else None


class AuthorityStore:
    """Reads and writes the files of the authority in `directory`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.material = directory / MATERIAL
        self.key = self.material / 'ca-key.pem'
        self.certificate = self.material / 'ca-cert.pem'
        self.revocation_list = self.material / 'ca-crl.pem'
        self.index = self.material / 'ca-certindex'
        self._serial = self.material / 'ca-serial'
        self._list_number = self.material / 'ca-crlnumber'
        self._pending = self.material / 'pending'
        self._lock_file = self.material / '.lock'
        self._descriptor = -1

    @classmethod
    def create(cls, directory: Path) -> AuthorityStore:
        """Create the directories of an authority without key and certificate; `directory` is absent or empty. Its
        marker is written by `finish`."""
        store = cls(directory)
        for path in (directory, store.material, store._pending, *(directory / f'out-{kind}' for kind in KINDS)):
            path.mkdir(mode=PRIVATE_DIR, exist_ok=True)
            path.chmod(PRIVATE_DIR)
        write_file(store.index, b'', durable=True)
        write_file(store.material / 'ca-certindex.attr', b'unique_subject = no\n', durable=True)
        write_file(store._serial, b'01\n', durable=True)
        write_file(store._list_number, b'01\n', durable=True)
        return store

    def finish(self) -> None:
        """Write the marker, after which the directory is an authority."""
        write_file(self.directory / MARKER, b'', durable=True)

    @property
    def is_authority(self) -> bool:
        """Whether the directory has the marker of an authority."""
        return (self.directory / MARKER).is_file()

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the lock of the authority, and complete or remove what an interrupted change has left. Raises
        AuthorityError if another process holds the lock for LOCK_TIMEOUT seconds."""
        descriptor = os.open(self._lock_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._acquire(descriptor)
            self._descriptor = descriptor
            self._recover()
            yield
        finally:
            self._descriptor = -1
            os.close(descriptor)

    def _acquire(self, descriptor: int) -> None:
        end = time.monotonic() + LOCK_TIMEOUT
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > end:
                    raise AuthorityError(
                        f'Another process is changing {self.directory}: try again when it has finished'
                    ) from None
            time.sleep(_LOCK_INTERVAL)

    # The index

    def read_index(self) -> list[IndexEntry]:
        """Return the entries of the index. Raises AuthorityError if it is missing or damaged."""
        try:
            return parse_index(self.index.read_text('ascii'))
        except InvalidIndexError as error:
            raise AuthorityError(f'{self.index} is damaged in {error}: restore it from a backup') from None
        except FileNotFoundError:
            raise AuthorityError(f'{self.index} is missing: restore it from a backup') from None
        except UnicodeDecodeError:
            raise AuthorityError(f'{self.index} is damaged: it is not ASCII text; restore it from a backup') from None

    def write_index(self, entries: Iterable[IndexEntry]) -> None:
        """Replace the index. The caller holds the lock."""
        self._write(self.index, format_index(entries).encode('ascii'))

    # Numbers

    def reserve_serial(self) -> int:
        """Return a serial number that was never used: the next count, followed by random bits."""
        return self._next(self._serial) << RANDOM_BITS | secrets.randbits(RANDOM_BITS)

    def reserve_list_number(self) -> int:
        """Return the number of the next revocation list."""
        return self._next(self._list_number)

    def _next(self, path: Path) -> int:
        assert self._descriptor >= 0, 'the caller holds the lock'
        try:
            number = int(path.read_text('ascii').strip(), 16)
        except FileNotFoundError:
            raise AuthorityError(f'{path} is missing: restore it from a backup') from None
        except ValueError:
            raise AuthorityError(f'{path} is damaged: it must contain one hexadecimal number') from None
        self._write(path, f'{format_serial(number + 1)}\n'.encode('ascii'))
        return number

    # Issued files

    def new_files(self, name: str, now: datetime) -> IssuedFileName:
        """Return names of files that do not exist yet, of `now` or the next free second. Raises AuthorityError if a
        file is in the place of a link to the newest one."""
        for kind in KINDS:
            link = self._link(name, kind)
            if os.path.lexists(link) and not link.is_symlink() and not self._is_copy(link):
                raise AuthorityError(f'{link} exists and is not a link to an issued file: move it away')
        while True:
            files = IssuedFileName(name, now.strftime(_TIME_FORM))
            if not any(os.path.lexists(self._path(files, kind)) for kind in KINDS):
                return files
            now += timedelta(seconds=1)

    def _is_copy(self, path: Path) -> bool:
        """Whether a file in the place of a link has the content of an issued file, as after a copy that follows links.
        """
        content = path.read_bytes()
        return any(content == each.read_bytes() for each in path.parent.glob(f'{path.stem}-*.pem') if each.is_file())

    def add(self, entry: IndexEntry, files: IssuedFileName, contents: Mapping[str, bytes]) -> None:
        """Add a certificate to the index, and its files, completely or not at all. `contents`: by KINDS."""
        entries = self.read_index()
        staged = self._pending / format_serial(entry.serial)
        self._pending.mkdir(mode=PRIVATE_DIR, exist_ok=True)
        staged.mkdir(mode=PRIVATE_DIR)
        for kind in KINDS:
            write_file(staged / files.file(kind), contents[kind], durable=True)
        self._sync(staged)
        self.write_index([*entries, entry])
        self._publish(staged, files)

    def _publish(self, staged: Path, files: IssuedFileName) -> None:
        """Move staged files to their places, also if some of them are there already."""
        for kind in KINDS:
            source, target = staged / files.file(kind), self._path(files, kind)
            if source.exists():
                try:
                    target.hardlink_to(source)
                except FileExistsError:
                    if not target.samefile(source):
                        raise AuthorityError(f'{target} exists: move it away and try again') from None
                source.unlink()
            self._sync(target.parent)
        for kind in KINDS:
            self._replace_link(self._link(files.name, kind), files.file(kind))
        shutil.rmtree(staged)

    def _recover(self) -> None:
        """Complete what is in the index, and remove what is not."""
        if not self._pending.is_dir():
            return
        by_serial = {format_serial(entry.serial): entry for entry in self.read_index()}
        for staged in sorted(self._pending.iterdir()):
            entry = by_serial.get(staged.name)
            files = parse_issued_file(entry.file) if entry else None
            if files is None:
                shutil.rmtree(staged)
            else:
                self._publish(staged, files)

    def path(self, file: str, kind: str = 'cert') -> Path:
        """Return the path of an issued file, by the name of its certificate's file."""
        files = parse_issued_file(file)
        return self._path(files, kind) if files else self.directory / f'out-{kind}' / file

    def _path(self, files: IssuedFileName, kind: str) -> Path:
        return self.directory / f'out-{kind}' / files.file(kind)

    def _link(self, name: str, kind: str) -> Path:
        return self.directory / f'out-{kind}' / f'{name}-{kind}.pem'

    def current(self, name: str, kind: str) -> Path:
        """Return the path of the link to the newest file of a name."""
        return self._link(name, kind)

    def _replace_link(self, link: Path, target: str) -> None:
        temporary = link.with_name(f'.{link.name}')
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(target)
        temporary.replace(link)
        self._sync(link.parent)

    # The authority's own files

    def write_key(self, content: bytes) -> None:
        """Write the authority's private key."""
        self._write(self.key, content)

    def write_certificate(self, content: bytes) -> None:
        """Replace the authority's certificate."""
        self._write(self.certificate, content)

    def write_revocation_list(self, content: bytes) -> None:
        """Replace the revocation list."""
        self._write(self.revocation_list, content)

    def _write(self, path: Path, content: bytes) -> None:
        write_file(path, content, durable=True)
        self._sync(path.parent)

    def _sync(self, directory: Path) -> None:
        """Make the names in a directory durable."""
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
