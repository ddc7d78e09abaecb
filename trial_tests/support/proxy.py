"""A TCP proxy that makes trouble: it delays, slows down, freezes, cuts and refuses what goes through it.

It runs in threads of its own, so a test that blocks the reactor, and a server that is a process of its own, may use it.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Event, Lock, Thread

_CHUNK = 16_384
_RESET = struct.pack('ii', 1, 0)  # SO_LINGER that makes close() a reset


class Proxy:
    """Listens on `port` of 127.0.0.1 for one server. What it is told counts for connections that are open too.

    `delay`: seconds that each piece takes, each way. `rate`: bytes a second, each way; 0 = no limit. `cut_every`: a
    connection is reset after so many bytes from the client; 0 = never.
    """

    def __init__(self, target: tuple[str, int] | Path) -> None:
        """`target`: the server's host and port, or its Unix socket."""
        self.delay = 0.0
        self.rate = 0
        self.cut_every = 0
        self.accepted = 0  # connections so far
        self._target = target
        self._moving = Event()
        self._moving.set()
        self._closed = Event()
        self._refusing = False
        self._lock = Lock()
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(('127.0.0.1', 0))
        self.port: int = self._listener.getsockname()[1]
        self._start(self._accept)

    def lead_to(self, target: tuple[str, int] | Path) -> None:
        """Reset every connection; new ones lead to another server."""
        self._target = target
        self.cut()

    def freeze(self) -> None:
        """Connections are accepted and stay, and nothing goes through."""
        self._moving.clear()

    def thaw(self) -> None:
        """What was held up goes through."""
        self._moving.set()

    def cut(self) -> None:
        """Reset every connection."""
        with self._lock:
            cut, self._open = self._open, set()
        for connection in cut:
            _reset(connection)

    def refuse(self, refusing: bool = True) -> None:
        """Reset every connection, new ones as soon as they come."""
        self._refusing = refusing
        if refusing:
            self.cut()

    def close(self) -> None:
        """Harmless when done twice."""
        self._closed.set()
        self._moving.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while not self._closed.is_set():
            try:
                client = self._listener.accept()[0]
            except OSError:
                return
            self.accepted += 1
            if self._refusing:
                _reset(client)
            else:
                self._join(client)

    def _join(self, client: socket.socket) -> None:
        try:
            server = self._connected()
        except OSError:
            _reset(client)
            return
        with self._lock:
            self._open |= {client, server}
        if self._refusing:  # since it came
            self.cut()
        self._start(self._pump, client, server, True)
        self._start(self._pump, server, client, False)

    def _connected(self) -> socket.socket:
        if isinstance(self._target, tuple):
            return socket.create_connection(self._target, 5)
        server = socket.socket(socket.AF_UNIX)
        server.connect(str(self._target))
        return server

    def _pump(self, source: socket.socket, sink: socket.socket, counted: bool) -> None:
        passed = 0
        with suppress(OSError):
            while data := source.recv(min(_CHUNK, max(1, self.rate // 10)) if self.rate else _CHUNK):
                self._hold(len(data))
                sink.sendall(data)
                passed += len(data)
                if counted and self.cut_every and passed >= self.cut_every:
                    break
        with self._lock:
            self._open -= {source, sink}
        _reset(source)
        _reset(sink)

    def _hold(self, size: int) -> None:
        pause = self.delay + (size / self.rate if self.rate else 0)
        if pause:
            self._closed.wait(pause)
        self._moving.wait()

    def _start(self, run: Callable[..., None], *args: object) -> None:
        Thread(target=run, args=args, daemon=True).start()


def _reset(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)  # wakes up who waits in recv
    connection.close()
