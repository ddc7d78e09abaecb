"""Scans a pickup directory, and decides which entries are ready to deploy. The scan blocks, and the decisions are pure
functions."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from zatotx.model.errors import BadRequest
from zatotx.service.deployment.source_package import MAX_CONTENT, MAX_MEMBERS, is_ignored_file, zip_directory

SETTLED_AFTER_SCANS = 3  # consecutive scans in which an entry must be unchanged before it is deployed
# Unsupported archives are read too, so that they are rejected with a message.
_SUFFIXES = ('.py', '.pyw', '.zip', '.tar', '.tgz', '.gz', '.bz2', '.xz')


class EntryFingerprint(msgspec.Struct, frozen=True):
    """A fingerprint of a directory entry, which differs after every change of the entry."""

    is_directory: bool
    file_stats: tuple[tuple[str, int, int, int], ...]  # (path, inode, size, mtime in ns)


class EntryContent(msgspec.Struct, frozen=True):
    """The content of a directory entry. `name` is the name under which the content is deployed: 'crm.py', or 'crm.zip'
    for a directory."""

    name: str
    fingerprint: EntryFingerprint | None
    content: bytes = b''
    error: str = ''  # why the entry could not be read


def scan_directory(directory: str) -> dict[str, EntryFingerprint]:
    """Return the fingerprints of all entries that can be deployed. Raises OSError if the directory cannot be read."""
    marks = {}
    for entry in sorted(Path(directory).iterdir()):
        mark = fingerprint_entry(entry)
        if mark is not None:
            marks[entry.name] = mark
    return marks


def fingerprint_entry(entry: Path) -> EntryFingerprint | None:
    """Return the fingerprint of an entry, or None if it no longer exists or cannot be deployed."""
    if is_ignored_file(entry.name):
        return None
    try:
        status = entry.stat()
        if stat.S_ISDIR(status.st_mode):
            return EntryFingerprint(True, tuple(_prints(entry, entry)))
    except OSError:
        return None
    if not stat.S_ISREG(status.st_mode) or not entry.name.lower().endswith(_SUFFIXES):
        return None
    return EntryFingerprint(False, (('', status.st_ino, status.st_size, status.st_mtime_ns),))


def _prints(directory: Path, root: Path) -> Iterator[tuple[str, int, int, int]]:
    """Yield path, inode, size and mtime (ns) of every file in a directory."""
    for count, entry in enumerate(sorted(directory.iterdir())):
        if is_ignored_file(entry.name) or count > MAX_MEMBERS:
            continue
        status = entry.lstat()
        if stat.S_ISDIR(status.st_mode):
            yield from _prints(entry, root)
        else:
            yield entry.relative_to(root).as_posix(), status.st_ino, status.st_size, status.st_mtime_ns


def last_change_time(directory: str, name: str) -> float:
    """Return the Unix time at which an entry, or a file in it, was last written or moved, or 0 if the entry no longer
    exists."""
    entry = Path(directory, name)
    try:
        return max(path.stat().st_ctime for path in (entry, *entry.rglob('*')))
    except OSError:
        return 0.0


def read_entry(directory: str, name: str) -> EntryContent:
    """Read a directory entry. Errors are returned in the attribute `error` instead of being raised."""
    entry = Path(directory, name)
    mark = fingerprint_entry(entry)
    if mark is None:
        return EntryContent(name, None)
    try:
        if mark.is_directory:
            return EntryContent(f'{name}.zip', mark, zip_directory(entry))
        with entry.open('rb') as stream:
            return EntryContent(name, mark, stream.read(MAX_CONTENT + 1))
    except BadRequest as error:
        return EntryContent(name, mark, error=error.msg)
    except OSError as error:
        return EntryContent(name, mark, error=f'{name}: it cannot be read: {error.strerror or error}')


class SettledEntries:
    """Decides which entries can be deployed. Such an entry has not changed for several scans, and has not been deployed
    in its current state."""

    def __init__(self) -> None:
        self._deployed: dict[str, EntryFingerprint] = {}
        self._unchanged_scans: dict[
            str, tuple[EntryFingerprint, int]
        ] = {}  # fingerprint, and in how many consecutive scans it was seen

    def find_settled(self, marks: Mapping[str, EntryFingerprint], *, only_directories: bool) -> list[str]:
        """Return the entries unchanged in RESTING consecutive scans and not yet deployed in this state."""
        self._unchanged_scans = {name: (mark, self._times(name, mark) + 1) for name, mark in marks.items()}
        for name in self._deployed.keys() - marks.keys():
            del self._deployed[name]
        return [
            name
            for name, (mark, times) in self._unchanged_scans.items()
            if times >= SETTLED_AFTER_SCANS
            and self._deployed.get(name) != mark
            and (mark.is_directory or not only_directories)
        ]

    def _times(self, name: str, mark: EntryFingerprint) -> int:
        last, times = self._unchanged_scans.get(name, (None, 0))
        return times if last == mark else 0

    def mark_deployed(self, name: str, mark: EntryFingerprint) -> None:
        """Record that an entry was deployed; it is deployed again only if it changes."""
        self._deployed[name] = mark
