"""An FTP session of the client: a logged-in control connection and its operations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from time import time
from typing import Any

from attrs import Factory, define, field, frozen
from twisted.internet.defer import Deferred

from zatotx.connectors.remote_files import DIRECTORY, FileInfo
from zatotx.connectors.tls_client import TlsClientFactory
from zatotx.plugins.ftp.client.control_connection import SERVICE_CLOSING, ControlConnection
from zatotx.plugins.ftp.client.data_channel import DataChannel
from zatotx.plugins.ftp.client.errors import (
    CommandRejected,
    ConnectionClosed,
    FileTooLarge,
    FtpFailed,
    LoginRejected,
)
from zatotx.plugins.ftp.client.progress import ProgressLimit
from zatotx.plugins.ftp.client.transfer import Download
from zatotx.plugins.ftp.listing import parse_facts, parse_listing, parse_machine_listing, parse_time
from zatotx.plugins.ftp.wire import FtpReply, InvalidReply, parse_directory_reply, parse_features

NOT_IMPLEMENTED = (500, 502, 504)
UNAVAILABLE = (450, 501, 550, 553)
THREAD_SIZE = 64 * 1024  # bytes of a listing that is parsed in a thread


@frozen(kw_only=True)
class SessionSettings:
    """The settings with which an FTP session is opened and logs in."""

    host: str
    user: str
    password: str = field(repr=False)
    account: str = field(repr=False, default='')
    tls: TlsClientFactory | None = None
    is_implicit_tls: bool = False
    is_active: bool = False
    encoding: str = 'utf-8'
    max_content_size: int = 100 * 1024 * 1024


@define(eq=False)
class FtpSession:
    """A logged-in FTP session. Its methods raise CommandRejected, Unreachable, TransferFailed, NoProgress and
    InvalidReply; after such an error, `is_usable` says whether the session can be kept."""

    reactor: Any
    control: ControlConnection
    settings: SessionSettings
    limit: ProgressLimit
    run_in_thread: Callable[..., Deferred[Any]]
    features: Mapping[str, str] = Factory(dict)
    home: str = ''  # directory after the login
    is_transferring: bool = False
    on_abort: Callable[[], None] | None = None  # called when the session is aborted, by whom a transfer belongs to
    channel: DataChannel = field(init=False)
    _has_machine_listing: bool = True
    _is_fresh: bool = True  # no operation was done since the login

    def __attrs_post_init__(self) -> None:
        settings = self.settings
        self.channel = DataChannel(self.reactor, self.control, self.limit, settings.host, command=self.command,
                                   is_active=settings.is_active, tls=settings.tls)  # fmt: skip

    @property
    def is_usable(self) -> bool:
        """Whether another operation may begin."""
        return self.control.is_synchronized and not self.is_transferring

    # Commands

    async def command(self, name: str, argument: str = '') -> FtpReply:
        """Send a command; return the reply, whatever it says. Raises ConnectionClosed if the server closes."""
        is_first, self._is_fresh = not self._is_fresh, True
        try:
            reply = await self.limit.wait(self.control.send(name, argument))
            if reply.code == SERVICE_CLOSING:
                raise ConnectionClosed(f'the server closes the connection: {reply}')
        except ConnectionClosed as error:
            error.is_stale = is_first
            raise
        return reply

    async def require(self, name: str, argument: str = '', path: str = '') -> FtpReply:
        """Send a command that must succeed. Raises CommandRejected."""
        reply = await self.command(name, argument)
        if not (reply.is_success or reply.is_intermediate):
            raise CommandRejected(reply, path)
        return reply

    def resume(self) -> None:
        """Begin an operation on a session that was idle: the server may have closed it meanwhile."""
        self._is_fresh = False

    def close(self) -> None:
        """Log out and close."""
        self.control.quit()

    def abort(self) -> None:
        """Close at once, and end the transfer under way."""
        self.control.abort()
        on_abort, self.on_abort = self.on_abort, None
        if on_abort is not None:
            on_abort()

    # Login

    async def log_in(self) -> None:
        """Read the first reply of the server, agree on TLS, and log in. Raises LoginRejected."""
        settings = self.settings
        reply = await self.limit.wait(self.control.reply())
        while reply.is_preliminary:  # 120: ready in some minutes
            reply = await self.limit.wait(self.control.reply())
        if not reply.is_success:
            raise ConnectionClosed(f'the server takes no connection now: {reply}')
        if settings.tls is not None and not settings.is_implicit_tls:
            await self._start_tls(settings.tls)
        await self._authenticate()
        if settings.tls is not None:
            await self.require('PBSZ', '0')
            await self.require('PROT', 'P')
        reply = await self.command('FEAT')
        self.features = parse_features(reply) if reply.is_success else {}
        self._has_machine_listing = 'MLST' in self.features or 'MLSD' in self.features
        if 'UTF8' in self.features and settings.encoding == 'utf-8':
            await self.command('OPTS', 'UTF8 ON')
        await self.require('TYPE', 'I')
        reply = await self.command('PWD')
        self.home = parse_directory_reply(reply) if reply.is_success else ''

    async def _start_tls(self, tls: TlsClientFactory) -> None:
        await self.require('AUTH', 'TLS')
        control, transport = self.control, self.control.transport
        if not control.is_synchronized:  # what came in plain text behind the reply would count as encrypted
            raise ConnectionClosed('the server sent more than the reply before TLS began')
        handshake = tls.handshake(transport, self.settings.host, self.reactor)
        control.transport = await self.limit.wait(handshake.done)
        control.transport.wrappedProtocol = control

    async def _authenticate(self) -> None:
        settings = self.settings
        reply = await self.command('USER', settings.user)
        if reply.code == 331:
            reply = await self.command('PASS', settings.password)
        if reply.code == 332:
            reply = await self.command('ACCT', settings.account)
        if not reply.is_success:
            shown = str(reply)
            for secret in (settings.password, settings.account):
                shown = shown.replace(secret, '******') if secret else shown
            raise LoginRejected(shown[:200])

    # Operations

    async def list_directory(self, path: str) -> list[FileInfo]:
        """Return the entries of a directory, without itself and its parent."""
        try:
            return await self._entries(path)
        except CommandRejected as error:
            raise await self.explain(error) from None

    async def _entries(self, path: str) -> list[FileInfo]:
        if self._has_machine_listing:
            try:
                lines = await self._listing('MLSD', path, path)
            except CommandRejected as error:
                if error.reply.code not in NOT_IMPLEMENTED:
                    raise
                self._has_machine_listing = False
            else:
                return await self._parse(lines, lambda text: list(parse_machine_listing(text)))
        now = datetime.fromtimestamp(time(), UTC)
        lines = await self._list_in(path)
        return await self._parse(lines, lambda text: list(parse_listing(text, now)))

    async def info(self, path: str) -> FileInfo | None:
        """Return the entry of a path; None if nothing exists there."""
        name = path.rstrip('/').rpartition('/')[2]
        if self._has_machine_listing and 'MLST' in self.features:
            reply = await self.command('MLST', path)
            if reply.is_success:
                return self._entry_of(reply, name)
            if reply.code not in NOT_IMPLEMENTED:
                return None
        if not name or name in ('.', '..'):
            return FileInfo(name=name, type=DIRECTORY)
        parent = path.rstrip('/').rpartition('/')[0] or ('/' if path.startswith('/') else '')
        try:
            entries = await self._entries(parent)
        except CommandRejected:
            return None
        return next((entry for entry in entries if entry.name == name), None)

    async def size(self, path: str) -> int | None:
        """Return the size of a file; None if the server does not tell."""
        if 'SIZE' not in self.features:
            return None
        reply = await self.command('SIZE', path)
        text = reply.text.strip()
        return int(text) if reply.code == 213 and text.isascii() and text.isdigit() and len(text) < 20 else None

    async def modified(self, path: str) -> datetime | None:
        """Return the time of a file's last change; None if the server does not tell."""
        reply = await self.command('MDTM', path)
        return parse_time(reply.text) if reply.code == 213 else None

    async def make_directory(self, path: str) -> None:
        """Create a directory."""
        await self.require('MKD', path, path)

    async def remove(self, path: str) -> None:
        """Remove a file."""
        await self._change('DELE', path)

    async def remove_directory(self, path: str) -> None:
        """Remove an empty directory."""
        await self._change('RMD', path)

    async def rename(self, source: str, target: str) -> None:
        """Rename a file or directory. Servers differ in whether an existing target is replaced."""
        await self._change('RNFR', source)
        await self.require('RNTO', target, target)

    async def replace(self, source: str, target: str) -> None:
        """Rename a file so that it replaces an existing target, also where the server itself does not do so."""
        try:
            await self.rename(source, target)
        except CommandRejected as error:
            if error.path != target or (await self.command('DELE', target)).code >= 300:
                raise
            await self.rename(source, target)

    # Helpers

    async def _change(self, name: str, path: str) -> None:
        try:
            await self.require(name, path, path)
        except CommandRejected as error:
            raise await self.explain(error) from None

    async def explain(self, error: CommandRejected) -> CommandRejected:
        """Return the error, which says now whether the path does not exist: these codes stand for many reasons."""
        if error.reply.code in UNAVAILABLE and error.path:
            with suppress(FtpFailed, InvalidReply):  # the rejection stands, without its reason
                error.is_absent = await self.info(error.path) is None
        return error

    def _entry_of(self, reply: FtpReply, name: str) -> FileInfo | None:
        for line in reply.lines[1:-1]:
            info = parse_facts(line)
            if info is not None:
                return FileInfo(name=name, type=info.type, size=info.size, modified=info.modified)
        return FileInfo(name=name, type=DIRECTORY)  # the line of a directory itself

    async def _list_in(self, path: str) -> bytes:
        """List with the directory as the current one: LIST takes a path for a pattern, or for options."""
        if not path or path == self.home:
            return await self._listing('LIST', '', path)
        if not self.home:
            return await self._listing('LIST', path, path)
        await self.require('CWD', path, path)
        try:
            return await self._listing('LIST', '', path)
        finally:
            if self.is_usable:
                await self.require('CWD', self.home)

    async def _listing(self, name: str, argument: str, path: str) -> bytes:
        download = await Download.start(self, name, argument, path=path)
        chunks = []
        while chunk := await download.read():
            chunks.append(chunk)
            if download.received > self.settings.max_content_size:
                await download.abort()
                raise FileTooLarge('the listing is larger than max_content_size')
        return b''.join(chunks)

    async def _parse(
        self, data: bytes, parse: Callable[[list[str]], list[FileInfo]]
    ) -> list[FileInfo]:
        def parse_lines() -> list[FileInfo]:
            text = data.decode(self.settings.encoding, 'surrogateescape')
            return parse([line.removesuffix('\r') for line in text.split('\n')])

        if len(data) < THREAD_SIZE:
            return parse_lines()
        entries: list[FileInfo] = await self.run_in_thread(parse_lines)
        return entries
