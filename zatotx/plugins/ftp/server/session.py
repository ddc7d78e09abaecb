"""One client's session: who it is, where it is, and what its commands do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Protocol, TypeVar

from attrs import define, field, frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater

from zatotx.plugins.ftp.schema.channel_ftp import ON_RENAME, FtpChannel, parse_port_range
from zatotx.plugins.ftp.server.commands import (
    Command,
    FtpError,
    FtpReply,
    Path,
    check_new_name,
    format_pasv,
    matches,
    parse_eprt,
    parse_offset,
    parse_port,
    quote_path,
    resolve_path,
)
from zatotx.plugins.ftp.server.data_connection import ActiveSource, DataConnection, DataSource, PassiveSource
from zatotx.plugins.ftp.server.file_tree import FileTree
from zatotx.plugins.ftp.server.listing_format import Format, format_facts, format_list, format_name, format_time
from zatotx.plugins.ftp.server.login import ATTEMPTS, FAILURE_DELAY, Login
from zatotx.plugins.ftp.server.upload_store import Upload, UploadRecord, UploadStore
from zatotx.rules.security.login_throttle import unmap_ipv4

LOGIN_TIMEOUT = 60.0  # seconds between commands before the login
END_OF_DATA = 1.0  # seconds for the rest of the data of a client whose control connection is gone
END_OF_UPLOAD = 0.1  # seconds that the control connection stays open after the data: a killed client has closed both

_T = TypeVar('_T')


class SessionClosedError(Exception):
    """The control connection is gone: nobody gets a reply."""


class IControl(Protocol):
    """The control connection, as a session sees it."""

    @property
    def peer(self) -> str: ...
    @property
    def host(self) -> str: ...
    def send(self, reply: FtpReply) -> None: ...
    def close(self) -> None: ...
    def start_tls(self, tls: Any) -> None: ...


@frozen(kw_only=True)
class SessionContext:
    """What the sessions of a channel share."""

    title: str
    value: FtpChannel
    reactor: Any  # IReactorTime, IReactorTCP
    run_in_thread: Callable[..., Deferred[Any]]
    login: Login
    store: UploadStore
    # Runs a function of UploadStore that receives an upload in a thread, and has the upload delivered.
    receive: Callable[..., Deferred[UploadRecord]]
    now: Callable[[], float]  # seconds since the epoch

    @property
    def tree(self) -> FileTree:
        """The files."""
        return self.store.tree


@define(eq=False)
class Session:
    """See the module. Commands run one after another; `abort_transfer` and `close` come at any time."""

    context: SessionContext
    control: IControl
    is_closed: bool = field(default=False, init=False)
    _user: str = field(default='', init=False)
    _is_logged_in: bool = field(default=False, init=False)
    _failed_logins: int = field(default=0, init=False)
    _directory: Path = field(default=(), init=False)
    _offset: int = field(default=0, init=False)  # of REST
    _renamed: Path | None = field(default=None, init=False)  # of RNFR
    _source: DataSource | None = field(default=None, init=False)
    _is_epsv_all: bool = field(default=False, init=False)
    _waits: set[Deferred[Any]] = field(factory=set, init=False)
    _data: DataConnection | None = field(default=None, init=False)  # of the transfer that runs
    is_transferring: bool = field(default=False, init=False)
    _is_aborted: bool = field(default=False, init=False)

    @property
    def idle_timeout(self) -> float:
        """Seconds between commands."""
        configured = self.context.value.idle_timeout
        return configured if self._is_logged_in else min(LOGIN_TIMEOUT, configured)

    async def run(self, command: Command) -> FtpReply:
        """Run a command. Raises FtpError, OSError and SessionClosedError."""
        handler = _HANDLERS.get(command.verb)
        if handler is None:
            known = command.verb in _UNIMPLEMENTED
            raise FtpError(502 if known else 500, f'{command.verb} is not {"implemented" if known else "understood"}')
        if not self._is_logged_in and command.verb not in _BEFORE_LOGIN:
            raise FtpError(530, 'Log in first')
        renamed, offset = self._renamed, self._offset
        try:
            reply = await handler(self, command.argument)
        except (FtpError, OSError):
            if command.verb in _TRANSFERS:  # the client closes a data connection that it has opened
                self._drop_source()
            raise
        if self._renamed is renamed:
            self._renamed = None
        if command.verb not in _KEEPS_OFFSET and self._offset == offset:
            self._offset = 0
        return reply

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
            self._drop_source()

    # Login and parameters

    async def _do_user(self, name: str) -> FtpReply:
        if not name:
            raise FtpError(501, 'A user name is missing')
        if self._is_logged_in:
            raise FtpError(503, 'You are logged in')
        self._user = name
        return FtpReply(331, 'Send the password')

    async def _do_pass(self, password: str) -> FtpReply:
        if self._is_logged_in:
            raise FtpError(503, 'You are logged in')
        if not self._user:
            raise FtpError(503, 'Send USER first')
        login, clock = self.context.login, self.context.reactor
        delay = login.delay(self.control.peer, clock.seconds())
        if delay:
            await self._wait(deferLater(clock, delay))
        if login.check(self._user, password, self.control.peer, clock.seconds()):
            self._is_logged_in = True
            return FtpReply(230, 'Logged in')
        self._failed_logins += 1
        await self._wait(deferLater(clock, FAILURE_DELAY))
        if self._failed_logins >= ATTEMPTS:
            return FtpReply(421, 'Too many failed logins', after=self.control.close)
        return FtpReply(530, 'User or password is wrong')

    async def _do_quit(self, _: str) -> FtpReply:
        return FtpReply(221, 'Goodbye', after=self.control.close)

    async def _do_feat(self, _: str) -> FtpReply:
        facts = 'MLST type*;size*;modify*;perm*;unique*;'
        return FtpReply(211, 'Features', ('EPRT', 'EPSV', 'MDTM', facts, 'REST STREAM', 'SIZE', 'TVFS', 'UTF8'))

    async def _do_opts(self, argument: str) -> FtpReply:
        if argument.upper() in ('UTF8 ON', 'UTF8', 'UTF-8 ON'):
            return FtpReply(200, 'Names are UTF-8')
        if argument.upper().startswith('MLST'):
            return FtpReply(200, 'MLST OPTS type;size;modify;perm;unique;')
        raise FtpError(501, 'There is no such option')

    async def _do_type(self, argument: str) -> FtpReply:
        if argument.upper() not in ('A', 'A N', 'I', 'L 8'):
            raise FtpError(504, 'The type is not supported, use TYPE I')
        return FtpReply(200, 'Files are transferred unchanged')

    async def _do_mode(self, argument: str) -> FtpReply:
        if argument.upper() != 'S':
            raise FtpError(504, 'Only stream mode is supported')
        return FtpReply(200, 'Stream mode')

    async def _do_structure(self, argument: str) -> FtpReply:
        if argument.upper() != 'F':
            raise FtpError(504, 'Only the file structure is supported')
        return FtpReply(200, 'File structure')

    async def _do_system(self, _: str) -> FtpReply:
        return FtpReply(215, 'UNIX Type: L8')

    async def _do_nothing(self, _: str) -> FtpReply:
        return FtpReply(200, 'OK')

    async def _do_superfluous(self, _: str) -> FtpReply:
        return FtpReply(202, 'Not needed here')

    async def _do_help(self, _: str) -> FtpReply:
        verbs = sorted(_HANDLERS)
        return FtpReply(214, 'Commands', [' '.join(verbs[first : first + 10]) for first in range(0, len(verbs), 10)])

    async def _do_status(self, argument: str) -> FtpReply:
        if argument:
            return FtpReply(213, 'Listing', [line.decode('utf-8', 'replace') for line in await self._lines(argument,
                                                                                                        format_list)])
        return FtpReply(211, f'{self._user} is in /{"/".join(self._directory)}')

    async def _do_abort(self, _: str) -> FtpReply:
        self._drop_source()
        return FtpReply(226, 'No transfer is under way')

    async def _do_rest(self, argument: str) -> FtpReply:
        self._offset = parse_offset(argument)
        return FtpReply(350, f'The next transfer starts at byte {self._offset}')

    # Directories and names

    async def _do_print_directory(self, _: str) -> FtpReply:
        return FtpReply(257, f'{quote_path(self._directory)} is the current directory')

    async def _do_change_directory(self, argument: str) -> FtpReply:
        path = resolve_path(self._directory, argument)
        entry = await self._thread(self.context.tree.find, path)
        if not entry.is_directory:
            raise FtpError(550, 'Not a directory')
        self._directory = path
        return FtpReply(250, f'{quote_path(path)} is the current directory')

    async def _do_parent_directory(self, _: str) -> FtpReply:
        return await self._do_change_directory('..')

    async def _do_make_directory(self, argument: str) -> FtpReply:
        path = resolve_path(self._directory, argument)
        check_new_name(path)
        await self._thread(self.context.tree.make_directory, path)
        return FtpReply(257, f'{quote_path(path)} was made')

    async def _do_remove_directory(self, argument: str) -> FtpReply:
        await self._thread(self.context.tree.remove_directory, resolve_path(self._directory, argument))
        return FtpReply(250, 'The directory was removed')

    async def _do_delete(self, argument: str) -> FtpReply:
        await self._thread(self.context.tree.delete, resolve_path(self._directory, argument))
        return FtpReply(250, 'The file was deleted')

    async def _do_rename_from(self, argument: str) -> FtpReply:
        path = resolve_path(self._directory, argument)
        await self._thread(self.context.tree.find, path)
        self._renamed = path
        return FtpReply(350, 'Send the new name')

    async def _do_rename_to(self, argument: str) -> FtpReply:
        source = self._renamed
        if source is None:
            raise FtpError(503, 'Send RNFR first')
        target = resolve_path(self._directory, argument)
        check_new_name(target)
        value, store = self.context.value, self.context.store
        is_final = not matches(target[-1], value.ignored_patterns)
        may_deliver = value.deliver_on == ON_RENAME or (bool(source) and matches(source[-1], value.ignored_patterns))
        if is_final and may_deliver and await self._thread(store.is_complete_file, source):
            await self.context.receive(store.receive_renamed, source, target, self._user)
        else:
            await self._thread(self.context.tree.rename, source, target)
        return FtpReply(250, 'Renamed')

    async def _do_size(self, argument: str) -> FtpReply:
        entry = await self._thread(self.context.tree.find, resolve_path(self._directory, argument))
        if entry.is_directory:
            raise FtpError(550, 'Is a directory')
        return FtpReply(213, str(entry.size))

    async def _do_modification_time(self, argument: str) -> FtpReply:
        entry = await self._thread(self.context.tree.find, resolve_path(self._directory, argument))
        return FtpReply(213, format_time(entry.modified))

    async def _do_mlst(self, argument: str) -> FtpReply:
        path = resolve_path(self._directory, argument or '.')
        entry = await self._thread(self.context.tree.find, path)
        facts = format_facts(entry, self.context.now(), can_read=self.context.value.allow_reading)
        return FtpReply(250, 'Listing', [facts.decode('utf-8', 'replace')])

    # Data connections

    async def _do_pasv(self, _: str) -> FtpReply:
        if self._is_epsv_all:
            raise FtpError(503, 'PASV comes after EPSV ALL')
        host = self.context.value.passive_address or unmap_ipv4(self.control.host)
        if ':' in host:
            raise FtpError(425, 'PASV names IPv4 addresses only, use EPSV')
        return FtpReply(227, format_pasv(host, self._listen()))

    async def _do_epsv(self, argument: str) -> FtpReply:
        if argument.upper() == 'ALL':
            self._is_epsv_all = True
            return FtpReply(200, 'EPSV only')
        family = '2' if ':' in unmap_ipv4(self.control.host) else '1'
        if argument not in ('', family):
            raise FtpError(522, f'The network protocol is not supported, use ({family})')
        return FtpReply(229, f'Entering Extended Passive Mode (|||{self._listen()}|)')

    async def _do_port(self, argument: str) -> FtpReply:
        return self._connect_to(parse_port(argument))

    async def _do_eprt(self, argument: str) -> FtpReply:
        return self._connect_to(parse_eprt(argument))

    def _connect_to(self, target: tuple[str, int]) -> FtpReply:
        host, port = target
        if not self.context.value.allow_active:
            raise FtpError(502, 'Active mode is switched off, use EPSV or PASV')
        if self._is_epsv_all:
            raise FtpError(503, 'PORT comes after EPSV ALL')
        if unmap_ipv4(host) != unmap_ipv4(self.control.peer) or port < 1024:
            raise FtpError(504, 'Data connections go to your own address, and to ports from 1024 on')
        self._drop_source()
        self._source = ActiveSource(self.context.reactor, self.context.value.transfer_timeout, target)
        return FtpReply(200, 'OK')

    def _listen(self) -> int:
        self._drop_source()
        value = self.context.value
        source = PassiveSource(self.context.reactor, value.transfer_timeout, self.control.peer)
        port = source.listen(self.control.host, parse_port_range(value.passive_ports))
        self._source = source
        return port

    def _drop_source(self) -> None:
        source, self._source = self._source, None
        if source is not None:
            source.close()

    # Transfers

    async def _do_store(self, argument: str) -> FtpReply:
        return await self._upload(argument, self._offset)

    async def _do_append(self, argument: str) -> FtpReply:
        return await self._upload(argument, None)

    async def _upload(self, argument: str, offset: int | None) -> FtpReply:
        path = resolve_path(self._directory, argument)
        check_new_name(path)
        if self._source is None:
            raise FtpError(425, 'Send EPSV or PASV first')
        store = self.context.store
        upload: Upload = await self._thread(store.begin, path, offset)
        try:
            data = await self._connected(f'Send {quote_path(path)}')
            await self._transferred(data.receive(partial(self.context.run_in_thread, upload.write)))
            await self._wait(deferLater(self.context.reactor, END_OF_UPLOAD))
        except BaseException:
            await self.context.run_in_thread(upload.close)
            raise
        finally:
            self._end_transfer()
        value = self.context.value
        if value.deliver_on == ON_RENAME or matches(path[-1], value.ignored_patterns):
            await self._thread(store.keep, upload)
        else:
            await self.context.receive(store.receive, upload, self._user)
        return FtpReply(226, 'The file was received')

    async def _do_retrieve(self, argument: str) -> FtpReply:
        raise FtpError(550, 'Downloads are switched off')

    async def _do_list(self, argument: str) -> FtpReply:
        return await self._send_lines(await self._lines(_without_options(argument), format_list))

    async def _do_name_list(self, argument: str) -> FtpReply:
        return await self._send_lines(await self._lines(_without_options(argument), format_name))

    async def _do_mlsd(self, argument: str) -> FtpReply:
        path = resolve_path(self._directory, argument or '.')
        entry = await self._thread(self.context.tree.find, path)
        if not entry.is_directory:
            raise FtpError(501, 'MLSD lists directories, use MLST')
        with_reading = partial(format_facts, can_read=self.context.value.allow_reading)
        return await self._send_lines(await self._lines(argument, with_reading))

    async def _lines(self, argument: str, to_line: Format) -> list[bytes]:
        path = resolve_path(self._directory, argument or '.')
        now = self.context.now()
        lines: list[bytes] = await self._thread(
            lambda: [to_line(entry, now) for entry in self.context.tree.entries(path)]
        )
        return lines

    async def _send_lines(self, lines: list[bytes]) -> FtpReply:
        blocks = [b''.join(line + b'\r\n' for line in lines[first : first + 1000])
                  for first in range(0, len(lines), 1000)]  # fmt: skip
        blocks.append(b'')

        async def read() -> bytes:
            return blocks.pop(0)

        await self._send(lambda: Deferred.fromCoroutine(read()), 'The listing comes')
        return FtpReply(226, 'The listing was sent')

    async def _send(self, read: Callable[[], Deferred[bytes]], text: str) -> None:
        if self._source is None:
            raise FtpError(425, 'Send EPSV or PASV first')
        try:
            data = await self._connected(text)
            await self._transferred(data.send(read))
        finally:
            self._end_transfer()

    async def _connected(self, text: str) -> DataConnection:
        """Wait for the data connection, and tell the client to begin."""
        assert self._source is not None
        self.is_transferring = True
        data: DataConnection = await self._wait(self._source.wait())
        self._data = data
        self.control.send(FtpReply(150, text))
        return data

    async def _transferred(self, done: Deferred[None]) -> None:
        await done
        self._check_aborted()

    def _end_transfer(self) -> None:
        self.is_transferring = False
        self._is_aborted = False
        self._data = None
        self._drop_source()

    # Waiting

    async def _thread(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run a function of the file system in a thread. It is not cancelled: it always ends soon."""
        return await self.context.run_in_thread(function, *args)

    async def _wait(self, source: Deferred[_T]) -> _T:
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


def _without_options(argument: str) -> str:
    """Return the argument of LIST without options of `ls`, which many clients send."""
    words = argument.split(' ')
    while words and words[0].startswith('-'):
        words.pop(0)
    return ' '.join(words)


_Handler = Callable[[Session, str], Awaitable[FtpReply]]

_HANDLERS: dict[str, _Handler] = {
    'ABOR': Session._do_abort, 'ACCT': Session._do_superfluous, 'ALLO': Session._do_superfluous,
    'APPE': Session._do_append, 'CDUP': Session._do_parent_directory, 'CWD': Session._do_change_directory,
    'DELE': Session._do_delete, 'EPRT': Session._do_eprt, 'EPSV': Session._do_epsv, 'FEAT': Session._do_feat,
    'HELP': Session._do_help, 'LIST': Session._do_list, 'MDTM': Session._do_modification_time,
    'MKD': Session._do_make_directory, 'MLSD': Session._do_mlsd, 'MLST': Session._do_mlst, 'MODE': Session._do_mode,
    'NLST': Session._do_name_list, 'NOOP': Session._do_nothing, 'OPTS': Session._do_opts, 'PASS': Session._do_pass,
    'PASV': Session._do_pasv, 'PORT': Session._do_port, 'PWD': Session._do_print_directory, 'QUIT': Session._do_quit,
    'REST': Session._do_rest, 'RETR': Session._do_retrieve, 'RMD': Session._do_remove_directory,
    'RNFR': Session._do_rename_from, 'RNTO': Session._do_rename_to, 'SIZE': Session._do_size,
    'STAT': Session._do_status, 'STOR': Session._do_store, 'STRU': Session._do_structure, 'SYST': Session._do_system,
    'TYPE': Session._do_type, 'USER': Session._do_user, 'XCUP': Session._do_parent_directory,
    'XCWD': Session._do_change_directory, 'XMKD': Session._do_make_directory, 'XPWD': Session._do_print_directory,
    'XRMD': Session._do_remove_directory,
}  # fmt: skip
_UNIMPLEMENTED = frozenset(('AUTH', 'CCC', 'ENC', 'MIC', 'CONF', 'ADAT', 'PBSZ', 'PROT', 'REIN', 'SITE', 'SMNT', 'STOU',
                            'LANG', 'HOST', 'MFMT'))  # fmt: skip
_BEFORE_LOGIN = frozenset(('USER', 'PASS', 'QUIT', 'FEAT', 'OPTS', 'SYST', 'NOOP', 'HELP', 'AUTH', 'PBSZ', 'PROT'))
_KEEPS_OFFSET = frozenset(('REST', 'EPSV', 'PASV', 'EPRT', 'PORT', 'TYPE', 'NOOP', 'SIZE'))
_TRANSFERS = frozenset(('APPE', 'LIST', 'MLSD', 'NLST', 'RETR', 'STOR'))
