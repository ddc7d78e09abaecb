"""Creates directories and files atomically. The files can be read by their owner only."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from zatotx.cli.errors import CommandError
from zatotx.system.atomic_file import write_file

PRIVATE_DIR = 0o700


def make_private_dir(path: Path) -> Path:
    """Create a directory, including its parents, with mode 0700 regardless of the umask."""
    if not path.is_dir():
        make_private_dir(path.parent)
        path.mkdir(mode=PRIVATE_DIR)
        path.chmod(PRIVATE_DIR)
    return path


def write_private_file(path: Path, text: str) -> None:
    """Write a file with mode 0600 atomically, so that a reader sees either the old or the new text. Raises OSError."""
    write_file(path, text.encode('utf-8'), durable=True)


def toml_string(text: str) -> str:
    """Format text as a TOML basic string. The JSON format is used, whose escapes are valid in TOML, and DEL is escaped
    in addition."""
    return json.dumps(text, ensure_ascii=False).replace('\x7f', '\\u007f')


def is_private(path: Path) -> bool:
    """Return whether group and others have no access to a path."""
    return path.stat().st_mode & 0o077 == 0


# Creates a directory atomically: fills a temporary directory and moves it into place at the end.
#
# A process killed with SIGKILL leaves only the temporary directory, which the next run removes: the lock on it is
# released when its creator dies.

PREFIX = '.quickstart-'


@contextmanager
def atomic_directory(target: Path, last: str) -> Iterator[Path]:
    """Context manager that yields a temporary directory. It is renamed to `target` if the block succeeds, and removed
    otherwise.

    `target` must be absent or empty, otherwise CommandError is raised. `last` is the file that marks a complete
    directory: if the directory itself cannot be moved (`target` is a mount point), its entries are moved, and this one
    last.
    """
    inside = target.is_dir() and (os.path.ismount(target) or not os.access(target.parent, os.W_OK))
    parent, prefix = (target, PREFIX) if inside else (existing_parent(target), f'.{target.name}{PREFIX}')
    remove_abandoned(parent, prefix)
    check_empty(target)
    temporary = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    lock = os.open(temporary, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield temporary
        rename_directory_into_place(temporary, target, last)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        os.close(lock)


def existing_parent(target: Path) -> Path:
    """Return the parent directory of the target, and create it if it does not exist. Raises CommandError if that
    fails."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(f'{target.parent} cannot be created: {error.strerror}.') from None
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise CommandError(f'{target.parent} is not writable: choose another PATH or change its owner.')
    return target.parent


def check_empty(target: Path) -> None:
    if target.is_symlink() and not target.exists():
        raise CommandError(f'{target} is a symbolic link to a missing path: create that path, or choose another PATH.')
    if target.exists() and not target.is_dir():
        raise CommandError(f'{target} is a file: choose a PATH that is absent or an empty directory.')
    if target.is_dir() and any(target.iterdir()):
        raise CommandError(f'{target} is not empty: choose a PATH that is absent or an empty directory.')


def remove_abandoned(parent: Path, prefix: str) -> None:
    """Remove the temporary directories of earlier runs that were killed."""
    for abandoned in parent.glob(f'{prefix}*'):
        descriptor = os.open(abandoned, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(abandoned)
        except BlockingIOError:
            continue  # its creator is still running
        finally:
            os.close(descriptor)


def rename_directory_into_place(temporary: Path, target: Path, last: str) -> None:
    """Rename the temporary directory to its target."""
    if temporary.parent != target:
        temporary.rename(target.resolve() if target.is_symlink() else target)
        return
    for entry in sorted(temporary.iterdir(), key=lambda entry: entry.name == last):
        entry.rename(target / entry.name)
