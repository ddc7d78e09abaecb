"""Opens the data connections of the FTP client in passive mode (EPSV, then PASV) or active mode (EPRT, then PORT), with
or without TLS.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from attrs import define
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import ServerFactory

from zatotx.connectors.tcp_client import connect_protocol
from zatotx.connectors.tls_client import TlsClientFactory, TlsHandshakeFailed
from zatotx.plugins.ftp.client.bulk_tls import BulkTlsProtocol
from zatotx.plugins.ftp.client.control_connection import ControlConnection
from zatotx.plugins.ftp.client.data_connection import DataConnection
from zatotx.plugins.ftp.client.errors import CommandRejected, TransferFailed
from zatotx.plugins.ftp.client.progress import ProgressLimit
from zatotx.plugins.ftp.wire import (
    FtpReply,
    encode_extended_port,
    encode_port,
    parse_extended_passive_port,
    parse_passive_port,
)

_UNUSED_PORT = 0


@define(eq=False)
class DataChannel:
    """Opens the data connections of one FTP session.

    `is_extended`: whether the server knows EPSV and EPRT, until it says that it does not. `tls`: None = not encrypted.
    """

    reactor: Any
    control: ControlConnection
    limit: ProgressLimit
    host: str  # name in the server's certificate
    command: Callable[[str, str], Awaitable[FtpReply]]
    is_active: bool = False
    tls: TlsClientFactory | None = None
    is_extended: bool = True

    async def prepare(self) -> PreparedData:
        """Agree on a data connection, before the command that uses it. Raises CommandRejected, TransferFailed and
        InvalidReply."""
        if self.is_active:
            return await self._listen()
        port = await self._passive_port()
        endpoint_class = TCP6ClientEndpoint if ':' in self.control.peer_host else TCP4ClientEndpoint
        endpoint = endpoint_class(self.reactor, self.control.peer_host, port, timeout=self.limit.timeout)
        connection = DataConnection(self.reactor)
        try:
            await self.limit.wait(connect_protocol(endpoint, connection))
        except ConnectError as error:
            raise TransferFailed('its data connection cannot be opened') from error
        return PreparedData(self, connection)

    async def _passive_port(self) -> int:
        """The address in the reply to PASV is ignored: the data connection leads to the host of the control
        connection."""
        control = self.control
        if self.is_extended:
            reply = await self.command('EPSV', '')
            if reply.is_success:
                return parse_extended_passive_port(reply)
            self.is_extended = ':' in control.peer_host  # PASV has IPv4 addresses only
            if self.is_extended:
                raise CommandRejected(reply)
        reply = await self.command('PASV', '')
        if not reply.is_success:
            raise CommandRejected(reply)
        return parse_passive_port(reply)

    async def _listen(self) -> PreparedData:
        control = self.control
        listener = DataListener(self.reactor, control.peer_host)
        listener.port = self.reactor.listenTCP(_UNUSED_PORT, listener, backlog=1, interface=control.local_host)
        try:
            host, port = control.local_host, listener.port.getHost().port
            reply = None
            if self.is_extended:
                reply = await self.command('EPRT', encode_extended_port(host, port))
                if not reply.is_success and ':' not in host:
                    self.is_extended = False
            if not self.is_extended:
                reply = await self.command('PORT', encode_port(host, port))
            if reply is None or not reply.is_success:
                assert reply is not None
                raise CommandRejected(reply)
        except BaseException:
            listener.close()
            raise
        return PreparedData(self, listener.connection, listener)


@define(eq=False)
class PreparedData:
    """A data connection that was negotiated but is not open yet. `open` is called after the server has accepted the
    transfer command."""

    channel: DataChannel
    connection: DataConnection
    listener: DataListener | None = None

    async def open(self) -> DataConnection:
        """Return the connection, ready for the transfer. Raises TransferFailed and TlsHandshakeFailed."""
        channel, connection = self.channel, self.connection
        if self.listener is not None:
            await channel.limit.wait(self.listener.connected)
        connection.enlarge_buffers()
        if channel.tls is not None and not connection.is_closed:
            await self._start_tls(channel.tls)
        return connection

    def abort(self) -> None:
        """Give the connection up."""
        if self.listener is not None:
            self.listener.close()
        if self.connection.transport is not None:
            self.connection.abort()

    async def _start_tls(self, tls: TlsClientFactory) -> None:
        """Resume the TLS session of the control connection: servers may require it, to be sure that both connections
        come from the same client."""
        channel, connection = self.channel, self.connection
        session = channel.control.transport.getHandle().get_session()
        handshake = tls.handshake(connection.transport, channel.host, channel.reactor, session=session,
                                  protocol=BulkTlsProtocol)  # fmt: skip
        try:
            secure = await channel.limit.wait(handshake.done)
        except TlsHandshakeFailed:
            connection.is_closed = True
            raise
        except BaseException:
            connection.abort()
            raise
        secure.wrappedProtocol = connection
        connection.transport = secure


class DataListener(ServerFactory):
    """Accepts the data connection in active mode. Only connections from the server of the control connection are
    accepted."""

    noisy = False

    def __init__(self, clock: IReactorTime, peer_host: str) -> None:
        self._clock = clock
        self._peer_host = peer_host
        self.port: Any = None  # IListeningPort
        self.connection = DataConnection(clock)
        self.connected: Deferred[None] = Deferred(self._cancel)
        self._is_taken = False

    def buildProtocol(self, addr: IAddress | None) -> DataConnection | None:
        """Return None, which closes the connection, for others than the server."""
        if self._is_taken or getattr(addr, 'host', None) != self._peer_host:
            return None
        self._is_taken = True
        self.close()
        self._clock.callLater(0, self._connected)
        return self.connection

    def close(self) -> None:
        """Stop listening."""
        self.port.stopListening()

    def _connected(self) -> None:
        if not self.connected.called:
            self.connected.callback(None)

    def _cancel(self, cancelled: Deferred[None]) -> None:
        self.close()
        cancelled.errback(CancelledError())
