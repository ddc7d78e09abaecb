"""Writes files atomically, so that a reader sees either the old or the new content."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from threading import get_ident

PRIVATE_FILE = 0o600  # mode: readable and writable by the owner only


def write_file(path: Path, content: bytes | Iterable[bytes], *, durable: bool = False) -> int:
    """Write a file with mode 0600, regardless of the umask, and return its size in bytes. An existing file at `path` is
    replaced.

    If that fails, the old file stays, and no other file remains. `durable`: the content is on disk when the function
    returns. Blocks; may be called in any thread. Raises OSError with the name of `path`, and what `content` raises.
    """
    temporary = path.with_name(f'.{path.name}.{os.getpid()}-{get_ident()}')
    try:
        temporary.unlink(missing_ok=True)  # an earlier process with the same id was killed
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE_FILE)
        try:
            size = _write(descriptor, content, durable)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        if error.filename == str(temporary):
            error.filename = str(path)  # the name that users know
        raise
    return size


def _write(descriptor: int, content: bytes | Iterable[bytes], durable: bool) -> int:
    with os.fdopen(descriptor, 'wb') as file:
        os.fchmod(descriptor, PRIVATE_FILE)
        for piece in (content,) if isinstance(content, bytes) else content:
            file.write(piece)
        file.flush()
        if durable:
            os.fsync(descriptor)
        return file.tell()
