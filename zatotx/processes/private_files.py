"""Reads the files that configuration values of the form `file:PATH` name. These are small UTF-8 files that only their
owner can read.
"""

from __future__ import annotations

import os
import stat
from functools import partial
from pathlib import Path

from zatotx.rules.enmasse.reference_resolution import FileReader

MAX_BYTES = 1024 * 1024  # bytes


def make_private_file_reader(directory: Path) -> FileReader:
    """Return a function that reads referenced files. Relative paths are relative to `directory`."""
    return partial(read_private_file, directory)


def read_private_file(base_directory: Path, path: str) -> str:
    """Return the text of a file without its trailing newline. `path` is absolute, or relative to `base_directory`.
    Raises ValueError if the file is missing, accessible to others, too large or not text. The message is one sentence
    that contains the name of the file."""
    if not path.strip() or '\0' in path:
        raise ValueError("'file:' names no file")
    full_path = base_directory / path
    try:
        # Without O_NONBLOCK, opening a FIFO would block.
        descriptor = os.open(full_path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, 'rb') as file:
            _check(full_path, os.fstat(descriptor))
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ValueError(f'the file {full_path} cannot be read ({error.strerror})') from None
    if len(content) > MAX_BYTES:
        raise ValueError(f'the file {full_path} has more than {MAX_BYTES} bytes')
    try:
        text = content.decode('utf-8')
    except UnicodeDecodeError:
        raise ValueError(f'the file {path} is not UTF-8 text') from None
    return text.removesuffix('\n').removesuffix('\r') if text.endswith('\n') else text


def _check(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f'{path} is not a regular file')
    if status.st_mode & 0o077:
        raise ValueError(f"the file {path} is open to others: 'chmod 600 {path}'")
