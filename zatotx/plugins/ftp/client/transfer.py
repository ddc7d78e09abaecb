"""Transfers on an FTP session. Downloads are read in chunks, and uploads are written in chunks."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Any, Protocol, Self

from attrs import define
from twisted.internet.task import deferLater

from zatotx.plugins.ftp.client.control_connection import SERVICE_CLOSING, ControlConnection
from zatotx.plugins.ftp.client.data_channel import DataChannel
from zatotx.plugins.ftp.client.data_connection import DataConnection
from zatotx.plugins.ftp.client.errors import CommandRejected, ConnectionClosed, TransferFailed
from zatotx.plugins.ftp.client.progress import NoProgress, ProgressLimit, acknowledged_bytes
from zatotx.plugins.ftp.wire import FtpReply

CUT = (425, 426)  # replies that say that the data connection failed
NOOP_DONE = 200
MAX_ABORT_REPLIES = 6


class TransferSession(Protocol):
    """The interface of the session on which a transfer runs."""

    control: ControlConnection
    channel: DataChannel
    limit: ProgressLimit
    is_transferring: bool

    async def command(self, name: str, argument: str = '') -> FtpReply:
        """Send a command; return the reply, whatever it says."""


@define(eq=False)
class FtpTransfer:
    """Base class of FTP transfers. `path` is the path of the file, which error messages contain, and `offset` is the
    position in the file at which the transfer begins."""

    session: TransferSession
    data: DataConnection
    path: str = ''
    offset: int = 0
    is_over: bool = False  # the last reply has come, or the transfer was aborted
    _final: FtpReply | None = None  # the last reply, where it came before the data
    _socket: Any = None  # duplicate of the data connection's socket, to see what the peer has acknowledged

    @classmethod
    async def start(
        cls, session: TransferSession, name: str, argument: str, *, path: str = '', offset: int = 0
    ) -> Self:
        """Open a data connection and send the command. Raises CommandRejected, TransferFailed, TlsHandshakeFailed."""
        session.is_transferring = True
        prepared = None
        try:
            prepared = await session.channel.prepare()
            if offset:
                reply = await session.command('REST', str(offset))
                if not reply.is_intermediate:
                    raise CommandRejected(reply, path)
            reply = await session.command(name, argument)
            if not (reply.is_preliminary or reply.is_success):
                raise CommandRejected(reply, path)
            data = await prepared.open()
        except BaseException:
            session.is_transferring = False
            if prepared is not None:
                prepared.abort()
            raise
        return cls(session, data, path, offset, final=None if reply.is_preliminary else reply)

    async def abort(self) -> None:
        """End the transfer before its end, in a way that the server does not take for it: ABOR, and a reset of the data
        connection. The session can be used again if the server replies in time."""
        if self.is_over:
            return
        session, control = self.session, self.session.control
        self.is_over = True
        self._release()
        control.abort_transfer()
        self.data.abort()
        for _ in range(MAX_ABORT_REPLIES):
            try:
                reply = await session.limit.wait(control.reply())
            except (NoProgress, ConnectionClosed, ValueError):
                break
            if reply.code == NOOP_DONE:
                session.is_transferring = False
                return
        control.abort()

    def cut(self) -> None:
        """End the transfer and the session at once."""
        if not self.is_over:
            self.is_over = True
            self._release()
            self.data.abort()
            self.session.control.abort()

    async def _last_reply(self) -> FtpReply:
        """Return the reply that ends the transfer. Raises CommandRejected, TransferFailed and ConnectionClosed."""
        reply, session = self._final, self.session
        if reply is None:
            reply = await session.limit.wait(session.control.reply(), self._acknowledged)
        self.is_over = True
        self._release()
        session.is_transferring = False
        if reply.is_success:
            return reply
        if reply.code == SERVICE_CLOSING:
            raise ConnectionClosed(f'the server closes the connection: {reply}')
        if reply.code in CUT:
            raise TransferFailed(f'the data connection failed: {reply}')
        raise CommandRejected(reply, self.path)

    def _acknowledged(self) -> int:
        return acknowledged_bytes(self._socket)

    def _release(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


class Download(FtpTransfer):
    """A download, which reads a file or a directory listing."""

    expected: int | None = None  # size of the file as the server told it

    @property
    def received(self) -> int:
        """Bytes that have arrived."""
        return self.data.received

    async def read(self) -> bytes:
        """Return the next chunk; b'' at the end, after it was checked that nothing is missing."""
        data = self.data
        while True:
            chunk = data.take()
            if chunk:
                return chunk
            if data.is_closed:
                break
            await self.session.limit.wait(data.wait())
        if not self.is_over:
            await self._finish()
        return b''

    async def _finish(self) -> None:
        await self._last_reply()
        total = self.offset + self.data.received
        if self.expected is not None and total != self.expected:
            raise TransferFailed(f'{total} bytes arrived of a file of {self.expected}')
        if not self.data.is_clean and self.expected is None:
            raise TransferFailed('the data connection was cut')


class Upload(FtpTransfer):
    """An upload, which writes a file."""

    def begin(self) -> None:
        """Prepare for writing."""
        transport = self.data.transport
        with suppress(OSError, AttributeError):
            handle = transport.getHandle()
            handle = handle if isinstance(handle, socket.socket) else transport.transport.getHandle()
            self._socket = handle.dup()
        if not self.data.is_closed:
            self.data.start_writing()

    async def write(self, data: bytes) -> None:
        """Write data; wait while the server is slower. Raises CommandRejected (452, 552: its storage is full)."""
        connection, rest = self.data, memoryview(data)
        while rest:
            if connection.is_closed:
                await self._explain_loss()
            rest = rest[connection.write(rest) :]
            if not connection.is_writable:
                await self.session.limit.wait(connection.wait_writable(), self._acknowledged)
            elif rest:  # a fast server: others get their turn
                await deferLater(self.session.limit.clock, 0)

    async def finish(self) -> None:
        """End the file. Fires when the server has it whole."""
        if self.data.is_closed:
            await self._explain_loss()
        if not self.data.is_writable:
            await self.session.limit.wait(self.data.wait_writable(), self._acknowledged)
        self.data.finish()
        await self._last_reply()

    async def _explain_loss(self) -> None:
        """The data connection was lost: the last reply says why."""
        await self._last_reply()
        raise TransferFailed('the server closed the data connection before the end of the file')
