"""A client connection: sends a request, reads the response, and can then be reused for the next call."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto
from math import inf
from typing import Any, Protocol

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from zatotx.connectors.http.buffered_writer import READ_SIZE, enlarge_reads
from zatotx.connectors.tls_client import rejected_certificate_error
from zatotx.plugins.http.client.errors import BadResponse, CallFailed, PeerReset, ResponseTooLarge, TlsFailed
from zatotx.plugins.http.client.http_messages import HttpResponse, Origin
from zatotx.plugins.http.client.pending_call import PendingCall, SharedCallResources
from zatotx.plugins.http.client.request_writer import RequestWriter
from zatotx.plugins.http.client.response_reader import ResponseReader
from zatotx.wire.http1.response_parser import HttpMessageRejected

CLOSE_TIMEOUT = 5.0  # seconds that a connection has to shut down after we close it, as TLS does


class ClientConnectionState(Enum):
    """The states of a client connection. An OPEN connection is busy if its `call` is set, otherwise idle."""

    CONNECTING = auto()
    OPEN = auto()  # it occupies a slot of the pool
    CLOSING = auto()  # by us
    LOST = auto()  # closed by the peer; the call in progress still occupies the slot
    CLOSED = auto()


CONNECTING, OPEN, CLOSING, LOST, CLOSED = ClientConnectionState

_AFTER_LOSS = {CONNECTING: CLOSED, OPEN: LOST, CLOSING: CLOSED}  # the next state when the connection is lost
_AFTER_RELEASE = {OPEN: CLOSING, LOST: CLOSED}  # the next state when the slot is free again
# The states that may follow each state.
NEXT_STATES: Mapping[ClientConnectionState, frozenset[ClientConnectionState]] = {
    CONNECTING: frozenset({OPEN, CLOSED}),
    OPEN: frozenset({CLOSING, LOST}),
    CLOSING: frozenset({CLOSED}),
    LOST: frozenset({CLOSED}),
    CLOSED: frozenset(),
}


class ConnectionSlots(Protocol):
    """The part of the connection pool that a connection uses. Each connection occupies one slot of the pool."""

    origin: Origin

    def release(self, connection: ClientConnection, now: float) -> None:
        """Take back a connection whose call has finished."""

    def connection_lost(self, connection: ClientConnection) -> None:
        """Free the slot of a connection that is unusable."""

    def repeat(self, call: PendingCall) -> None:
        """Send a call again, on a new connection in the slot of the one that failed."""


@implementer(IProtocol)
class ClientConnection:
    """A protocol that sends requests and reads responses. `call` is the call in progress, and `idle_since` the time at
    which the last call ended, in seconds on the reactor's clock.

    The states of a connection follow each other as NEXT_STATES lists.
    """

    __slots__ = (
        '_environment',
        '_pool',
        '_reader',
        '_reused',
        '_state',
        'call',
        'deadline',
        'idle_since',
        'request_writer',
        'transport',
    )  # fmt: skip

    def __init__(self, pool: ConnectionSlots, environment: SharedCallResources) -> None:
        self._pool = pool
        self._environment = environment
        self._reader = ResponseReader(environment, self)
        self._state: ClientConnectionState = CONNECTING
        self._reused = False
        self.call: PendingCall | None = None
        self.idle_since = 0.0
        self.deadline = inf

    # Methods that Twisted calls.

    def makeConnection(self, transport: Any) -> None:
        """Set up the connection."""
        self.transport = transport
        if isinstance(transport.getPeer(), IPv4Address | IPv6Address):
            transport.setTcpNoDelay(True)
        self.request_writer = RequestWriter(self._environment, transport, self.fail_all)

    def connectionMade(self) -> None:
        """Do nothing: `makeConnection` does it all."""

    def dataReceived(self, data: bytes) -> None:
        """Read the peer's bytes."""
        if len(data) == READ_SIZE:
            enlarge_reads(self.transport)
        call = self.call
        if call is None or self.request_writer.has_unsent(call.data):
            # Whatever they are, no later response on this connection could be trusted.
            self._lose(call, BadResponse('bytes came before the request went out'))
            return
        try:
            self._reader.feed(call, data)
        except HttpMessageRejected as rejection:
            self.fail_all(BadResponse(rejection.reason))
        except ResponseTooLarge as error:
            self.fail_all(error)

    def connectionLost(self, reason: Failure) -> None:
        """End the current call: the connection is lost, closed by either side."""
        self._environment.timeout_sweeper.remove(self)
        self._state = _AFTER_LOSS[self._state]
        call = self.call
        if call is None:
            self._release_slot()
        elif reason.check(ConnectionDone) is None or not self._reader.handle_eof(call):
            self._lose(call, _connection_error(reason, self._pool.origin.host, begun=self._reader.response_started))

    # Called by the pool.

    def occupy_slot(self) -> bool:
        """Occupy a slot of the pool; False if the connection is already closed."""
        if self._state is CLOSED:
            return False
        self._state = OPEN
        return True

    def start(self, call: PendingCall, now: float) -> None:
        """Send a call's request."""
        self.call = call
        call.connection = self
        self._reader.parser.expect_response(call.request.method)
        self.request_writer.start(call, now)

    def is_stale(self) -> bool:
        """Return whether an idle connection is unusable, before the reactor reports it."""
        return self.request_writer.is_stale()

    def abort(self) -> None:
        """Abort the connection: its call has ended without it, or it is unusable."""
        self.call = None
        self._abort()

    def close(self) -> None:
        """Close the connection in an orderly way: no call is in progress."""
        self._release_slot()
        if self._state is not CLOSED:
            self.deadline = self._environment.seconds() + CLOSE_TIMEOUT
            self._environment.timeout_sweeper.add(self)
            self.request_writer.close()

    def expire(self, now: float) -> None:
        """Abort the connection: the peer does not complete the shutdown."""
        self._environment.timeout_sweeper.remove(self)
        self.transport.abortConnection()

    # The end of a call.

    def finish(self, call: PendingCall, response: HttpResponse | None, now: float) -> None:
        """Finish a call whose response is complete (None: it was streamed). The connection returns to the pool first,
        because the caller may send another call at once."""
        self.call = call.connection = None
        self._reused = True
        reader = self._reader
        if self.request_writer.is_unfinished:
            self._abort()
        elif reader.parser.is_between_messages:
            if reader.is_paused:
                reader.resume()
            self._pool.release(self, now)
        else:
            self.close()
        if response is None:
            call.finish()
        else:
            call.succeed(response)

    def fail_all(self, error: CallFailed) -> None:
        """Fail the call: there is no response, or no more of it, and the connection cannot be reused."""
        call, self.call = self.call, None
        self._abort()
        if call is not None:
            call.connection = None
            call.fail_all(error)

    def _lose(self, call: PendingCall | None, error: CallFailed) -> None:
        """Give up the connection. A call that may be repeated is sent again on another one."""
        if call is None:
            self._abort()
            return
        call.note_reached()
        if not self._reader.response_started and (self._reused or not call.reached_peer) and call.is_repeatable:
            self._abort(renewed=call)
        else:
            error.reached_peer = error.reached_peer and call.reached_peer
            self.fail_all(error)

    def _abort(self, renewed: PendingCall | None = None) -> None:
        """Abort the connection. Unsent data is dropped. `renewed`: a call that is tried again on a new connection,
        which takes over this one's slot."""
        if renewed is not None:
            self.call = renewed.connection = None
        self.request_writer.discard()
        self.transport.abortConnection()
        self._release_slot(renewed)

    def _release_slot(self, renewed: PendingCall | None = None) -> None:
        """Free the slot in the pool, however long the connection takes to close."""
        state = self._state
        if state is OPEN or state is LOST:
            self._state = _AFTER_RELEASE[state]
            if renewed is None:
                self._pool.connection_lost(self)
            else:
                self._pool.repeat(renewed)


def _connection_error(reason: Failure, host: str, *, begun: bool) -> CallFailed:
    """Return the error of a call whose connection was lost."""
    if begun:
        error: CallFailed = PeerReset('the connection was lost within the answer', response_started=True)
    else:
        rejection = rejected_certificate_error(reason.value)
        closed = PeerReset('the peer closed the connection without an answer')
        error = TlsFailed(f'{host} {rejection}') if rejection else closed
    error.__cause__ = reason.value
    return error
