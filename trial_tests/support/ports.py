"""Ports for the servers of tests, which nobody else takes between being found free and being listened on.

They lie below those that the kernel gives to clients: such a one may be free now and, when a server comes to it, belong
to one of the thousands of connections that the tests beside open. Each test process locks what it uses.
"""

from __future__ import annotations

import fcntl
import os
import socket
import tempfile
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

_FIRST, _BLOCK, _BLOCKS = 4000, 50, 100  # up to 8999: those of brokers come above
_locked: dict[str, int] = {}  # name -> descriptor of the lock that keeps other test processes from it


def claim(name: str) -> bool:
    """Whether what goes by that name belongs to this process now, until its end."""
    if name not in _locked:
        path = Path(tempfile.gettempdir(), f'zatotx-test-ports-{name}')
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        _locked[name] = descriptor
    return True


def is_free(port: int) -> bool:
    """Whether nobody listens there, whatever is left of connections that are over."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(('127.0.0.1', port))
        except OSError:
            return False
    return True


def free_port() -> int:
    """A port where nobody listens, and that no other test process is given."""
    for _ in range(_BLOCK):
        port = next(_own)
        if is_free(port):
            return port
    raise AssertionError('No port is free')


def _in_own_block() -> Iterator[int]:
    number = next((number for number in range(_BLOCKS) if claim(f'block-{number}')), None)
    if number is None:
        raise AssertionError('No block of ports is free')
    first = _FIRST + number * _BLOCK
    yield from cycle(range(first, first + _BLOCK))


_own = _in_own_block()
