"""What lies in a pickup directory, and which of it is ready to be taken. The looking blocks; the deciding is pure."""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from zatotx.model.errors import BadRequest
from zatotx.service.deployment.package import MAX_CONTENT, MAX_MEMBERS, is_junk, pack_directory

RESTING = 3  # looks in a row that find an entry unchanged before it is taken
_SUFFIXES = ('.py', '.pyw', '.zip', '.tar', '.tgz', '.gz', '.bz2', '.xz')  # the last ones to be refused aloud


class FileMark(msgspec.Struct, frozen=True):
    """How an entry looked: it has changed when its prints differ."""

    is_directory: bool
    prints: tuple[tuple[str, int, int, int], ...]  # (path, inode, size, mtime in ns)


class TakenFile(msgspec.Struct, frozen=True):
    """An entry as it was read. `name` is what the deployer is told: 'crm.py', or 'crm.zip' for a directory."""

    name: str
    mark: FileMark | None
    content: bytes = b''
    trouble: str = ''  # why it could not be read


def scan(directory: str) -> dict[str, FileMark]:
    """All entries somebody may mean to deploy. Raises OSError where the directory cannot be read."""
    marks = {}
    for entry in sorted(Path(directory).iterdir()):
        mark = scan_entry(entry)
        if mark is not None:
            marks[entry.name] = mark
    return marks


def scan_entry(entry: Path) -> FileMark | None:
    """How an entry looks now; None where it is gone, or nothing that could be deployed."""
    if is_junk(entry.name):
        return None
    try:
        seen = entry.stat()
        if stat.S_ISDIR(seen.st_mode):
            return FileMark(True, tuple(_prints(entry, entry)))
    except OSError:
        return None
    if not stat.S_ISREG(seen.st_mode) or not entry.name.lower().endswith(_SUFFIXES):
        return None
    return FileMark(False, (('', seen.st_ino, seen.st_size, seen.st_mtime_ns),))


def _prints(directory: Path, root: Path) -> Iterator[tuple[str, int, int, int]]:
    for count, entry in enumerate(sorted(directory.iterdir())):
        if is_junk(entry.name) or count > MAX_MEMBERS:
            continue
        seen = entry.lstat()
        if stat.S_ISDIR(seen.st_mode):
            yield from _prints(entry, root)
        else:
            yield entry.relative_to(root).as_posix(), seen.st_ino, seen.st_size, seen.st_mtime_ns


def changed_at(directory: str, name: str) -> float:
    """When an entry, or anything in it, was last written or moved there, in unix time; 0 where it is gone."""
    entry = Path(directory, name)
    try:
        return max(seen.stat().st_ctime for seen in (entry, *entry.rglob('*')))
    except OSError:
        return 0.0


def take_file(directory: str, name: str) -> TakenFile:
    """Read an entry. What is in the way of that is its `trouble`, never raised."""
    entry = Path(directory, name)
    mark = scan_entry(entry)
    if mark is None:
        return TakenFile(name, None)
    try:
        if mark.is_directory:
            return TakenFile(f'{name}.zip', mark, pack_directory(entry))
        with entry.open('rb') as opened:
            return TakenFile(name, mark, opened.read(MAX_CONTENT + 1))
    except BadRequest as e:
        return TakenFile(name, mark, trouble=e.msg)
    except OSError as e:
        return TakenFile(name, mark, trouble=f'{name}: it cannot be read: {e.strerror or e}')


class SettledFiles:
    """Remembers how entries looked, to tell which ones have come to rest and were not taken as they are now."""

    def __init__(self) -> None:
        self._taken: dict[str, FileMark] = {}
        self._resting: dict[str, tuple[FileMark, int]] = {}  # how it looked, at how many looks in a row

    def settled(self, marks: Mapping[str, FileMark], *, only_directories: bool) -> list[str]:
        """The entries that looked the same at RESTING looks in a row and have not been taken in this form."""
        self._resting = {name: (mark, self._times(name, mark) + 1) for name, mark in marks.items()}
        for name in self._taken.keys() - marks.keys():
            del self._taken[name]
        return [
            name
            for name, (mark, times) in self._resting.items()
            if times >= RESTING and self._taken.get(name) != mark and (mark.is_directory or not only_directories)
        ]

    def _times(self, name: str, mark: FileMark) -> int:
        last, times = self._resting.get(name, (None, 0))
        return times if last == mark else 0

    def took(self, name: str, mark: FileMark) -> None:
        """It was taken as it looked then: not again unless it changes."""
        self._taken[name] = mark
