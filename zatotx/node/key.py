"""The cluster's secret key, as a node finds it: ZATOTX_SECRET_KEY, else config/secret.key."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from zatotx.model.faults import StartError

VARIABLE = 'ZATOTX_SECRET_KEY'


def read_key(path: Path, environ: Mapping[str, str]) -> str:
    """The key's text. Raises StartError where it is missing, or readable by others than its owner."""
    if environ.get(VARIABLE):
        return environ[VARIABLE].strip()
    try:
        mode = path.stat().st_mode & 0o077
        key = path.read_text('ascii').strip()
    except (OSError, UnicodeDecodeError) as error:
        raise StartError(f'The secret key {path} cannot be read ({error}): restore it, or set {VARIABLE}') from None
    if mode:
        raise StartError(f"The secret key {path} can be read by others: 'chmod 600 {path}'")
    return key
