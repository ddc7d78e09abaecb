"""Files that only their owner can read, written atomically."""

from __future__ import annotations

import json
import os
from pathlib import Path

PRIVATE_DIR, PRIVATE_FILE = 0o700, 0o600


def make_private_dir(path: Path) -> Path:
    """Create a directory with mode 0700, including its parents, whatever the umask."""
    if not path.is_dir():
        make_private_dir(path.parent)
        path.mkdir(mode=PRIVATE_DIR)
        path.chmod(PRIVATE_DIR)
    return path


def write_private_file(path: Path, text: str) -> None:
    """Write a file with mode 0600 atomically: a reader sees the old text or the new one. Raises OSError."""
    temporary = path.with_name(f'.{path.name}.{os.getpid()}')
    try:
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE_FILE)
    except OSError as error:
        error.filename = str(path)  # report the name that users know
        raise
    try:
        with os.fdopen(descriptor, 'w', encoding='utf-8') as file:
            os.fchmod(file.fileno(), PRIVATE_FILE)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def toml_string(text: str) -> str:
    """Return text as a TOML basic string: JSON's escapes are valid in TOML, except that TOML requires DEL to be
    escaped."""
    return json.dumps(text, ensure_ascii=False).replace('\x7f', '\\u007f')


def is_private(path: Path) -> bool:
    """Whether group and others have no access."""
    return path.stat().st_mode & 0o077 == 0
