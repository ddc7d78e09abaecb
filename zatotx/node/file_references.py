"""Files that configuration refers to with `file:PATH`: small, of their owner alone, UTF-8."""

from __future__ import annotations

import os
import stat
from functools import partial
from pathlib import Path

from zatotx.rules.enmasse.references import Read

LARGEST = 1024 * 1024  # bytes


def reader(directory: Path) -> Read:
    """What reads the files that a file of that directory refers to."""
    return partial(read_file, directory)


def read_file(directory: Path, path: str) -> str:
    """The text, without its last line end. `path`: absolute, or relative to the directory. Raises ValueError, one
    sentence naming the file, where it is missing, too open, too big or no text."""
    if not path.strip() or '\0' in path:
        raise ValueError("'file:' names no file")
    place = directory / path
    try:
        # Without O_NONBLOCK a FIFO would keep us waiting.
        descriptor = os.open(place, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, 'rb') as file:
            _check(place, os.fstat(descriptor))
            content = file.read(LARGEST + 1)
    except OSError as error:
        raise ValueError(f'the file {place} cannot be read ({error.strerror})') from None
    if len(content) > LARGEST:
        raise ValueError(f'the file {place} has more than {LARGEST} bytes')
    try:
        text = content.decode('utf-8')
    except UnicodeDecodeError:
        raise ValueError(f'the file {place} is no UTF-8 text') from None
    return text.removesuffix('\n').removesuffix('\r') if text.endswith('\n') else text


def _check(place: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise ValueError(f'{place} is no regular file')
    if found.st_mode & 0o077:
        raise ValueError(f"the file {place} is open to others: 'chmod 600 {place}'")
