"""A client connection of the HTTP server. It is the Twisted protocol that connects a RequestReader and a
ResponseWriter, and handles timeouts and shutdown.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto
from math import inf
from socket import SO_ERROR, SOL_SOCKET
from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol, IHandshakeListener, IProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from zatotx.connectors.http.buffered_writer import READ_SIZE, BufferedWriter, enlarge_reads, make_writer
from zatotx.plugins.http.server import error_responses
from zatotx.plugins.http.server.client_info import make_client_info
from zatotx.plugins.http.server.request_reader import HEAD, INPUT_CLOSED, RequestReader
from zatotx.plugins.http.server.response_writer import ResponseWriter
from zatotx.plugins.http.server.server_context import ServerContext
from zatotx.rules.http.trusted_proxies import UNIX
from zatotx.wire.http1.response_writer import CONTINUE

MAX_PENDING_BYTES = 64 * 1024  # unread bytes that may be pending before reading from the client pauses
LINGER_TIMEOUT = 5.0  # seconds in which a client that is still sending can read the error response
HEAD_CACHE_TIMEOUT = 5.0  # seconds of idleness after which the last request head is dropped
PROBE_DELAY = 0.2  # seconds that a half-closed connection waits for its responses before the client is probed


class ServerConnectionState(Enum):
    """The states of a connection, each of which has its own timeout (`due`)."""

    NEW = auto()  # the first byte
    IDLE = auto()  # the next request
    IDLE_WITHOUT_HEAD = auto()  # the next request; the last request head is dropped
    IN_HEAD = auto()  # the rest of a head
    IN_BODY = auto()  # the rest of a body
    BUSY = auto()  # nothing that the client sends: responses are due
    HALF_CLOSED = auto()  # responses; the client sends no more
    PROBE_SENT = auto()  # as HALF_CLOSED; an interim response was sent to find out whether the client is still there
    LINGERING = auto()  # the client, which may read the last response before we close
    CLOSING = auto()  # the transport, which writes what is buffered
    CLOSED = auto()


(NEW, IDLE, IDLE_WITHOUT_HEAD, IN_HEAD, IN_BODY, BUSY, HALF_CLOSED, PROBE_SENT, LINGERING, CLOSING,
 CLOSED) = ServerConnectionState  # fmt: skip

_ENDING = frozenset({HALF_CLOSED, LINGERING, CLOSING, CLOSED})
# The states that may follow each state.
NEXT_STATES: Mapping[ServerConnectionState, frozenset[ServerConnectionState]] = {
    NEW: _ENDING | {IN_HEAD, IN_BODY, BUSY, IDLE},
    IDLE: _ENDING | {IDLE_WITHOUT_HEAD, IN_HEAD, IN_BODY, BUSY},
    IDLE_WITHOUT_HEAD: _ENDING | {IDLE, IN_HEAD, IN_BODY, BUSY},
    IN_HEAD: _ENDING | {IDLE, IN_BODY, BUSY},
    IN_BODY: _ENDING | {IDLE, IN_HEAD, BUSY},
    BUSY: _ENDING | {IDLE, IN_HEAD, IN_BODY},
    HALF_CLOSED: frozenset({PROBE_SENT, CLOSING, CLOSED}),
    PROBE_SENT: frozenset({CLOSING, CLOSED}),
    LINGERING: frozenset({CLOSING, CLOSED}),
    CLOSING: frozenset({CLOSED}),
    CLOSED: frozenset(),
}  # fmt: skip


class ProbeResult(Enum):
    """The result of probing whether a half-closed client is still connected."""

    DISCONNECTED = auto()
    PROBING = auto()  # a probe was sent
    UNKNOWN = auto()


def probe_client(transport: Any, responses: ResponseWriter, writer: BufferedWriter, *, is_probed: bool) -> ProbeResult:
    """Probe whether a half-closed client has disconnected, and return the result.

    TCP sends a FIN both when a client has disconnected and when it has only stopped sending; only when we write does a
    closed socket answer with a reset. So while a service runs for a half-closed client, this function sends an interim
    `100 Continue`, once, which HTTP/1.1 allows before any response (RFC 9110 15.2), but not in the middle of one, and
    checks for a reset a moment later. After a reset the service is cancelled; otherwise (`printf … | nc -N`) the
    response is sent when it is ready. HTTP/1.0 has no interim responses: such a client must not half-close, and counts
    as disconnected.
    """
    if transport.getHandle().getsockopt(SOL_SOCKET, SO_ERROR):
        return ProbeResult.DISCONNECTED
    if is_probed or not responses.requests or responses.stream is not None or writer.is_backlogged:
        return ProbeResult.UNKNOWN
    head = responses.requests[0].head
    if head is None or head.version != (1, 1):
        return ProbeResult.DISCONNECTED
    responses.write(CONTINUE)
    return ProbeResult.PROBING


@implementer(IProtocol, IHalfCloseableProtocol, IHandshakeListener)
class ServerConnection:
    """A client connection of the HTTP server. It does not derive from Twisted's Protocol, which would give each idle
    connection a dictionary.

    Its states follow each other as NEXT_STATES lists. `deadline` is the deadline of the state, in seconds of the
    reactor's clock; ConnectionChecks enforces it.
    """

    __slots__ = (
        '_client',
        '_context',
        '_idle_timeout',
        '_limit_key',
        '_paused',
        '_reader',
        '_requests_before_head',
        '_responses',
        '_state',
        '_writer',
        'deadline',
        'transport',
    )  # fmt: skip

    def __init__(self, context: ServerContext) -> None:
        self._context = context
        self._paused = False
        self._state: ServerConnectionState = NEW
        self._limit_key = ''  # returned by AddressLimit.enter
        self._requests_before_head = 0  # requests before the head that is being received
        self._idle_timeout = context.settings.idle_timeout
        self.deadline = inf

    # Methods that Twisted calls.

    def makeConnection(self, transport: Any) -> None:
        """Start serving the client."""
        context = self._context
        self.transport = transport
        client = self._client = make_client_info(transport, context.settings.public_url)
        if client.address != UNIX:
            transport.setTcpNoDelay(True)
        writer = self._writer = make_writer(transport, self._drained, context.seconds, context.write_batch)
        self._responses = ResponseWriter(
            context, writer, client.address,
            on_progress=self._advance, on_last_response=self._finish, on_failed_stream=transport.abortConnection,
        )
        self._reader = RequestReader(context, self._responses, writer, client, self._advance)
        self.deadline = context.seconds() + context.settings.head_timeout
        context.add_connection(self)
        limit_key = context.address_limit.acquire(client.address) if context.is_limited(client) else ''
        if limit_key is None:
            transport.abortConnection()
            return
        self._limit_key = limit_key
        if context.poller is not None:
            context.poller.take_over(transport)
        self.connectionMade()

    def handshakeCompleted(self) -> None:
        """Record the client's certificates, over TLS, before any of its bytes are read."""
        self._client.set_tls(self.transport)

    def dataReceived(self, data: bytes) -> None:
        """Parse the client's bytes and process the requests."""
        if len(data) == READ_SIZE:
            enlarge_reads(self.transport)
        reader = self._reader
        if self._state is IDLE and (body := reader.feed_repeated(data)) is not None:
            self._serve_repeated(body)
        elif reader.phase is not INPUT_CLOSED:
            reader.parser.feed(data)
            self._advance()

    def readConnectionLost(self) -> None:
        """Handle the client's half-close. Whether it still reads is not known: see `probe_client`."""
        if self._state in (LINGERING, CLOSING):
            self.transport.loseConnection()
            return
        self._enter(HALF_CLOSED, self._context.seconds() + PROBE_DELAY)
        self._advance()

    def writeConnectionLost(self) -> None:
        """Do nothing: our own half-close was sent, and the connection lingers."""

    def connectionLost(self, reason: Failure) -> None:
        """Cancel all requests: the connection is lost."""
        self._enter(CLOSED, inf)
        self._reader.close_input()
        self._responses.cancel_all()
        if self._limit_key:
            self._context.address_limit.release(self._limit_key)
        self._context.remove_connection(self)

    # Processing.

    def _serve_repeated(self, body: bytes) -> None:
        """Serve the only request of an idle connection: what `_advance` does with it, which takes 10,000 instructions
        more."""
        responses, now = self._responses, self._context.seconds()
        responses.is_advancing = True
        try:
            self._reader.repeat(body, now)
        finally:
            responses.is_advancing = False
        if responses.is_closed:
            self._finish()
        elif responses.requests:
            self._enter(BUSY, inf)
        else:
            self.deadline = now + self._idle_timeout

    def _advance(self) -> None:
        """Process the bytes received as far as nothing must be waited for, and write the responses in one write."""
        responses = self._responses
        if responses.is_advancing:
            return
        reader, now = self._reader, self._context.seconds()
        if self._state is BUSY and reader.is_idle:  # the response was sent that both sides were waiting for
            self._enter(IDLE, now + self._idle_timeout)
            return
        responses.is_buffering = responses.is_advancing = True
        try:
            reader.process(now)
        finally:
            responses.flush()
        if responses.is_closed:
            self._finish()
        elif self._state is IDLE and reader.phase is HEAD and reader.parser.is_idle:  # the usual state after a request
            if responses.requests:
                self._enter(BUSY, inf)
            else:
                self.deadline = now + self._idle_timeout
        else:
            self._update_deadline(now)

    def _drained(self) -> None:
        """Continue: the client has received everything that was written."""
        stream = self._responses.stream
        if stream is not None:
            stream.resume()
        self._advance()

    def _update_deadline(self, now: float) -> None:
        """Set the state and the deadline by what the connection waits for."""
        reader = self._reader
        blocked = reader.is_blocked
        if self._state in (HALF_CLOSED, PROBE_SENT):
            if blocked:
                return
            if not reader.is_complete:
                reader.reject(400, error_responses.INCOMPLETE_REQUEST, now)
            elif not self._responses.requests:
                self._close()
            return
        if self._state is CLOSING:  # the response just written was the last one
            return
        if blocked and (
            reader.parser.pending_bytes > MAX_PENDING_BYTES
            or (reader.is_waiting and self._context.byte_budget.is_under_pressure)
        ):
            if not self._paused:
                self._paused = True
                self.transport.pauseProducing()
        elif self._paused:
            self._paused = False
            self.transport.resumeProducing()
        if reader.phase is not HEAD:
            self._enter(IN_BODY, inf if reader.phase is INPUT_CLOSED else reader.body_deadline(now))
        elif blocked or (reader.parser.is_idle and self._responses.requests):
            self._enter(BUSY, inf)
        elif reader.parser.is_idle:
            self._enter(IDLE, now + self._idle_timeout)
        elif self._state is not IN_HEAD or self._requests_before_head != reader.request_count:
            self._requests_before_head = reader.request_count
            self._enter(IN_HEAD, now + self._context.settings.head_timeout)

    def _enter(self, state: ServerConnectionState, due: float) -> None:
        """Change the state, whose deadline is `deadline`."""
        self._state = state
        self.deadline = due

    # Shutdown.

    def close_if_drained(self) -> None:
        """Close the connection if the node is draining and no request is in progress."""
        reader = self._reader
        if self._context.draining and reader.phase is HEAD and reader.is_complete and not self._responses.requests:
            self._close()

    connectionMade = close_if_drained  # a draining node accepts no new client

    def _finish(self) -> None:
        """Shut down after the last response in a way that lets the client read it."""
        reader = self._reader
        unread = not reader.is_complete
        reader.close_input()
        if not unread or self._state in (HALF_CLOSED, PROBE_SENT, CLOSED):
            self._close()
            return
        self._enter(LINGERING, self._context.seconds() + LINGER_TIMEOUT)
        self._writer.half_close()
        if self._paused:
            self._paused = False
            self.transport.resumeProducing()

    def _close(self) -> None:
        if self._state in (CLOSING, CLOSED):
            return
        self._reader.close_input()
        self._enter(CLOSING, self._context.seconds() + self._context.settings.write_timeout)
        self._writer.close()

    # Called by ConnectionChecks.

    def enforce_timeouts(self, now: float) -> None:
        """Enforce the timeouts: of a client that does not read, of a stream whose service makes no progress, and
        `deadline`."""
        writer, stream = self._writer, self._responses.stream
        if (writer.is_backlogged and now - writer.last_progress >= self._context.settings.write_timeout) or (
            stream is not None and stream.deadline <= now
        ):
            self.transport.abortConnection()
        elif self.deadline <= now:
            self._time_out(now)
        elif self._state is IDLE and now >= self.deadline - self._idle_timeout + HEAD_CACHE_TIMEOUT:
            self._enter(IDLE_WITHOUT_HEAD, self.deadline)
            self._reader.drop_last_head()
        elif self._state is IN_BODY and self._context.spool_quota and self._reader.spool_body(now):
            self._context.spool_quota -= 1
            self.deadline = inf  # it waits for the disk or the dispatcher

    def _time_out(self, now: float) -> None:
        state, reader = self._state, self._reader
        if state is IN_HEAD:
            reader.reject(408, error_responses.HEAD_TIMEOUT, now)
        elif state is IN_BODY:
            reader.reject(408, error_responses.BODY_TIMEOUT, now)
        elif state in (HALF_CLOSED, PROBE_SENT):
            self.deadline = now + PROBE_DELAY
            result = probe_client(self.transport, self._responses, self._writer, is_probed=state is PROBE_SENT)
            if result is ProbeResult.DISCONNECTED:
                self.transport.abortConnection()
            elif result is ProbeResult.PROBING:
                self._enter(PROBE_SENT, self.deadline)
        elif self._writer.is_backlogged:  # the client is still reading: `enforce_timeouts` notices when it stops
            self.deadline = now + LINGER_TIMEOUT
        elif state is CLOSING:
            self.transport.abortConnection()
        else:
            self._close()
