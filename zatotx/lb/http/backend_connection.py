"""A connection to a backend server, which processes one request and its response after another."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any, Protocol

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from zatotx.connectors.http.buffered_writer import READ_SIZE, RELAY_READ_SIZE, WriteBatch, enlarge_reads
from zatotx.connectors.http.client_writer import ClientWriter, make_client_writer
from zatotx.interfaces.timeout_sweeper import TimeoutSweeper
from zatotx.wire.http1.response_parser import RESPONSE_LIMITS, ResponseHead, ResponseParser

CLOSE_TIMEOUT = 5.0  # seconds that a server has to close its side of a connection that is not needed any more


class BackendUser(Protocol):
    """The interface of an exchange or tunnel that uses a backend connection."""

    def backend_data(self, data: bytes) -> None:
        """Process bytes from the server."""

    def backend_drained(self) -> None:
        """Continue: the server has accepted everything that was written."""

    def backend_lost(self, reason: Failure) -> None:
        """Handle the end of the connection."""


class ConnectionOwner(Protocol):
    """The interface of the pool to which a backend connection belongs."""

    def connection_lost(self, connection: BackendConnection) -> None:
        """Forget a connection that is closed."""


@implementer(IProtocol)
class BackendConnection:
    """A connection to a backend server. `user` is the exchange in progress, or None while the connection is idle.
    `rewritten` caches the last response head in the form that was written to a client, because the heads that a server
    sends within one second are often identical."""

    __slots__ = (
        '_batch',
        '_owner',
        '_proxy_header',
        '_seconds',
        '_sweeper',
        'deadline',
        'idle_since',
        'is_lost',
        'is_paused',
        'is_reused',
        'parser',
        'rewritten',
        'rewritten_for',
        'rewritten_from',
        'transport',
        'user',
        'writer',
    )

    def __init__(
        self, owner: ConnectionOwner, seconds: Callable[[], float], batch: WriteBatch, sweeper: TimeoutSweeper,
        proxy_header: bytes,
    ) -> None:
        self._owner = owner
        self._seconds = seconds
        self._batch = batch
        self._sweeper = sweeper
        self._proxy_header = proxy_header
        self.parser = ResponseParser(RESPONSE_LIMITS)
        self.user: BackendUser | None = None
        self.idle_since = 0.0
        self.deadline = inf  # for closing
        self.is_lost = False
        self.is_paused = False
        self.is_reused = False
        self.rewritten = b''
        self.rewritten_from: ResponseHead | None = None
        self.rewritten_for: object = None

    # Methods that Twisted calls.

    def makeConnection(self, transport: Any) -> None:
        """Set up the connection, and write the PROXY protocol header, if there is one."""
        self.transport = transport
        if isinstance(transport.getPeer(), IPv4Address | IPv6Address):
            transport.setTcpNoDelay(True)
        self.writer: ClientWriter = make_client_writer(transport, self._drained, self._seconds, self._batch)
        if self._proxy_header:
            self.writer.write(self._proxy_header)

    def connectionMade(self) -> None:
        """Do nothing: `makeConnection` does it all."""

    def dataReceived(self, data: bytes) -> None:
        """Pass the server's bytes on."""
        if len(data) == READ_SIZE:
            enlarge_reads(self.transport, RELAY_READ_SIZE)
        if self.user is None:  # bytes without a request: whose response follows could not be told
            self.abort()
        else:
            self.user.backend_data(data)

    def connectionLost(self, reason: Failure) -> None:
        """End the exchange: the connection is closed by either side."""
        self.is_lost = True
        if self.deadline != inf:
            self._sweeper.remove(self)
        self._owner.connection_lost(self)
        user, self.user = self.user, None
        if user is not None:
            user.backend_lost(reason)

    def _drained(self) -> None:
        if self.user is not None:
            self.user.backend_drained()

    # Called by the pool and by exchanges.

    def is_stale(self) -> bool:
        """Return whether the server has closed the connection, before the reactor reports it."""
        return self.is_lost or self.writer.is_stale()

    def pause(self) -> None:
        """Stop reading: the client is slower than the server."""
        if not self.is_paused:
            self.is_paused = True
            self.transport.pauseProducing()

    def resume(self) -> None:
        """Continue reading."""
        if self.is_paused:
            self.is_paused = False
            self.transport.resumeProducing()

    def close(self) -> None:
        """Close the connection in an orderly way."""
        self.user = None
        if not self.is_lost and self.deadline == inf:
            self.deadline = self._seconds() + CLOSE_TIMEOUT
            self._sweeper.add(self)
            self.writer.close()

    def expire(self, now: float) -> None:
        """Abort the connection: the server does not complete the shutdown. Called by the sweeper."""
        self._sweeper.remove(self)
        self.transport.abortConnection()

    def abort(self) -> None:
        """Close the connection at once, without what is not sent yet."""
        self.user = None
        if not self.is_lost:
            self.writer.discard()
            self.transport.abortConnection()
