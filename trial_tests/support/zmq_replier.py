"""Peers of ZeroMQ: a process that replies 'OK' to each request, and a socket that nobody reads."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import zmq

from trial_tests.support.daemon import Daemon

_PROGRAM = """
import sys, zmq
socket = zmq.Context().socket(zmq.REP)
socket.bind(sys.argv[1])
while True:
    socket.recv_multipart()
    socket.send(b'OK')
"""


class ZmqReplier(Daemon):
    """The process. Programs of the tests' interpreter may not be readable for other accounts."""

    what = 'zmq'
    account = 'root'

    @property
    def address(self) -> str:
        """Where it listens."""
        return f'tcp://127.0.0.1:{self.port}'

    def command(self) -> Sequence[str]:
        return [sys.executable, '-c', _PROGRAM, self.address]

    def answers(self) -> bool:
        with zmq.Context() as context, context.socket(zmq.REQ) as socket:
            socket.linger = 0
            socket.connect(self.address)
            socket.send(b'')
            return bool(socket.poll(200))


class ZmqSink:
    """A PULL socket that is not read: ZeroMQ takes two messages and what fits into the buffers of the kernel."""

    def __init__(self) -> None:
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.PULL)
        self._socket.rcvhwm = 1
        self._socket.rcvbuf = 65_536
        self.address = f'tcp://127.0.0.1:{self._socket.bind_to_random_port("tcp://127.0.0.1")}'

    def close(self) -> None:
        """Close the socket."""
        self._socket.close(0)
        self._context.term()
