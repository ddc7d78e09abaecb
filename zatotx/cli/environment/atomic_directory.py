"""A directory that comes into being whole: made aside, moved into place at the end.

kill -9 leaves only the directory aside, which the next run removes: its maker held a lock on it that died with it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from zatotx.cli.errors import CommandError

MARK = '.quickstart-'


@contextmanager
def atomic_directory(target: Path, last: str) -> Iterator[Path]:
    """The directory to fill; what is in it is at `target` when the block ends well, and gone otherwise.

    `target` must be absent or empty, else Failure. `last` is the file by which others know a whole one: where the
    directory itself cannot be moved (`target` is a mount point), its entries are, and this one after all others.
    """
    inside = target.is_dir() and (os.path.ismount(target) or not os.access(target.parent, os.W_OK))
    parent, prefix = (target, MARK) if inside else (existing_parent(target), f'.{target.name}{MARK}')
    remove_abandoned(parent, prefix)
    check_empty(target)
    aside = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    lock = os.open(aside, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield aside
        publish(aside, target, last)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        os.close(lock)


def existing_parent(target: Path) -> Path:
    """The directory that will hold the target, made where it is absent. Raises Failure where that cannot be."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(f'{target.parent} cannot be made: {error.strerror}.') from None
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise CommandError(f'{target.parent} is not writable: choose another PATH or change its owner.')
    return target.parent


def check_empty(target: Path) -> None:
    if target.is_symlink() and not target.exists():
        raise CommandError(f'{target} is a link to a place that does not exist: make it, or choose another PATH.')
    if target.exists() and not target.is_dir():
        raise CommandError(f'{target} is a file: choose a PATH that is absent or an empty directory.')
    if target.is_dir() and any(target.iterdir()):
        raise CommandError(f'{target} is not empty: choose a PATH that is absent or an empty directory.')


def remove_abandoned(parent: Path, prefix: str) -> None:
    """Remove what earlier runs that were killed have left."""
    for left in parent.glob(f'{prefix}*'):
        descriptor = os.open(left, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(left)
        except BlockingIOError:
            continue  # its maker is at work
        finally:
            os.close(descriptor)


def publish(aside: Path, target: Path, last: str) -> None:
    """Move what was made into place."""
    if aside.parent != target:
        aside.rename(target.resolve() if target.is_symlink() else target)
        return
    for entry in sorted(aside.iterdir(), key=lambda entry: entry.name == last):
        entry.rename(target / entry.name)
