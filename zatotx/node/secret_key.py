"""The cluster's secret key, as a node finds it: ZATOTX_SECRET_KEY, else config/secret.key. Where it was given on stdin
(`--secret-key -`) it is put where that variable is, in this process alone."""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from zatotx.model.errors import StartError

VARIABLE = 'ZATOTX_SECRET_KEY'
LONGEST = 4096  # bytes of a line with a key, or with the two of a rotation


def read_key(path: Path, environ: Mapping[str, str]) -> str:
    """The key's text. Raises StartError where it is missing, or readable by others than its owner."""
    if environ.get(VARIABLE):
        return environ[VARIABLE].strip()
    try:
        mode = path.stat().st_mode & 0o077
        key = path.read_text('ascii').strip()
    except (OSError, UnicodeDecodeError) as error:
        raise StartError(
            f'The secret key {path} cannot be read ({_reason(error)}): restore it, set {VARIABLE}, or give it on stdin'
            " with '--secret-key -'"
        ) from None
    if mode:
        raise StartError(f"The secret key {path} can be read by others: 'chmod 600 {path}'")
    return key


def _reason(error: OSError | UnicodeDecodeError) -> str:
    """Without what the file holds, which a decoding error quotes."""
    return (error.strerror or 'error') if isinstance(error, OSError) else 'it is no text'


def key_from_stdin() -> str:
    """The first line of stdin, asked for without an echo where a person is there; '' where there is none."""
    stream = sys.stdin
    if stream is None:
        return ''
    if stream.isatty():
        return getpass.getpass('Secret key: ').strip()
    # Not a byte beyond the line is taken: what follows is somebody else's.
    line = b''
    while len(line) < LONGEST and (byte := os.read(stream.fileno(), 1)) not in (b'', b'\n'):
        line += byte
    return line.decode('ascii', 'replace').strip()
