"""The control connection of the FTP client: sends commands one after another, and returns their replies."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from zatotx.plugins.ftp.client.errors import ConnectionClosed, FtpFailed
from zatotx.plugins.ftp.wire import FtpReply, InvalidReply, ReplyParser, encode_command

SERVICE_CLOSING = 421


class ControlConnection(Protocol):
    """A control connection of the FTP client. `is_synchronized` says whether no reply is outstanding, so that another
    command can be sent."""

    transport: Any  # ITCPTransport, or that of TLS

    def __init__(self, encoding: str = 'utf-8', lost: Callable[[], object] = lambda: None) -> None:
        self._encoding = encoding
        self._lost = lost
        self._parser = ReplyParser(encoding)
        self._replies: deque[FtpReply] = deque()  # that nothing has waited for yet
        self._waiting: Deferred[FtpReply] | None = None
        self._error: FtpFailed | InvalidReply | None = None  # why there are no more replies
        self._awaited = 1  # replies that are outstanding: at first, that of the connection itself

    @property
    def is_synchronized(self) -> bool:
        """Whether the connection is open, and every command was replied to."""
        return not self._awaited and not self._replies and self._parser.is_empty and self._error is None

    @property
    def peer_host(self) -> str:
        """The address of the server."""
        host: str = self.transport.getPeer().host
        return host

    @property
    def local_host(self) -> str:
        """The address of this end."""
        host: str = self.transport.getHost().host
        return host

    def send(self, name: str, argument: str = '') -> Deferred[FtpReply]:
        """Send a command; fires with the first reply to it. Raises ValueError for an argument that cannot be sent.
        Fails with ConnectionClosed and InvalidReply. Cancelling it leaves the connection out of step."""
        line = encode_command(name, argument, self._encoding)
        if self._error is not None or not self.is_synchronized:
            return fail(self._unusable())
        self._awaited = 1
        self.transport.write(line)
        return self.reply()

    def reply(self) -> Deferred[FtpReply]:
        """Return the next reply: another one to the last command, or that of the connection itself."""
        if self._replies:
            return succeed(self._replies.popleft())
        if self._error is not None:
            return fail(self._error)
        assert self._waiting is None
        waiting: Deferred[FtpReply] = Deferred(self._abandon)
        self._waiting = waiting
        return waiting

    def abort_transfer(self) -> None:
        """Send ABOR, and NOOP behind it: the reply to NOOP, 200, is the only one of that code, and ends the replies to
        the transfer and to ABOR, of which there may be one or two (RFC 959)."""
        self._awaited = 1
        self.transport.write(encode_command('ABOR') + encode_command('NOOP'))

    def quit(self) -> None:
        """Say goodbye and close."""
        if self._error is None:
            if self.is_synchronized:
                self.transport.write(encode_command('QUIT'))
            self.transport.loseConnection()

    def abort(self) -> None:
        """Close at once."""
        if self._error is None:
            self._fail(ConnectionClosed('the connection is closed'))
            if self.transport is not None:
                self.transport.abortConnection()

    # Protocol

    def dataReceived(self, data: bytes) -> None:
        try:
            replies = self._parser.feed(data)
        except InvalidReply as error:
            self._fail(error)
            self.transport.abortConnection()
            return
        self._replies.extend(replies)  # all of them, before anybody sees the first one and finds it to be the last
        self._awaited = max(0, self._awaited - sum(not reply.is_preliminary for reply in replies))
        if self._replies and self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            waiting.callback(self._replies.popleft())

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._fail(ConnectionClosed('the server closed the connection'))
        self._lost()

    def _unusable(self) -> Exception:
        if self._error is not None:
            return self._error
        if self._replies and self._replies[0].code == SERVICE_CLOSING:
            return ConnectionClosed(f'the server closes the connection: {self._replies[0]}')
        return InvalidReply('it sent a reply that no command had asked for')

    def _fail(self, error: FtpFailed | InvalidReply) -> None:
        if self._error is None:
            self._error = error
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.errback(self._error)

    def _abandon(self, cancelled: Deferred[FtpReply]) -> None:
        self._waiting = None
        cancelled.errback(CancelledError())
