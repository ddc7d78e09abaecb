"""A crowd of slow clients, in a process of its own so that it takes no time from who measures.

    python -m trial_tests.support.crowd PORT DRIPPERS IDLERS SECONDS

Drippers send their request's head a byte a second and never end it; idlers ask once and then say nothing. Prints
`ready` when all are connected, and at the end a JSON object that tells what became of them.
"""

from __future__ import annotations

import json
import resource
import socket
import sys
import time
from collections import Counter
from contextlib import suppress

from trial_tests.support.rawhttp import request_bytes

_HEAD = b'POST /acc/echo HTTP/1.1\r\nHost: dripping\r\nX-Slow: ' + b'y' * 1000


class Dripper:
    """One client that sends a byte a second."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(('127.0.0.1', port), timeout=60)
        self.socket.setblocking(False)
        self.began = time.monotonic()
        self.lived = 0.0  # seconds until the server ended it
        self.heard = b''
        self._sent = 0

    def drip(self) -> None:
        """One more byte, unless the server has ended the connection."""
        if self.lived:
            return
        try:
            with suppress(ConnectionError):  # the answer of a server that has closed is there all the same
                self.socket.send(_HEAD[self._sent:self._sent + 1])
            self._sent += 1
            data = self.socket.recv(4096)
            self.heard += data
            ended = not data
        except BlockingIOError:
            ended = False
        except OSError:
            ended = True
        if ended:
            self.lived = time.monotonic() - self.began
            self.socket.close()


def idler(port: int) -> socket.socket:
    """One client that asked once."""
    client = socket.create_connection(('127.0.0.1', port), timeout=60)
    client.sendall(request_bytes('GET', '/zato/ping'))
    client.recv(4096)
    return client


def drip_all(drippers: list[Dripper], until: float) -> None:
    """Each a byte a second, evenly spread, so that the server has no quiet half of a second; over when all are cut."""
    turn = 0
    due = time.monotonic()
    while time.monotonic() < until and not all(one.lived for one in drippers):
        for _ in range(max(1, len(drippers) // 100)):
            drippers[turn % len(drippers)].drip()
            turn += 1
        due += 0.01
        time.sleep(max(0.0, due - time.monotonic()))


def main(port: int, drip: int, idle: int, seconds: float) -> None:
    """Connect all, go on for so long, tell."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    idlers = [idler(port) for _ in range(idle)]
    drippers = [Dripper(port) for _ in range(drip)]
    print('ready', flush=True)
    drip_all(drippers, time.monotonic() + seconds)
    lives = sorted(one.lived for one in drippers if one.lived)
    heard = Counter(one.heard.split(b'\r\n', 1)[0].decode('latin-1') for one in drippers)
    told = {'cut': len(lives), 'first': lives[:1], 'last': lives[-1:], 'heard': heard, 'idle': len(idlers)}
    print(json.dumps(told), flush=True)


if __name__ == '__main__':
    main(*(int(argument) for argument in sys.argv[1:5]))
