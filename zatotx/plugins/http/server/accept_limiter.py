"""Takes in as many connections as there is room for. Where there is none the others wait in the kernel's queue, which
is bounded too, until somebody leaves.

Twisted's ports, when the process has no file descriptor left, accept and close whoever comes: clients lose connections
that a moment later could have been served. Here accepting pauses before that, while some descriptors are left for logs,
spooled bodies and databases, and the port is not even looked at meanwhile.
"""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Callable, Iterator
from errno import EAGAIN, EMFILE, ENFILE, ENOBUFS, ENOMEM
from typing import Any

from twisted.logger import Logger

from zatotx.plugins.http.server.counters import HttpCounters

_NOTHING_LEFT = frozenset((EMFILE, ENFILE, ENOBUFS, ENOMEM))
_RESERVE = 64  # file descriptors that no connection gets
_QUIET = 5.0  # seconds that accepting goes on before it is said that it does again


class _LimitedPort:
    """A listening socket whose `accept` asks the doorman first; else the socket itself."""

    __slots__ = ('_doorman', '_socket')

    def __init__(self, socket: Any, doorman: AcceptLimiter) -> None:
        self._socket = socket
        self._doorman = doorman

    def accept(self) -> tuple[Any, Any]:
        """The next client. Raises BlockingIOError where there is none, or no room for one."""
        return self._doorman.accept(self._socket)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)


class AcceptLimiter:
    """Stands at all ports of a node's HTTP side. `open` of the counters is kept by the connections themselves.

    `seconds` is the reactor's clock. `limit` gives how many descriptors the process may have.
    """

    _log = Logger()

    def __init__(
        self, most: int, counters: HttpCounters, seconds: Callable[[], float],
        limit: Callable[[], int] = lambda: resource.getrlimit(resource.RLIMIT_NOFILE)[0],
    ) -> None:  # fmt: skip
        self._most = most
        self._counters = counters
        self._seconds = seconds
        self._limit = limit
        self._ports: list[Any] = []
        self._ceiling = max_connections(limit())
        self._why = ''  # nobody is taken in; '' = there is room
        self._told = ''  # what was said of it, until it is said that all is well
        self._since = 0.0  # when it was paused, or went on, last

    def watch(self, port: Any) -> None:
        """Take over a listening port of Twisted's. Other ports are left as they are."""
        if hasattr(port, 'socket'):
            port.socket = _LimitedPort(port.socket, self)
            self._ports.append(port)

    def stop(self) -> None:
        """The ports are being closed."""
        self._ports.clear()

    def accept(self, socket: Any) -> tuple[Any, Any]:
        """The next client of a listening socket; after the last one there is room for, accepting pauses. Raises
        BlockingIOError, and what the kernel says."""
        if self._why:
            raise BlockingIOError(EAGAIN, self._why)
        try:
            client, address = socket.accept()
        except OSError as error:
            if error.errno not in _NOTHING_LEFT:
                raise
            self._pause(f'the kernel has nothing left for another one ({error.strerror})')
            raise BlockingIOError(EAGAIN, self._why) from None
        if self._counters.open + 1 >= self._most:
            self._pause(f'{self._most} are open, as many as [http] max_connections allows')
        elif client.fileno() >= self._ceiling:  # the kernel gives the lowest number: all below it are taken
            self._pause(f'the process has as many files and connections open as `ulimit -n` allows ({self._limit()}), '
                        'but for a reserve')  # fmt: skip
        return client, address

    def look(self) -> None:
        """See whether there is room again: now and then, and whenever a connection has ended."""
        now = self._seconds()
        self._ceiling = max_connections(self._limit())  # an administrator may have changed it
        if not self._why:
            if self._told and now - self._since >= _QUIET:
                self._told = ''
                self._log.info('Connections are accepted again')
            return
        if self._counters.open < self._most and self._has_descriptor():
            self._why, self._since = '', now
            self._counters.paused = 0
            for port in self._ports:
                port.startReading()

    def findings(self) -> Iterator[str]:
        """What is wrong now, for `zatotx doctor`."""
        if self._told:
            yield (f'no more connections are accepted, now and then at least: {self._told}; raise that limit, or find '
                   'out who holds so many')  # fmt: skip

    def _pause(self, why: str) -> None:
        self._why, self._since = why, self._seconds()
        self._counters.paused = 1
        self._counters.pauses += 1
        for port in self._ports:
            port.stopReading()
        if why != self._told:  # said once, however often it pauses and goes on
            self._told = why
            self._log.warn('No more connections are accepted: {why}. Those that come wait until others end', why=why)

    def _has_descriptor(self) -> bool:
        try:
            descriptor = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        os.close(descriptor)
        return descriptor < self._ceiling


def max_connections(limit: int) -> int:
    """The descriptor from which on the rest is reserved, where a process may have `limit` of them."""
    return sys.maxsize if limit == resource.RLIM_INFINITY else limit - min(_RESERVE, limit // 4)
