"""Connects to an FTP server and logs in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import ConnectError, DNSLookupError

from zatotx.connectors.tcp_client import connect_protocol
from zatotx.plugins.ftp.client.control_connection import ControlConnection
from zatotx.plugins.ftp.client.errors import Unreachable
from zatotx.plugins.ftp.client.progress import ProgressLimit
from zatotx.plugins.ftp.client.session import FtpSession, SessionSettings


@define(eq=False)
class SessionConnector:
    """Creates sessions with one FTP server. `timeout` is the number of seconds that each step of the connection setup
    may take."""

    reactor: Any
    settings: SessionSettings
    port: int
    timeout: float
    run_in_thread: Callable[..., Deferred[Any]]

    async def connect(self, lost: Callable[[], object]) -> FtpSession:
        """Return a session that has logged in. `lost` is called when its connection ends. Raises Unreachable,
        LoginRejected, TlsHandshakeFailed, CommandRejected, InvalidReply and NoProgress. Cancelling it leaves no socket
        open."""
        settings, limit = self.settings, ProgressLimit(self.reactor, self.timeout)
        control = ControlConnection(settings.encoding, lost)
        endpoint = HostnameEndpoint(self.reactor, settings.host, self.port, timeout=self.timeout)
        try:
            await limit.wait(connect_protocol(endpoint, control))
        except DNSLookupError as error:
            raise Unreachable('the name of its host has no address') from error
        except ConnectError as error:
            raise Unreachable('nobody is at its address') from error
        try:
            control.transport.setTcpKeepAlive(True)
            control.transport.setTcpNoDelay(True)
            if settings.tls is not None and settings.is_implicit_tls:
                handshake = settings.tls.handshake(control.transport, settings.host, self.reactor)
                control.transport = await limit.wait(handshake.done)
                control.transport.wrappedProtocol = control
            session = FtpSession(self.reactor, control, settings, limit, self.run_in_thread)
            await session.log_in()
        except BaseException:
            control.abort()
            raise
        return session
