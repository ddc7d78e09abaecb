"""One client connection: Twisted's protocol around a RequestReader and a ResponseWriter, its timeouts and its
shutdown."""

from __future__ import annotations

from math import inf
from typing import Any

from twisted.internet.interfaces import IHalfCloseableProtocol, IHandshakeListener, IProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from zatotx.plugins.http.server import error_responses
from zatotx.plugins.http.server.buffered_writer import READ_SIZE, enlarge_reads, make_writer
from zatotx.plugins.http.server.client_info import make_client_info
from zatotx.plugins.http.server.half_close import DISCONNECTED, PROBING, probe_client
from zatotx.plugins.http.server.request_reader import HEAD, INPUT_CLOSED, RequestReader, body_deadline, spool_body
from zatotx.plugins.http.server.response_writer import ResponseWriter
from zatotx.plugins.http.server.server_context import ServerContext
from zatotx.rules.http.forwarding import UNIX

MAX_PENDING_BYTES = 64 * 1024  # unread bytes that may be pending before reading from the client pauses
LINGER_TIMEOUT = 5.0  # seconds in which a client that is still sending can read the error response
HEAD_CACHE_TIMEOUT = 5.0  # seconds of idleness after which the last request head is dropped
PROBE_DELAY = 0.2  # seconds that a half-closed connection waits for its responses before the client is probed

# What `due` is the deadline of. RESTING is IDLE with the last request head dropped.
NO_DEADLINE, NEW, IDLE, IDLE_WITHOUT_HEAD, IN_HEAD, IN_BODY, LINGERING, CLOSING, HALF_CLOSED, PROBE_SENT = range(10)


@implementer(IProtocol, IHalfCloseableProtocol, IHandshakeListener)
class ServerConnection:
    """One HTTP connection. It is no subclass of Twisted's Protocol, which would give each idle connection a dictionary.

    `deadline` is checked by TimeoutSweeper, in seconds of the reactor's clock.
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
        self._state = NEW
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
        self.connectionMade()

    def handshakeCompleted(self) -> None:
        """Record the client's certificates, over TLS, before any of its bytes are read."""
        self._client.set_tls(self.transport)

    def dataReceived(self, data: bytes) -> None:
        """Parse the client's bytes and process the requests."""
        if len(data) == READ_SIZE:
            enlarge_reads(self.transport)
        reader = self._reader
        if reader.phase != INPUT_CLOSED:
            reader.parser.feed(data)
            self._advance()

    def readConnectionLost(self) -> None:
        """Handle the client's half-close. Whether it still reads is not known: see `half_close`."""
        if self._state in (LINGERING, CLOSING):
            self.transport.loseConnection()
            return
        self._state = HALF_CLOSED
        self.deadline = self._context.seconds() + PROBE_DELAY
        self._advance()

    def writeConnectionLost(self) -> None:
        """Do nothing: our own half-close was sent, and the connection lingers."""

    def connectionLost(self, reason: Failure) -> None:
        """Cancel all requests: the connection is lost."""
        self.deadline = inf
        self._reader.close_input()
        self._responses.cancel_all()
        if self._limit_key:
            self._context.address_limit.release(self._limit_key)
        self._context.remove_connection(self)

    # Processing.

    def _advance(self) -> None:
        """Process the bytes received as far as nothing must be waited for, and write the responses in one write."""
        responses = self._responses
        if responses.is_buffering:
            return
        reader, now = self._reader, self._context.seconds()
        if self._state == NO_DEADLINE and reader.is_idle:  # the response was sent that both sides were waiting for
            self._state = IDLE
            self.deadline = now + self._idle_timeout
            return
        responses.is_buffering = True
        try:
            reader.process(now)
        finally:
            responses.flush()
        if responses.is_closed:
            self._finish()
        elif self._state == IDLE and reader.phase == HEAD and reader.parser.is_idle:  # the usual state after a request
            if responses.requests:
                self._state = NO_DEADLINE
                self.deadline = inf
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
        if self._state >= HALF_CLOSED:
            if blocked:
                return
            if not reader.is_complete:
                reader.reject(400, error_responses.INCOMPLETE_REQUEST, now)
            elif not self._responses.requests:
                self._close()
            return
        if self._state == CLOSING:  # the response just written was the last one
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
        if reader.phase != HEAD:
            self._state = IN_BODY
            self.deadline = inf if reader.phase == INPUT_CLOSED else body_deadline(reader, now)
        elif blocked or (reader.parser.is_idle and self._responses.requests):
            self._state = NO_DEADLINE
            self.deadline = inf
        elif reader.parser.is_idle:
            self._state = IDLE
            self.deadline = now + self._idle_timeout
        elif self._state != IN_HEAD or self._requests_before_head != reader.request_count:
            self._requests_before_head = reader.request_count
            self._state = IN_HEAD
            self.deadline = now + self._context.settings.head_timeout

    # Shutdown.

    def close_if_drained(self) -> None:
        """Close the connection if the node is draining and no request is in progress."""
        reader = self._reader
        if self._context.draining and reader.phase == HEAD and reader.is_complete and not self._responses.requests:
            self._close()

    connectionMade = close_if_drained  # a draining node accepts no new client

    def _finish(self) -> None:
        """Shut down after the last response in a way that lets the client read it."""
        reader = self._reader
        unread = not reader.is_complete
        reader.close_input()
        if not unread or self._state >= HALF_CLOSED:
            self._close()
            return
        self._state = LINGERING
        self.deadline = self._context.seconds() + LINGER_TIMEOUT
        self._writer.half_close()
        if self._paused:
            self._paused = False
            self.transport.resumeProducing()

    def _close(self) -> None:
        if self._state == CLOSING:
            return
        self._reader.close_input()
        self._state = CLOSING
        self.deadline = self._context.seconds() + self._context.settings.write_timeout
        self._writer.close()

    # Called by TimeoutSweeper.

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
        elif self._state == IDLE and now >= self.deadline - self._idle_timeout + HEAD_CACHE_TIMEOUT:
            self._state = IDLE_WITHOUT_HEAD
            self._reader.drop_last_head()
        elif self._state == IN_BODY and self._context.spool_quota and spool_body(self._reader, now):
            self._context.spool_quota -= 1
            self.deadline = inf  # it waits for the disk or the dispatcher

    def _time_out(self, now: float) -> None:
        state, reader = self._state, self._reader
        if state == IN_HEAD:
            reader.reject(408, error_responses.HEAD_TIMEOUT, now)
        elif state == IN_BODY:
            reader.reject(408, error_responses.BODY_TIMEOUT, now)
        elif state in (HALF_CLOSED, PROBE_SENT):
            self.deadline = now + PROBE_DELAY
            result = probe_client(self.transport, self._responses, self._writer, is_probed=state == PROBE_SENT)
            if result == DISCONNECTED:
                self.transport.abortConnection()
            elif result == PROBING:
                self._state = PROBE_SENT
        elif self._writer.is_backlogged:  # the client is still reading: `enforce_timeouts` notices when it stops
            self.deadline = now + LINGER_TIMEOUT
        elif state == CLOSING:
            self.transport.abortConnection()
        else:
            self._close()
