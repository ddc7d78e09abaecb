"""Finds the secret key of the cluster. It is in the variable ZATOTX_SECRET_KEY, or otherwise in the file
config/secret.key. A key that is read from stdin (`--secret-key -`) is stored in the variable, in this process only.
"""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from zatotx.model.errors import StartError

KEY_VARIABLE = 'ZATOTX_SECRET_KEY'
MAX_KEY_LINE = 4096  # maximum bytes of the line with the key, or with the two keys of a rotation


def read_cluster_key(path: Path, environ: Mapping[str, str]) -> str:
    """Return the text of the secret key. Raises StartError if the key is missing, or readable by users other than its
    owner."""
    if environ.get(KEY_VARIABLE):
        return environ[KEY_VARIABLE].strip()
    try:
        mode = path.stat().st_mode & 0o077
        key = path.read_text('ascii').strip()
    except (OSError, UnicodeDecodeError) as error:
        raise StartError(
            f'The secret key {path} cannot be read ({_reason(error)}): restore it, set {KEY_VARIABLE}, or pass it on '
            "stdin with '--secret-key -'"
        ) from None
    if mode:
        raise StartError(f"The secret key {path} can be read by others: 'chmod 600 {path}'")
    return key


def _reason(error: OSError | UnicodeDecodeError) -> str:
    """Describe the error without the file's contents, which a decoding error would quote."""
    return (error.strerror or 'error') if isinstance(error, OSError) else 'it is not text'


def read_cluster_key_from_stdin() -> str:
    """Return the first line of stdin, or '' if there is no stdin or no line. On a terminal, the user is prompted
    without echo."""
    stream = sys.stdin
    if stream is None:
        return ''
    if stream.isatty():
        return getpass.getpass('Secret key: ').strip()
    # Reads byte by byte: what follows the line belongs to other readers of stdin.
    line = b''
    while len(line) < MAX_KEY_LINE and (byte := os.read(stream.fileno(), 1)) not in (b'', b'\n'):
        line += byte
    return line.decode('ascii', 'replace').strip()
