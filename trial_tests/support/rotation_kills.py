"""Rotates the key of copies of an environment, each killed at another moment: `python -m … ENVIRONMENT DIRECTORY`.

Prints the copies as JSON. The moments are those where the process asks for a rename, a removal or a connection to the
database, and where a transaction is about to be committed: audit events of Python and events of SQLAlchemy tell.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from pathlib import Path

from sqlalchemy import Engine, event

from zatotx.cli.crypto import rotation_steps
from zatotx.cli.environment.environment_layout import find_environment

EVENTS = {'os.rename', 'os.remove', 'sqlite3.connect'}


def rotate(path: Path, at: int) -> None:
    """Rotate; kill this process at that moment, if there are so many; 0: do not kill it."""
    left = [at]

    def moment(*_: object) -> None:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    event.listen(Engine, 'commit', moment)
    sys.addaudithook(lambda name, _: moment() if name in EVENTS else None)
    for step in rotation_steps(find_environment(str(path))):
        step.run()


def main(environment: Path, directory: Path) -> list[str]:
    """The copies that were killed, in the order of their moments. The first rotation is not killed: it imports what all
    others would import again, each in its own process."""
    rotate(Path(shutil.copytree(environment, directory / 'complete')), 0)
    killed: list[str] = []
    while True:
        copy = directory / f'killed{len(killed)}'
        shutil.copytree(environment, copy)
        pid = os.fork()
        if pid == 0:
            rotate(copy, len(killed) + 1)
            os._exit(0)
        status = os.waitpid(pid, 0)[1]
        if status == 0:
            return killed
        if not os.WIFSIGNALED(status):
            raise SystemExit(f'a rotation failed with {status}')
        killed.append(str(copy))


if __name__ == '__main__':
    print(json.dumps(main(Path(sys.argv[1]), Path(sys.argv[2]))))
