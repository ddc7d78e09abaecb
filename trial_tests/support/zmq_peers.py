"""Peers of ZeroMQ channels and connections: sockets of pyzmq, and processes with one that can be frozen."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import zmq
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from trial_tests.support.kind_contracts import PATIENCE, _Reactor, make_meters
from trial_tests.support.ports import free_port

MILLISECONDS = 1000


class WithPeers(_Reactor):
    """A test case with sockets of a context of its own."""

    def setUp(self) -> None:
        self.meters = make_meters()
        self.zmq: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.addCleanup(lambda: deferToThread(self.zmq.destroy, 0))

    def socket(self, socket_type: int, **options: Any) -> Any:
        """A socket of a peer."""
        made = self.zmq.socket(socket_type)
        made.linger = 0
        made.rcvtimeo = made.sndtimeo = int(PATIENCE * MILLISECONDS)
        for name, value in options.items():
            setattr(made, name, value)
        return made

    def bound(self, socket_type: int, **options: Any) -> tuple[Any, str]:
        """A socket of a peer that listens, and its address."""
        made = self.socket(socket_type, **options)
        address = f'tcp://127.0.0.1:{free_port()}'
        made.bind(address)
        return made, address

    def connected(self, socket_type: int, address: str, **options: Any) -> Any:
        """A socket of a peer that connects."""
        made = self.socket(socket_type, **options)
        made.connect(address)
        return made

    def read(self, socket: Any) -> Deferred[list[bytes]]:
        """The next message of a peer's socket."""
        return deferToThread(socket.recv_multipart)

    def read_many(self, socket: Any, count: int) -> Deferred[list[bytes]]:
        """So many messages of one frame."""
        return deferToThread(lambda: [socket.recv() for _ in range(count)])


_PROGRAM = '''
import sys, zmq
socket = zmq.Context().socket(getattr(zmq, sys.argv[1]))
socket.rcvhwm = 10
socket.bind(sys.argv[2])
print('ready', flush=True)
while True:
    message = socket.recv()
    print(message[:20].decode(), flush=True)
    if sys.argv[1] == 'REP':
        socket.send(b'OK')
'''


class PeerProcess:
    """A process with a socket that prints what it receives. It dies with the test process."""

    def __init__(self, socket_type: str, address: str) -> None:
        self.process = subprocess.Popen(
            ['setpriv', '--pdeathsig', 'KILL', sys.executable, '-c', _PROGRAM, socket_type, address],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.lines = self.process.stdout
        if self.lines.readline() != 'ready\n':
            raise AssertionError('The peer did not start')

    def read(self, is_last: Callable[[str], bool]) -> list[str]:
        """The messages up to one. Blocks."""
        found: list[str] = []
        while not found or not is_last(found[-1]):
            found.append(self.lines.readline().rstrip('\n'))
        return found

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait()
        self.lines.close()
