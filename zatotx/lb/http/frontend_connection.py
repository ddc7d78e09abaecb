"""The HTTP connection of a client. It parses the requests, and starts an exchange for each request, one after
another."""

from __future__ import annotations

from enum import Enum, auto
from functools import partial
from math import inf
from typing import Any, cast

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress, IHalfCloseableProtocol, IHandshakeListener, IProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from zatotx.connectors.http.buffered_writer import (
    READ_SIZE,
    RELAY_READ_SIZE,
    BufferedWriter,
    enlarge_reads,
    make_writer,
)
from zatotx.connectors.peer_certificates import peer_certificates
from zatotx.lb.http import error_responses
from zatotx.lb.http.exchange import Exchange
from zatotx.lb.http.exchange_interfaces import ConnectionUser
from zatotx.lb.http.exchange_record import log_malformed_input
from zatotx.lb.http.http_frontend_context import HttpFrontendContext
from zatotx.lb.http.http_frontend_state import BackendTarget, PreparedRequest
from zatotx.lb.http.request_rewriting import ClientConnectionInfo
from zatotx.rules.http.trusted_proxies import UNIX
from zatotx.wire.http.client_cert import write_client_cert
from zatotx.wire.http1.message_limits import HttpMessageRejected, HttpParserLimits
from zatotx.wire.http1.request_parser import RequestHead, RequestParser

MAX_PENDING_BYTES = 64 * 1024  # unread bytes of a client that may be pending before reading from it pauses
LINGER_TIMEOUT = 5.0  # seconds in which a client that is still sending can read the last response
HEAD_CACHE_TIMEOUT = 5.0  # seconds of idleness after which what is kept from the last request is dropped
MAX_BODY = 1 << 62  # bytes: the servers limit the bodies


class PhaseBetweenExchanges(Enum):
    """The phase of a client connection that is not processing an exchange, such as idle or closing."""

    IDLE = auto()  # waits for the next request
    IN_HEAD = auto()  # waits for the rest of a head
    LINGERING = auto()  # lets the client read the last response, and ignores what it sends
    CLOSING = auto()  # waits until everything is written
    CLOSED = auto()


IDLE, IN_HEAD, LINGERING, CLOSING, CLOSED = PhaseBetweenExchanges
_ENDING = (LINGERING, CLOSING, CLOSED)


@implementer(IProtocol, IHalfCloseableProtocol, IHandshakeListener)
class FrontendConnection:
    """An HTTP connection of a client. `exchange` is the request in progress, or the tunnel to which the connection was
    upgraded. `deadline` is the time at which the timeout of the current phase or exchange expires, in seconds on the
    reactor's clock."""

    __slots__ = (
        '_idle_since',
        '_is_paused',
        '_is_starting',
        '_last',
        '_phase',
        'deadline',
        'exchange',
        'has_half_closed',
        'head_began',
        'parser',
        'peer',
        'peer_port',
        'runtime',
        'transport',
        'writer',
    )

    def __init__(self, runtime: HttpFrontendContext) -> None:
        self.runtime = runtime
        self.exchange: ConnectionUser | None = None
        self.has_half_closed = False
        self.deadline = inf
        self.head_began = 0.0
        self._idle_since = 0.0
        self._is_paused = False
        self._is_starting = False
        self._last: PreparedRequest | None = None
        self._phase: PhaseBetweenExchanges = IN_HEAD  # a new connection is given the time for a head

    # Methods that Twisted calls.

    def makeConnection(self, transport: Any) -> None:
        """Start serving the client."""
        runtime = self.runtime
        settings = runtime.state.settings
        self.transport = transport
        address = transport.getPeer()
        is_tcp = isinstance(address, IPv4Address | IPv6Address)
        if is_tcp:
            transport.setTcpNoDelay(True)
        self.peer_port = address.port if is_tcp else 0
        self.peer = self._make_peer(address, is_tls=bool(getattr(transport, 'proxied_over_tls', False)))
        self.writer: BufferedWriter = make_writer(transport, self._drained, runtime.seconds, runtime.write_batch)
        self.parser = RequestParser(HttpParserLimits(head=settings.max_head, body=MAX_BODY))
        self.head_began = self._idle_since = runtime.seconds()
        self.deadline = self.head_began + settings.timeouts.request
        runtime.connections.add(self)
        runtime.sweeper.add(self)
        if runtime.is_draining:
            self._close()

    def connectionMade(self) -> None:
        """Do nothing: `makeConnection` does it all."""

    def handshakeCompleted(self) -> None:
        """Record the client's verified certificate, over TLS, before any of its bytes are read."""
        address = self.transport.getPeer()
        self.peer = self._make_peer(address, is_tls=True, lines=write_client_cert(peer_certificates(self.transport)))

    def dataReceived(self, data: bytes) -> None:
        """Parse the client's bytes."""
        if len(data) == READ_SIZE:
            enlarge_reads(self.transport, RELAY_READ_SIZE)
        if self.exchange is not None:
            self.exchange.client_data(data)
        elif self._phase is IDLE and (head := self.parser.feed_repeated(data)) is not None:
            self._begin(head, is_complete=True)
            if self.exchange is None:
                self._next()
        elif self._phase not in _ENDING:
            self.parser.feed(data)
            self._next()

    def readConnectionLost(self) -> None:
        """Handle the client's half-close: its current request is still answered."""
        self.has_half_closed = True
        if self.exchange is not None:
            self.exchange.client_half_closed()
        elif self._phase is LINGERING:
            self._close()
        elif self._phase not in _ENDING:
            try:
                self.parser.feed_eof()
            except HttpMessageRejected as rejection:
                self._reject(rejection)
            else:
                self._close()

    def writeConnectionLost(self) -> None:
        """Do nothing: our own half-close was sent."""

    def connectionLost(self, reason: Failure) -> None:
        """End the exchange: the client is gone."""
        self._phase = CLOSED
        runtime = self.runtime
        runtime.sweeper.remove(self)
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            exchange.client_lost()
        runtime.connection_lost(self)

    def _drained(self) -> None:
        if self.exchange is not None:
            self.exchange.client_drained()

    # Requests.

    def _next(self) -> None:
        """Start exchanges until one of them waits, or a head is not complete."""
        parser = self.parser
        while self.exchange is None and self._phase not in _ENDING:
            try:
                head = parser.next()
            except HttpMessageRejected as rejection:
                self._reject(rejection)
                return
            if head is None:
                self._await_head()
                return
            assert type(head) is RequestHead
            self._begin(head)

    def _begin(self, head: RequestHead, *, is_complete: bool = False) -> None:
        """Start the exchange of a request. `is_complete`: no body follows, and the parser has passed the end."""
        runtime = self.runtime
        now = runtime.seconds()
        last = self._last
        if last is None or last.head is not head or last.state is not runtime.state:
            last = self._last = runtime.state.prepare(head, self.peer)
        # An exchange without a target, whose response is local, does not use it.
        exchange = self.exchange = Exchange(self, last, cast(BackendTarget, last.target), self.parser, now, is_complete,
                                            head.keep_alive)  # fmt: skip
        if self._phase is not IN_HEAD:
            self.head_began = now
        self._phase = IDLE
        self._is_starting = True
        exchange.start(now)
        self._is_starting = False

    def exchange_finished(self, now: float, *, keep_alive: bool, unread: bool) -> None:
        """Go on after an exchange. `unread`: the client may still be sending its request."""
        self.exchange = None
        if not keep_alive or self.has_half_closed or self.runtime.is_draining:
            self._finish(lingers=unread or self.parser.pending_bytes > 0)
        elif self._is_starting:
            return
        elif self.parser.pending_bytes or self._is_paused:
            self.resume()
            self._next()
        else:
            self._idle_since = now
            self.deadline = now + HEAD_CACHE_TIMEOUT

    def become_tunnel(self, tunnel: ConnectionUser) -> None:
        """Pass all further events to a tunnel."""
        self.exchange = tunnel
        self.resume()

    def _await_head(self) -> None:
        """Set the deadline for the next request, or the rest of its head."""
        now = self.runtime.seconds()
        self.resume()
        if self.parser.is_idle:
            self._phase = IDLE
            self._idle_since = now
            self.deadline = now + HEAD_CACHE_TIMEOUT
        elif self._phase is not IN_HEAD:
            self._phase = IN_HEAD
            self.head_began = now
            self.deadline = now + self.runtime.state.settings.timeouts.request

    def _reject(self, rejection: HttpMessageRejected) -> None:
        """Answer bytes that are no request, and read nothing more."""
        self._respond_and_close(rejection.status, rejection.reason, rejection.request_line)

    def _respond_and_close(self, status: int, details: str, request_line: bytes = b'') -> None:
        runtime = self.runtime
        data = error_responses.serialize_error_response(status, details, runtime.state.configuration.error_bodies)
        self.writer.write(data)
        log_malformed_input(self, status=status, sent=len(data), request_line=request_line)
        self._finish(lingers=True)

    # Flow control, called by exchanges.

    def pause_if_full(self) -> None:
        """Stop reading if the exchange cannot process what the client sends."""
        if not self._is_paused and self.parser.pending_bytes > MAX_PENDING_BYTES:
            self._is_paused = True
            self.transport.pauseProducing()

    def pause(self) -> None:
        """Stop reading."""
        if not self._is_paused:
            self._is_paused = True
            self.transport.pauseProducing()

    def resume(self) -> None:
        """Continue reading."""
        if self._is_paused:
            self._is_paused = False
            self.transport.resumeProducing()

    # The end of the connection.

    def _finish(self, *, lingers: bool) -> None:
        """Close the connection in a way that lets the client read the last response: data that arrives after a socket
        is closed would reset the connection, and the client would lose what it has not read yet."""
        if not lingers or self.has_half_closed:
            self._close()
            return
        self._phase = LINGERING
        self.deadline = self.runtime.seconds() + LINGER_TIMEOUT
        self.writer.half_close()
        self.resume()

    def _close(self) -> None:
        if self._phase not in (CLOSING, CLOSED):
            self._phase = CLOSING
            self.deadline = self.runtime.seconds() + self.runtime.state.settings.timeouts.client
            self.writer.close()

    def abort(self) -> None:
        """Close the connection at once, without what is not sent yet."""
        if self._phase is not CLOSED:
            self.transport.abortConnection()

    def cut(self) -> None:
        """End a response that cannot be completed: the client sees that its connection ends too early."""
        self.exchange = None
        self._close()

    def end_tunnel(self) -> None:
        """Close the connection after a tunnel, when everything is written."""
        self.exchange = None
        self._close()

    def server_down(self, backend: str, server: str) -> None:
        """See ClientConnectionHandle."""
        if isinstance(self.exchange, Exchange):
            self.exchange.server_down(backend, server)

    def close_if_idle(self) -> None:
        """Close the connection if no request is in progress: the frontend is draining."""
        if self.exchange is None and self._phase not in _ENDING and self.parser.is_idle:
            self._close()

    def expire(self, now: float) -> None:
        """Enforce the timeout of the current phase or exchange; called by the sweeper."""
        timeouts = self.runtime.state.settings.timeouts
        if self.exchange is not None:
            self.exchange.expire(now)
        elif self.writer.is_backlogged and now - self.writer.last_progress < timeouts.client:
            self.deadline = self.writer.last_progress + timeouts.client
        elif self._phase is IDLE and now < self._idle_since + timeouts.keep_alive:
            self.deadline = self._idle_since + timeouts.keep_alive
            self._last = None
            self.parser.clear_cache()
        elif self._phase is IN_HEAD and not self.parser.is_idle:
            self._respond_and_close(408, error_responses.HEAD_TIMEOUT)
        elif self._phase in (IDLE, IN_HEAD, LINGERING):
            self._close()
        else:
            self.transport.abortConnection()

    def _make_peer(self, address: IAddress, *, is_tls: bool, lines: bytes = b'') -> ClientConnectionInfo:
        host = address.host if isinstance(address, IPv4Address | IPv6Address) else UNIX
        trusted = self.runtime.state.trusted_proxies
        return ClientConnectionInfo(address=host, is_tls=is_tls, is_trusted=bool(trusted) and trusted.trusts(host),
                    listener=partial(_listener_authority, self.transport), certificate_lines=lines)  # fmt: skip


def _listener_authority(transport: Any) -> bytes:
    """Return the address and port to which the client has connected."""
    own = transport.getHost()
    if not isinstance(own, IPv4Address | IPv6Address):
        return b'localhost'
    return (f'[{own.host}]:{own.port}' if ':' in own.host else f'{own.host}:{own.port}').encode('ascii')
