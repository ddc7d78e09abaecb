"""A pool of the connections from one frontend to one backend server. An idle connection can be reused for any
client."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from zatotx.connectors.http.buffered_writer import WriteBatch
from zatotx.connectors.http.idle_connections import IdleConnections
from zatotx.interfaces.timeout_sweeper import TimeoutSweeper
from zatotx.lb.http.backend_connection import BackendConnection
from zatotx.lb.server_connector import ServerConnectionSettings, open_connection


class ServerConnectionPool:
    """The pool of connections to one server. `connect` opens a connection, `take` returns an idle connection, and `add`
    returns a connection to the pool."""

    _log = Logger()

    def __init__(
        self, link: ServerConnectionSettings, clock: IReactorTime, batch: WriteBatch, sweeper: TimeoutSweeper, *,
        label: str
    ) -> None:
        """`label` names the server in the log."""
        self.link = link
        self._clock = clock
        self._batch = batch
        self._sweeper = sweeper
        self._label = label
        self._is_closed = False
        self._last_error = ''
        self._idle: IdleConnections[BackendConnection] = IdleConnections(clock, link.idle_timeout)
        self.take: Callable[[float], BackendConnection | None] = self._idle.take

    @property
    def idle_count(self) -> int:
        """Number of idle connections."""
        return len(self._idle)

    def add(self, connection: BackendConnection, now: float) -> None:
        """Keep a connection whose exchange is complete."""
        if self._is_closed or connection.is_lost:
            connection.close()
        else:
            connection.is_reused = True
            self._idle.add(connection, now)

    def close(self) -> None:
        """Close idle connections now, and others after their exchange."""
        self._is_closed = True
        self._idle.close()

    def connection_lost(self, connection: BackendConnection) -> None:
        """Forget a connection that is closed."""
        self._idle.remove(connection)

    def connect(self, proxy_header: bytes = b'') -> Deferred[BackendConnection]:
        """Return a new connection. Fails with an error of Twisted or TlsHandshakeFailed; may be cancelled. It has no
        timeout for the TLS handshake: the exchange has."""
        connecting = Deferred.fromCoroutine(self._connect(proxy_header))
        return connecting.addCallbacks(self._connected, self._failed)

    async def _connect(self, proxy_header: bytes) -> BackendConnection:
        link = self.link
        connection = BackendConnection(
            self, self._clock.seconds, self._batch, self._sweeper, b'' if link.tls else proxy_header
        )
        await open_connection(link, connection, self._clock, proxy_header)
        return connection

    def _connected(self, connection: BackendConnection) -> BackendConnection:
        self._last_error = ''
        return connection

    def _failed(self, failure: Failure) -> Failure:
        error = failure.getErrorMessage()
        is_cancelled = failure.check(CancelledError, ConnectingCancelledError) is not None
        if not is_cancelled and error != self._last_error:  # once, not for each request
            self._last_error = error
            self._log.warn('No connection to {server}: {error}', server=self._label, error=error)
        return failure
