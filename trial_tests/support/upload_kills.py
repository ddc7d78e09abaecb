"""Kills a process at every system call with which the store of uploads receives an upload and settles it, and prints
what the next process finds: one line of JSON for each.

    python -m trial_tests.support.upload_kills DIRECTORY

A line has `phase`, `call` (the number of the call before which the process ended; the last one of a phase did not end),
`delivered` (names, ids and `redelivered` of the uploads that are delivered again), and `files`: the files of the
channel's directory, without those of the store.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from zatotx.plugins.ftp.server.file_tree import PROCESSED, WORK, FileTree
from zatotx.plugins.ftp.server.upload_store import UploadRecord, UploadStore

CALLS = ('fsync', 'rename', 'mkdir', 'unlink', 'fchmod', 'open', 'write', 'rmdir', 'close')
NAME, CONTENT = 'orders.csv', b'content'


def upload(store: UploadStore) -> UploadRecord:
    """Receive one upload."""
    file = store.begin((NAME,), None)
    file.write(CONTENT)
    return store.receive(file, 'partner')


def end_before(number: int) -> None:
    """Let this process end before its call of that number."""
    left = number

    def observed(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **fields: Any) -> Any:
            nonlocal left
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **fields)

        return call

    for name in CALLS:
        setattr(os, name, observed(getattr(os, name)))


def run_killed(number: int, function: Callable[..., object], *args: object) -> bool:
    """Run a function in a process that ends before its call of that number. Returns whether it did so."""
    pid = os.fork()
    if not pid:
        try:
            end_before(number)
            function(*args)
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(pid, 0)[1])


def report(phase: str, number: int, root: Path) -> None:
    """Print what the next process finds, and settle it."""
    store = UploadStore(FileTree(root))
    records = store.open()
    delivered = [{'name': record.name, 'id': record.id, 'redelivered': record.redelivered,
                  'content': store.path_of(record).read_text()} for record in records]  # fmt: skip
    for record in records:
        store.settle(record, PROCESSED)
    left = [path.name for path in store.received.iterdir()]
    store.close()
    files = {str(path.relative_to(root)): path.read_text() for path in root.rglob('*')
             if path.is_file() and WORK not in path.parts}  # fmt: skip
    print(json.dumps({'phase': phase, 'call': number, 'delivered': delivered, 'files': files, 'left': left}))


def run_phase(phase: str, directory: Path) -> None:
    """Kill at each call of a phase in turn, each time in a fresh directory."""
    number, is_killed = 0, True
    while is_killed:
        number += 1
        root = directory / f'{phase}-{number}'
        store = UploadStore(FileTree(root))
        store.open()
        if phase == 'receive':
            is_killed = run_killed(number, upload, store)
        else:
            record = upload(store)
            is_killed = run_killed(number, store.settle, record, PROCESSED)
        store.close()
        report(phase, number, root)


def main(directory: str) -> None:
    """Run both phases."""
    for phase in ('receive', 'settle'):
        run_phase(phase, Path(directory))


if __name__ == '__main__':
    main(sys.argv[1])
