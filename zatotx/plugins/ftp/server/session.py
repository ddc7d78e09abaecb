"""The session of one client of an FTP server: its user, its current directory, and the execution of its commands."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol, TypeVar

from attrs import define, field, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.ssl import CertificateOptions

from zatotx.plugins.ftp.metrics import FtpCounters
from zatotx.plugins.ftp.schema.channel_ftp import FtpChannel
from zatotx.plugins.ftp.server.certificate import Certificate
from zatotx.plugins.ftp.server.command_syntax import (
    FtpError,
    Path,
    ServerReply,
    check_new_name,
    resolve_path,
)
from zatotx.plugins.ftp.server.data_connection import DataSource, ServerDataConnection
from zatotx.plugins.ftp.server.file_tree import RESERVED, FileTree
from zatotx.plugins.ftp.server.login import Login
from zatotx.plugins.ftp.server.upload_store import UploadRecord, UploadStore

LOGIN_TIMEOUT = 60.0  # seconds between commands before the login
END_OF_DATA = 1.0  # seconds for the rest of the data of a client whose control connection is gone

_T = TypeVar('_T')


class SessionClosedError(Exception):
    """The control connection has ended, so no reply can be sent."""


class IControl(Protocol):
    """The interface of the control connection that a session uses."""

    @property
    def peer(self) -> str: ...
    @property
    def host(self) -> str: ...
    def send(self, reply: ServerReply) -> None: ...
    def close(self) -> None: ...
    def start_tls(self, tls: CertificateOptions) -> None: ...


@frozen(kw_only=True)
class SessionContext:
    """The state that the sessions of a channel share."""

    title: str
    value: FtpChannel
    reactor: Any  # IReactorTime, IReactorTCP
    run_in_thread: Callable[..., Deferred[Any]]
    login: Login
    certificate: Certificate | None  # None = no TLS
    store: UploadStore
    # Runs a function of UploadStore that receives an upload in a thread, and has the upload delivered.
    receive: Callable[..., Deferred[UploadRecord]]
    now: Callable[[], float]  # seconds since the epoch
    counters: FtpCounters = field(factory=FtpCounters)

    @property
    def tree(self) -> FileTree:
        """The files."""
        return self.store.tree


@define(eq=False)
class Session:
    """The session of one client. Commands run one after another; `abort_transfer` and `close` may be called at any
    time."""

    context: SessionContext
    control: IControl
    is_closed: bool = field(default=False, init=False)
    tls: CertificateOptions | None = field(default=None, init=False)  # of the control connection
    protects_data: bool = field(default=False, init=False)
    user: str = field(default='', init=False)
    is_logged_in: bool = field(default=False, init=False)
    failed_logins: int = field(default=0, init=False)
    directory: Path = field(default=(), init=False)  # the current one, as the client sees it
    _root: Path = field(default=(), init=False)  # the client's own root in the directory of the channel
    offset: int = field(default=0, init=False)  # of REST
    renamed: Path | None = field(default=None, init=False)  # of RNFR
    source: DataSource | None = field(default=None, init=False)
    is_epsv_all: bool = field(default=False, init=False)
    _waits: set[Deferred[Any]] = field(factory=set, init=False)
    _data: ServerDataConnection | None = field(default=None, init=False)  # of the transfer that runs
    is_transferring: bool = field(default=False, init=False)
    _is_aborted: bool = field(default=False, init=False)

    @property
    def idle_timeout(self) -> float:
        """Seconds between commands."""
        configured = self.context.value.idle_timeout
        return configured if self.is_logged_in else min(LOGIN_TIMEOUT, configured)

    async def enter(self) -> None:
        """The client has logged in. Raises FtpError for a user name that cannot be that of a directory."""
        if self.context.value.directory_per_user:
            root = resolve_path((), self.user)
            if root != (self.user,) or self.user in RESERVED:
                raise FtpError(530, 'The user name cannot be the name of a directory')
            check_new_name(root)
            with suppress(FileExistsError):
                await self.thread(self.context.tree.make_directory, root)
            self._root = root
        self.is_logged_in = True

    def leave(self) -> None:
        """The client has to log in again."""
        self.user, self.is_logged_in, self.directory, self._root = '', False, (), ()

    def find_path(self, argument: str) -> Path:
        """Return the path of what an argument names. Raises FtpError 501 without an argument."""
        return (*self._root, *resolve_path(self.directory, argument))

    def find_entry_path(self, argument: str) -> Path:
        """Return the path of what is to be renamed or removed. Raises FtpError 501 without an argument, and 550 for the
        root directory."""
        path = self.find_path(argument)
        if path == self._root:
            raise FtpError(550, 'The root directory stays')
        return path

    def find_new_path(self, argument: str) -> Path:
        """Return the path of what is to be made. Raises FtpError 501 without an argument, and 553."""
        path = self.find_path(argument)
        check_new_name(path[len(self._root) :])
        return path

    def shown_path(self, path: Path) -> Path:
        """Return a path as the client sees it."""
        return path[len(self._root) :]

    def abort_transfer(self) -> bool:
        """End the transfer that runs, which replies 426. Returns whether there is one."""
        if not self.is_transferring:
            return False
        self._is_aborted = True
        if self._data is not None:
            self._data.abort()
        for wait in tuple(self._waits):
            wait.cancel()
        return True

    def close(self) -> None:
        """The control connection is gone."""
        self.is_closed = True
        if self._data is not None:
            self._data.abort_after(END_OF_DATA)
        for wait in tuple(self._waits):
            wait.cancel()
        if not self.is_transferring:
            self.drop_source()

    def start_implicit_tls(self, tls: CertificateOptions) -> None:
        """The connection begins with TLS; data connections are protected as well."""
        self.tls, self.protects_data = tls, True
        self.control.start_tls(tls)

    @property
    def requires_tls(self) -> bool:
        """Whether logins and transfers without TLS are refused."""
        tls = self.context.value.tls
        return tls is not None and tls.required

    @property
    def data_tls(self) -> CertificateOptions | None:
        """The TLS context of data connections; None = they are not encrypted."""
        return self.tls if self.protects_data else None

    def drop_source(self) -> None:
        source, self.source = self.source, None
        if source is not None:
            source.close()

    async def open_data(self, text: str) -> ServerDataConnection:
        """Wait for the data connection, and tell the client to begin."""
        assert self.source is not None
        self.is_transferring = True
        data: ServerDataConnection = await self.wait(self.source.wait())
        self._data = data
        self.control.send(ServerReply(150, text))
        return data

    async def transfer(self, done: Deferred[None]) -> None:
        await done
        self._check_aborted()

    def end_transfer(self) -> None:
        self.is_transferring = False
        self._is_aborted = False
        self._data = None
        self.drop_source()

    async def thread(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run a function of the file system in a thread. It is not cancelled: it always ends soon."""
        return await self.context.run_in_thread(function, *args)

    async def wait(self, source: Deferred[_T]) -> _T:
        """Wait until something happens, the transfer is aborted (FtpError 426) or the client is gone."""
        self._check_aborted(source)
        self._waits.add(source)
        try:
            return await source
        except CancelledError:
            self._check_aborted()
            raise
        finally:
            self._waits.discard(source)

    def _check_aborted(self, source: Deferred[Any] | None = None) -> None:
        if self.is_closed or self._is_aborted:
            if source is not None:
                source.addErrback(lambda failure: None)
                source.cancel()
            raise SessionClosedError if self.is_closed else FtpError(426, 'The transfer was aborted')

