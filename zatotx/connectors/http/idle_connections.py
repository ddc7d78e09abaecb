"""The idle connections of a connection pool. The most recently used connection is reused first, and connections that
are idle for too long are closed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

from twisted.internet.interfaces import IDelayedCall, IReactorTime

SOCKET_CHECK_AGE = 1.0  # seconds of idleness after which checking the socket is worth its cost


class IdleConnection(Protocol):
    """The interface of a connection in the pool of idle connections."""

    idle_since: float  # seconds of the reactor's clock

    def is_stale(self) -> bool:
        """Return whether the connection is unusable, before the reactor reports it."""

    def close(self) -> None:
        """Close the connection in an orderly way, and remove it from the idle ones."""

    def abort(self) -> None:
        """Abort the connection."""


Connection = TypeVar('Connection', bound=IdleConnection)


class IdleConnections(Generic[Connection]):
    """The idle connections to one peer. `idle_timeout` is in seconds."""

    __slots__ = ('_clock', '_idle', '_idle_timeout', '_reap_call')

    def __init__(self, clock: IReactorTime, idle_timeout: float) -> None:
        self._clock = clock
        self._idle_timeout = idle_timeout
        self._idle: list[Connection] = []  # the most recently used one last
        self._reap_call: IDelayedCall | None = None

    def __len__(self) -> int:
        return len(self._idle)

    def __iter__(self) -> Iterator[Connection]:
        return iter(self._idle)

    def take(self, now: float) -> Connection | None:
        """Remove and return a usable connection, or return None if there is none."""
        idle = self._idle
        while idle:
            connection = idle.pop()
            if now - connection.idle_since < SOCKET_CHECK_AGE or not connection.is_stale():
                return connection
            connection.abort()
        return None

    def add(self, connection: Connection, now: float) -> None:
        """Keep a connection that has become idle."""
        connection.idle_since = now
        self._idle.append(connection)
        if self._reap_call is None:
            self._reap_call = self._clock.callLater(self._idle_timeout, self._reap)

    def remove(self, connection: Connection) -> None:
        """Remove a connection, if it is idle: it is closed."""
        if connection in self._idle:
            self._idle.remove(connection)

    def close(self) -> None:
        """Close all."""
        for connection in self._idle[:]:
            connection.close()
        self._idle.clear()
        if self._reap_call is not None:
            self._reap_call.cancel()
            self._reap_call = None

    def _reap(self) -> None:
        """Close the connections that were idle for too long, the longest idle first."""
        self._reap_call = None
        idle = self._idle
        oldest = self._clock.seconds() - self._idle_timeout
        expired = [connection for connection in idle if connection.idle_since <= oldest]
        for connection in expired:
            self.remove(connection)
            connection.close()
        if idle:
            self._reap_call = self._clock.callLater(max(0.0, idle[0].idle_since - oldest), self._reap)
