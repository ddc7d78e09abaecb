"""The TCP connection of a client, whose bytes are passed to a server unchanged."""

from __future__ import annotations

from math import inf
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol, IHandshakeListener, IProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from zatotx.connectors.http.buffered_writer import (
    READ_SIZE,
    RELAY_READ_SIZE,
    BufferedWriter,
    enlarge_reads,
    make_writer,
)
from zatotx.interfaces.load_balancer import (
    BalancingKey,
    ExchangeRecord,
    IServerSlot,
    ServerUseOutcome,
)
from zatotx.lb.proxy_header_writer import proxy_header
from zatotx.lb.server_connector import open_connection
from zatotx.lb.server_selection import NO_SERVER, QUEUE_TIMEOUT, ServerSelection
from zatotx.lb.tcp.tcp_frontend_context import TcpFrontendContext, TcpTarget
from zatotx.lb.tunnel import Tunnel
from zatotx.rules.http.trusted_proxies import UNIX

CLOSE_TIMEOUT = 5.0  # seconds that a peer has to accept the rest and to close its side
_QUEUE_SLACK = 1.0  # seconds after which a backend that does not enforce its own queue timeout is given up


@implementer(IProtocol, IHalfCloseableProtocol)
class TcpConnection:
    """One side of a TCP tunnel: the transport, the writer, and the behavior that both sides share.

    `deadline`: when the timeout of what it waits for passes, in seconds of the reactor's clock."""

    __slots__ = ('_is_lost', '_is_paused', '_runtime', '_tunnel', 'deadline', 'transport', 'writer')

    def __init__(self, runtime: TcpFrontendContext) -> None:
        self._runtime = runtime
        self._is_lost = self._is_paused = False
        self._tunnel: Tunnel | None = None
        self.deadline = inf

    def makeConnection(self, transport: Any) -> None:
        """Set up the connection."""
        runtime = self._runtime
        self.transport = transport
        if isinstance(transport.getPeer(), IPv4Address | IPv6Address):
            transport.setTcpNoDelay(True)
        self.writer: BufferedWriter = make_writer(transport, self._drained, runtime.seconds, runtime.write_batch)

    def connectionMade(self) -> None:
        """Do nothing: `makeConnection` does it all."""

    def dataReceived(self, data: bytes) -> None:
        """Pass bytes on."""
        if len(data) == READ_SIZE:
            enlarge_reads(self.transport, RELAY_READ_SIZE)
        self._received(data)

    def readConnectionLost(self) -> None:
        """Pass the end of the peer's direction on."""
        raise NotImplementedError

    def writeConnectionLost(self) -> None:
        """Do nothing: our own half-close was sent."""

    def connectionLost(self, reason: Failure) -> None:
        """Note that the connection is closed."""
        self._is_lost = True
        self._runtime.sweeper.remove(self)

    def _received(self, data: bytes) -> None:
        raise NotImplementedError

    def _drained(self) -> None:
        raise NotImplementedError

    def expire(self, now: float) -> None:
        """Enforce the timeout; called by the sweeper."""
        raise NotImplementedError

    def pause(self) -> None:
        """Stop reading."""
        if not self._is_paused and not self._is_lost:
            self._is_paused = True
            self.transport.pauseProducing()

    def resume(self) -> None:
        """Continue reading."""
        if self._is_paused and not self._is_lost:
            self._is_paused = False
            self.transport.resumeProducing()

    def abort(self) -> None:
        """Close the connection at once, without what is not sent yet."""
        if not self._is_lost:
            self.transport.abortConnection()

    def close(self) -> None:
        """Close the connection when everything is written."""
        if not self._is_lost:
            self.deadline = self._runtime.seconds() + CLOSE_TIMEOUT
            self._runtime.sweeper.add(self)
            self.writer.close()


@implementer(IHandshakeListener)
class TcpFrontendConnection(TcpConnection):
    """The client's side of a TCP tunnel. Nothing is read before the server is connected. With TLS, a server is selected
    after the handshake is complete."""

    _log = Logger()
    __slots__ = (
        '_acquired_at',
        '_connected_at',
        '_handshake_timeout',
        '_is_recorded',
        '_peer',
        '_retries',
        '_selection',
        '_server',
        '_started_at',
        '_target',
    )

    def __init__(self, runtime: TcpFrontendContext, target: TcpTarget, *, handshake_timeout: float = 0.0) -> None:
        """`handshake_timeout`: seconds for the TLS handshake; 0 = there is none."""
        super().__init__(runtime)
        self._handshake_timeout = handshake_timeout
        self._target = target
        self._acquired_at = self._connected_at = -1.0
        self._is_recorded = False
        self._server = ''
        self._retries = 0

    # Methods that Twisted calls.

    def makeConnection(self, transport: Any) -> None:
        """Start looking for a server."""
        super().makeConnection(transport)
        runtime, address = self._runtime, transport.getPeer()
        is_tcp = isinstance(address, IPv4Address | IPv6Address)
        self._peer = (address.host, address.port) if is_tcp else (UNIX, 0)
        self._started_at = runtime.seconds()
        runtime.connections.add(self)
        runtime.sweeper.add(self)
        key = BalancingKey(self._peer[0], {}, {})
        self._selection = ServerSelection(runtime.find_backend, self._target.name, key)
        if self._handshake_timeout:
            self.deadline = self._started_at + self._handshake_timeout
        else:
            self._begin()

    def handshakeCompleted(self) -> None:
        """Start looking for a server, over TLS."""
        self._handshake_timeout = 0.0
        self._begin()

    def _begin(self) -> None:
        self.pause()
        self._selection.acquire(self)

    def _received(self, data: bytes) -> None:
        if self._tunnel is not None:
            self._tunnel.client_data(data)

    def readConnectionLost(self) -> None:
        """Pass the client's half-close on."""
        if self._tunnel is not None:
            self._tunnel.client_half_closed()

    def connectionLost(self, reason: Failure) -> None:
        """End: the client is gone."""
        super().connectionLost(reason)
        if self._tunnel is not None:
            self._tunnel.client_lost()
        elif not self._is_recorded:
            self._selection.release(ServerUseOutcome.ABANDONED)
            self._record('CR' if self._handshake_timeout else 'CC' if self._acquired_at >= 0 else 'CQ', 0, 0)
        self._runtime.connection_lost(self)

    def _drained(self) -> None:
        if self._tunnel is not None:
            self._tunnel.client_drained()

    # Choosing a server.

    def slot_awaited(self) -> None:
        """See SelectionOwner."""
        self.deadline = self._runtime.seconds() + self._target.settings.timeouts.queue + _QUEUE_SLACK

    def slot_unavailable(self, termination: str) -> None:
        """Close the connection: there is no server for it. See SelectionOwner."""
        self._selection.release(ServerUseOutcome.ABANDONED)
        self._record(termination, 0, 0)
        self.abort()

    def slot_acquired(self, slot: IServerSlot) -> None:
        """Connect to a server. See SelectionOwner."""
        runtime, target = self._runtime, self._target
        self._server = slot.name
        self._acquired_at = runtime.seconds()
        self.deadline = self._acquired_at + target.settings.timeouts.connect
        link = target.link(slot.name, slot.host, slot.port)
        header = proxy_header(target.settings.proxy_protocol, self.transport)
        connection = TcpBackendConnection(runtime, b'' if link.tls else header)
        opening = Deferred.fromCoroutine(open_connection(link, connection, runtime.clock, header))
        self._selection.wait_for(opening.addCallback(lambda _: connection), self._connected, self._try_next)

    def _connected(self, connection: TcpBackendConnection) -> None:
        self._connected_at = self._runtime.seconds()
        tunnel = self._tunnel = Tunnel(
            self, connection, timeout=self._target.settings.timeouts.tunnel, seconds=self._runtime.seconds,
            on_end=self._tunnel_ended,
        )  # fmt: skip
        connection.begin(tunnel)
        self.resume()

    def _try_next(self, termination: str = NO_SERVER) -> None:
        """Try another server: not a byte of the client was read yet."""
        selection = self._selection
        selection.release(ServerUseOutcome.NOT_CONNECTED)
        if self._retries < self._target.settings.retries.attempts:
            self._retries += 1
            self._target.counters.count_retry()
            selection.acquire_another(self)
        else:
            self.slot_unavailable(termination)

    # The end.

    def _tunnel_ended(self, tunnel: Tunnel, termination: str) -> None:
        has_failed = termination[0] == 'S' and not tunnel.sent_bytes
        self._selection.release(ServerUseOutcome.RESET if has_failed else ServerUseOutcome.RESPONDED)
        self._record(termination, tunnel.received_bytes, tunnel.sent_bytes)

    def _record(self, termination: str, received: int, sent: int) -> None:
        self._is_recorded = True
        now, target = self._runtime.seconds(), self._target
        acquired, connected, started = self._acquired_at, self._connected_at, self._started_at
        if not target.counters.count(0, termination, received, sent, now - started) and not target.is_logged:
            return
        address, port = self._peer
        self._runtime.exchange_log.log(ExchangeRecord(
            frontend=self._runtime.name, backend=target.name, server=self._server, client_address=address,
            client_port=port, started_at=started, head_time=-1, queue_time=acquired - started if acquired >= 0 else -1,
            connect_time=connected - acquired if connected >= 0 else -1, response_time=-1, total_time=now - started,
            status=0, received_bytes=received, sent_bytes=sent, retries=self._retries, termination=termination,
            request_line=b'',
        ), is_written=target.is_logged)  # fmt: skip

    def expire(self, now: float) -> None:
        """Enforce the timeout; called by the sweeper."""
        if self._tunnel is not None:
            self._tunnel.expire(now)
        elif self._is_recorded:
            self.transport.abortConnection()
        elif self._handshake_timeout:
            self.slot_unavailable('cR')
        elif self._selection.slot is not None:
            self._try_next('sC')
        else:
            self.slot_unavailable(QUEUE_TIMEOUT)

    def server_down(self, backend: str, server: str) -> None:
        """Try another server, unless this one has accepted the connection."""
        if self._tunnel is None and not self._is_recorded and self._selection.slot is not None and (
            (backend, server) == (self._target.name, self._server)
        ):  # fmt: skip
            self._try_next()

    def close_if_idle(self) -> None:
        """Do nothing: a connection that is passed on is in use until one side ends it."""

    def end_tunnel(self) -> None:
        """Close the connection after a tunnel, when everything is written."""
        self._tunnel = None
        self.close()


class TcpBackendConnection(TcpConnection):
    """The server's side of a TCP tunnel, which is the connection to a server."""

    __slots__ = ('_early', '_end', '_proxy_header')

    def __init__(self, runtime: TcpFrontendContext, proxy_header: bytes) -> None:
        super().__init__(runtime)
        self._proxy_header = proxy_header
        self._early: list[bytes] = []  # what the server has sent before `begin`
        self._end: Failure | None = None

    def makeConnection(self, transport: Any) -> None:
        """Set up the connection, and write the PROXY protocol header, if there is one."""
        super().makeConnection(transport)
        if self._proxy_header:
            self.writer.write(self._proxy_header)

    def begin(self, tunnel: Tunnel) -> None:
        """Start passing bytes on."""
        self._tunnel = tunnel
        for data in self._early:
            tunnel.backend_data(data)
        self._early.clear()
        if self._end is not None:
            tunnel.backend_lost(self._end)

    def _received(self, data: bytes) -> None:
        if self._tunnel is not None:
            self._tunnel.backend_data(data)
        else:
            self._early.append(data)

    def readConnectionLost(self) -> None:
        """Pass the server's half-close on."""
        if self._tunnel is not None:
            self._tunnel.backend_half_closed()
        else:
            self._end = Failure(ConnectionDone())
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure) -> None:
        """End the tunnel."""
        super().connectionLost(reason)
        if self._tunnel is not None:
            self._tunnel.backend_lost(reason)
        else:
            self._end = reason

    def _drained(self) -> None:
        if self._tunnel is not None:
            self._tunnel.backend_drained()

    def expire(self, now: float) -> None:
        """Abort the connection: the server does not accept the rest. Called by the sweeper."""
        self.abort()
