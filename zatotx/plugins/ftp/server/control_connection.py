"""The control connection with a client of the FTP server: reads command lines and writes replies. The commands are
processed one after another."""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.ssl import CertificateOptions
from twisted.logger import Logger
from twisted.python.failure import Failure

from zatotx.plugins.ftp.server.command_syntax import (
    CommandBuffer,
    FtpError,
    LineTooLongError,
    ServerReply,
    parse_command,
    to_ftp_error,
)
from zatotx.plugins.ftp.server.command_table import run_command
from zatotx.plugins.ftp.server.session import Session, SessionClosedError, SessionContext

BACKLOG = 32  # commands that wait; reading pauses beyond
ABORT = b'ABOR'
CLOSE_TIMEOUT = 5.0  # seconds that a client gets to take the last reply


class ServerControlConnection(Protocol):
    """The control connection with one client. `network` is the key by which connections are counted. `closed` is called
    when the connection has ended."""

    _log = Logger()

    def __init__(self, context: SessionContext, network: str, closed: Callable[[ServerControlConnection], None],
                 implicit_tls: CertificateOptions | None = None) -> None:
        self.network = network
        self._implicit_tls = implicit_tls
        self._context, self._closed = context, closed
        self._buffer = CommandBuffer()
        self._lines: deque[bytes] = deque()
        self._is_running = False
        self._is_paused = False
        self._is_closing = False
        self._closes_when_idle = False
        self._idle: IDelayedCall | None = None
        self.session: Session | None = None

    # Twisted

    def connectionMade(self) -> None:
        transport: Any = self.transport
        with suppress(AttributeError, OSError):  # ABOR of some clients comes as urgent data; TLS has none
            transport.getHandle().setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
        with suppress(AttributeError):
            transport.setTcpNoDelay(True)
        self.session = Session(self._context, self)
        self._idle = self._context.reactor.callLater(self.session.idle_timeout, self._timed_out)
        if self._implicit_tls is not None:
            self.session.start_implicit_tls(self._implicit_tls)
        self.send(ServerReply(220, 'Ready'))

    def dataReceived(self, data: bytes) -> None:
        if self._is_closing:
            return
        try:
            lines = self._buffer.feed(data)
        except LineTooLongError:
            self._refuse(500, 'The line is too long')
            return
        for line in lines:
            if line.strip().upper() == ABORT and self.session is not None and self.session.abort_transfer():
                self._lines.appendleft(line)
            else:
                self._lines.append(line)
        if len(self._lines) >= BACKLOG and self.session is not None and self.session.is_transferring:
            self._refuse(421, 'Too many commands during a transfer')  # the end of a paused connection is not seen
            return
        if len(self._lines) >= BACKLOG:
            self._pause()
        self._next()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._lines.clear()
        if self._idle is not None and self._idle.active():
            self._idle.cancel()
        if self.session is not None:
            self.session.close()
        self._closed(self)

    # What the session calls

    def send(self, reply: ServerReply) -> None:
        """Write a reply."""
        transport: Any = self.transport
        transport.write(reply.encode())

    def start_tls(self, tls: CertificateOptions) -> None:
        """Protect the connection from now on. What the client sent in plain text after AUTH is dropped."""
        self._lines.clear()
        self._buffer.clear()
        transport: Any = self.transport
        transport.startTLS(tls)

    def close(self) -> None:
        """Close after what was written."""
        self._is_closing = True
        if self._idle is not None and self._idle.active():
            self._idle.cancel()
        self._idle = self._context.reactor.callLater(CLOSE_TIMEOUT, self.abort)
        transport: Any = self.transport
        transport.loseConnection()

    @property
    def peer(self) -> str:
        """The address of the client."""
        transport: Any = self.transport
        return str(getattr(transport.getPeer(), 'host', ''))

    @property
    def host(self) -> str:
        """The address of this server that the client has connected to."""
        transport: Any = self.transport
        return str(getattr(transport.getHost(), 'host', ''))

    # What the server calls

    def close_when_idle(self) -> None:
        """Close now, or after the command that runs."""
        self._closes_when_idle = True
        if not self._is_running:
            self._refuse(421, 'The service is closing')

    def abort(self) -> None:
        """Close now."""
        transport: Any = self.transport
        transport.abortConnection()

    # Commands

    def _next(self) -> None:
        if self._is_running or self._is_closing or not self._lines:
            return
        line = self._lines.popleft()
        if self._is_paused and len(self._lines) < BACKLOG // 2:
            self._is_paused = False
            transport: Any = self.transport
            transport.resumeProducing()
        self._is_running = True
        Deferred.fromCoroutine(self._run(line)).addBoth(self._ran)

    async def _run(self, line: bytes) -> ServerReply | None:
        assert self.session is not None
        try:
            return await run_command(self.session, parse_command(line))
        except FtpError as error:
            return ServerReply(error.code, error.text)
        except SessionClosedError:
            return None
        except OSError as error:
            mapped = to_ftp_error(error)
            return ServerReply(mapped.code, mapped.text)
        except Exception:
            self._log.failure('{title}: a command failed', title=self._context.title)
            return ServerReply(451, 'The command failed')

    def _ran(self, result: Any) -> None:
        self._is_running = False
        assert self.session is not None
        if self.session.is_closed:
            return
        if isinstance(result, ServerReply):
            self.send(result)
            if result.after is not None:
                result.after()
        self._restart_idle()
        if self._closes_when_idle:
            self._refuse(421, 'The service is closing')
        self._context.reactor.callLater(0, self._next)  # many commands in one packet do not nest

    def _restart_idle(self) -> None:
        assert self.session is not None
        if not self._is_closing and self._idle is not None and self._idle.active():
            self._idle.reset(self.session.idle_timeout)

    def _timed_out(self) -> None:
        assert self.session is not None
        if self._is_running:
            self._idle = self._context.reactor.callLater(self.session.idle_timeout, self._timed_out)
            return
        self._refuse(421, 'No command for too long')

    def _refuse(self, code: int, text: str) -> None:
        """Send a last reply. The client is cut where it does not take it."""
        if self.session is None or self.session.is_closed or self._is_closing:
            return
        self._lines.clear()
        self.send(ServerReply(code, text))
        self.close()

    def _pause(self) -> None:
        if not self._is_paused:
            self._is_paused = True
            transport: Any = self.transport
            transport.pauseProducing()
