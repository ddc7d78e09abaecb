"""Files that nobody else may read, written whole or not at all."""

from __future__ import annotations

import json
import os
from pathlib import Path

PRIVATE_DIR, PRIVATE_FILE = 0o700, 0o600


def make_dir(path: Path) -> Path:
    """A directory of ours alone, its parents included, whatever the umask."""
    if not path.is_dir():
        make_dir(path.parent)
        path.mkdir(mode=PRIVATE_DIR)
        path.chmod(PRIVATE_DIR)
    return path


def write(path: Path, text: str) -> None:
    """Put a file of ours alone in place in one step: a reader sees the old text or the new one. Raises OSError."""
    aside = path.with_name(f'.{path.name}.{os.getpid()}')
    try:
        aside.unlink(missing_ok=True)
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE_FILE)
    except OSError as error:
        error.filename = str(path)  # the file that people know of
        raise
    try:
        with os.fdopen(descriptor, 'w', encoding='utf-8') as file:
            os.fchmod(file.fileno(), PRIVATE_FILE)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def toml_string(text: str) -> str:
    """Text as a TOML basic string: JSON's escapes are TOML's, save for DEL, which only TOML wants escaped."""
    return json.dumps(text, ensure_ascii=False).replace('\x7f', '\\u007f')


def is_private(path: Path) -> bool:
    """Whether group and others are shut out."""
    return path.stat().st_mode & 0o077 == 0
