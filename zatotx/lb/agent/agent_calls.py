"""Implements the calls of the agent's API, which control a running load balancer. The calls have Zato's names."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta
from twisted.internet.defer import DeferredLock
from twisted.logger import Logger

from zatotx.interfaces.load_balancer import IBalancerControl, RenamedServer, ServerStatus
from zatotx.lb.agent.config_edits import (
    ConfigEditError,
    add_server_to_config,
    remove_server_from_config,
    rename_server_in_config,
    replace_config,
)
from zatotx.lb.agent.haproxy_stats_commands import COMMANDS, format_command, format_uptime
from zatotx.wire.lb_agent_messages import AgentCallError

PING_RESULT = 'ZATO_OK'

_Name = Annotated[str, Meta(min_length=1, max_length=200)]


class CallArguments(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base class of the arguments of an agent call."""


class NoCallArguments(CallArguments, frozen=True, kw_only=True):
    pass


class ValidateSave(CallArguments, frozen=True, kw_only=True):
    config: dict[str, Any]
    save: bool = False
    revision: str = ''  # SHA-256 of the text that the caller has read; '' = not compared


class ValidateSaveSource(CallArguments, frozen=True, kw_only=True):
    source: str
    save: bool = False
    revision: str = ''


class ServerData(CallArguments, frozen=True, kw_only=True):
    name: str | None = None
    backend: str | None = None


class AddRemoveServer(CallArguments, frozen=True, kw_only=True):
    action: Literal['add', 'remove']
    name: _Name
    backend: str | None = None  # None = the only one
    host: Annotated[str, Meta(min_length=1)] | None = None
    port: Annotated[int, Meta(ge=1, le=65535)] | None = None
    weight: Annotated[int, Meta(ge=0, le=256)] | None = None


class RenameServer(CallArguments, frozen=True, kw_only=True):
    old_name: _Name
    new_name: _Name
    backend: str | None = None


class SetServerState(CallArguments, frozen=True, kw_only=True):
    name: _Name
    state: Literal['ready', 'drain', 'maint']
    backend: str | None = None


class ExecuteCommand(CallArguments, frozen=True, kw_only=True):
    command: int | str  # a number or name of COMMANDS
    timeout: float = 0  # accepted for Zato's clients: commands do not wait
    extra: str = ''  # likewise


class IsAlive(CallArguments, frozen=True, kw_only=True):
    lb_use_tls: bool = False  # accepted for Zato's clients


def source_revision(source: str) -> str:
    """Return the revision of a configuration text. A client sends the revision together with a change, so that
    conflicts are detected."""
    return hashlib.sha256(source.encode('utf-8')).hexdigest()


class AgentCalls:
    """Implements the agent's calls. Changes are made one after another, and are logged with the subject of the client's
    certificate. `work_config` contains the agent's own settings, without secrets."""

    _log = Logger()

    def __init__(self, control: IBalancerControl, work_config: Mapping[str, Any]) -> None:
        self._control = control
        self._work_config = work_config
        self._lock = DeferredLock()
        self._calls: dict[str, tuple[type[CallArguments], Callable[[Any, str], Any]]] = {
            'ping': (NoCallArguments, self._ping),
            'get_config': (NoCallArguments, self._get_config),
            'get_config_source_code': (NoCallArguments, self._get_config_source_code),
            'validate_save': (ValidateSave, self._validate_save),
            'validate_save_source_code': (ValidateSaveSource, self._validate_save_source_code),
            'get_servers_state': (NoCallArguments, self._get_servers_state),
            'get_server_data_dict': (ServerData, self._get_server_data_dict),
            'add_remove_server': (AddRemoveServer, self._add_remove_server),
            'rename_server': (RenameServer, self._rename_server),
            'set_server_state': (SetServerState, self._set_server_state),
            'execute_command': (ExecuteCommand, self._execute_command),
            'haproxy_version_info': (NoCallArguments, self._version_info),
            'get_uptime_info': (NoCallArguments, self._uptime_info),
            'is_haproxy_alive': (IsAlive, self._is_alive),
            'get_work_config': (NoCallArguments, self._get_work_config),
        }

    @property
    def names(self) -> list[str]:
        """The names of all calls."""
        return list(self._calls)

    async def call(self, name: str, arguments: Mapping[str, Any], subject: str) -> Any:
        """Return the result of a call. `subject`: of the client's certificate, for the log. Raises AgentCallError."""
        if name not in self._calls:
            raise AgentCallError(f'There is no call {name!r}', self.names, 404)
        type_, method = self._calls[name]
        result = method(_convert(type_, arguments), subject)
        return await result if isinstance(result, Awaitable) else result

    # Reading

    def _ping(self, _arguments: NoCallArguments, _subject: str) -> str:
        return PING_RESULT

    def _get_config(self, _arguments: NoCallArguments, _subject: str) -> dict[str, Any]:
        try:
            return tomllib.loads(self._read_source())
        except tomllib.TOMLDecodeError as error:
            raise AgentCallError(f'lb.toml is not valid TOML: {error}') from None

    def _get_config_source_code(self, _arguments: NoCallArguments, _subject: str) -> str:
        return self._read_source()

    def _get_servers_state(self, _arguments: NoCallArguments, _subject: str) -> dict[str, dict[str, list[str]]]:
        found: dict[str, dict[str, list[str]]] = {'UP': {}, 'DOWN': {}, 'MAINT': {}, 'DRAIN': {}}
        for server in self._control.servers():
            found[server.state].setdefault(server.backend, []).append(server.name)
        return found

    def _get_server_data_dict(self, arguments: ServerData, _subject: str) -> dict[str, dict[str, Any]]:
        servers = [server for server in self._control.servers() if arguments.backend in (None, server.backend)]
        names = [server.name for server in servers]
        found = {
            server.name if names.count(server.name) == 1 else f'{server.backend}/{server.name}': server._asdict()
            for server in servers if arguments.name in (None, server.name)
        }  # fmt: skip
        if arguments.name is not None and not found:
            raise AgentCallError(f'There is no server {arguments.name}', names, 404)
        return found

    def _execute_command(self, arguments: ExecuteCommand, _subject: str) -> str:
        command = arguments.command
        name = COMMANDS.get(command) if isinstance(command, int) else command
        if name is None or name not in COMMANDS.values():
            known = [f'{number}: {text}' for number, text in COMMANDS.items()]
            raise AgentCallError(f'There is no command {command!r}', known, 404)
        return format_command(name, self._control)

    def _version_info(self, _arguments: NoCallArguments, _subject: str) -> str:
        return str(self._control.info().get('version', ''))

    def _uptime_info(self, _arguments: NoCallArguments, _subject: str) -> str:
        return format_uptime(float(self._control.info().get('uptime', 0)))

    def _is_alive(self, _arguments: IsAlive, _subject: str) -> bool:
        return bool(self._control.info())

    def _get_work_config(self, _arguments: NoCallArguments, _subject: str) -> Mapping[str, Any]:
        return self._work_config

    # Changes

    async def _validate_save(self, arguments: ValidateSave, subject: str) -> bool:
        def edit(source: str) -> str:
            _check_revision(source, arguments.revision)
            return replace_config(source, arguments.config)

        return await self._change(edit, subject, 'replaced the configuration', save=arguments.save)

    async def _validate_save_source_code(self, arguments: ValidateSaveSource, subject: str) -> bool:
        def edit(source: str) -> str:
            _check_revision(source, arguments.revision)
            return arguments.source

        return await self._change(edit, subject, 'replaced the text of the configuration', save=arguments.save)

    async def _add_remove_server(self, arguments: AddRemoveServer, subject: str) -> bool:
        name, is_added = arguments.name, arguments.action == 'add'
        given = {key: getattr(arguments, key) for key in ('host', 'port', 'weight')}
        values = {key: value for key, value in given.items() if value is not None}
        if values and not is_added:
            raise AgentCallError(f'{", ".join(values)}: only for a server that is added')
        if ('host' in values) != ('port' in values):
            raise AgentCallError('host, port: give both, or none of them for a placeholder')

        def edit(source: str) -> str:
            backend = self._backend(source, arguments.backend)
            return (
                add_server_to_config(source, backend, name, values)
                if is_added
                else remove_server_from_config(source, backend, name)
            )

        return await self._change(edit, subject, f'{"added" if is_added else "removed"} the server {name}')

    async def _rename_server(self, arguments: RenameServer, subject: str) -> bool:
        old, new = arguments.old_name, arguments.new_name
        renamed: list[RenamedServer] = []

        def edit(source: str) -> str:
            backend = self._backend(source, arguments.backend)
            renamed.append(RenamedServer(backend, old, new))
            return rename_server_in_config(source, backend, old, new)

        return await self._change(edit, subject, f'renamed the server {old} to {new}', renamed=renamed)

    async def _set_server_state(self, arguments: SetServerState, subject: str) -> bool:
        server = self._find_server(arguments.name, arguments.backend)
        try:
            await self._control.set_state(server.backend, server.name, arguments.state)
        except LookupError:
            raise AgentCallError(f'The backend {server.backend} has no server {server.name}', (), 404) from None
        except OSError as error:
            raise AgentCallError(f'The state is unchanged, because it cannot be saved: {error.strerror}', (), 500
                                 ) from None
        self._log.info('{subject} set the server {server} of {backend} to {state}', subject=subject,
                       server=server.name, backend=server.backend, state=arguments.state)
        return True

    async def _change(self, edit: Callable[[str], str], subject: str, what: str, *, save: bool = True,
                      renamed: Sequence[RenamedServer] = ()) -> bool:
        """Apply an edit of the text of lb.toml, or validate it only. `renamed`: the server that the edit has renamed,
        if any. Raises AgentCallError with all mistakes."""
        await self._lock.acquire()
        try:
            source = self._read_source()
            try:
                edited = edit(source)
            except ConfigEditError as error:
                raise AgentCallError(str(error), (), 409 if error.is_conflict else 400) from None
            errors = [*_agent_errors(source, edited), *self._control.validate(edited)]
            if not errors and save:
                errors = list(await self._control.apply(edited, next(iter(renamed), None)))
        finally:
            self._lock.release()
        if errors:
            raise AgentCallError('The configuration is not valid', errors)
        if save:
            self._log.info('{subject} {what} (lb.toml is now {revision})', subject=subject, what=what,
                           revision=source_revision(edited)[:12])
        return True

    def _read_source(self) -> str:
        try:
            return self._control.config_source()
        except (OSError, ValueError) as error:
            reason = getattr(error, 'strerror', None) or 'it is not UTF-8 text'
            raise AgentCallError(f'lb.toml cannot be read: {reason}', (), 500) from None

    def _find_server(self, name: str, backend: str | None) -> ServerStatus:
        servers = self._control.servers()
        found = [server for server in servers if server.name == name and backend in (None, server.backend)]
        if len(found) == 1:
            return found[0]
        if found:
            names = ', '.join(server.backend for server in found)
            raise AgentCallError(f'Several backends have a server {name}: give one of {names}')
        where = f' of {backend}' if backend is not None else ''
        raise AgentCallError(f'There is no server {name}{where}', sorted({each.name for each in servers}), 404)

    def _backend(self, source: str, given: str | None) -> str:
        """Return the backend that an edit is for. Raises ConfigEditError."""
        if given is not None:
            return given
        try:
            backends: list[str] = list(tomllib.loads(source).get('backends', {}))
        except tomllib.TOMLDecodeError as error:
            raise ConfigEditError(f'lb.toml is not valid TOML: {error}') from None
        if len(backends) != 1:
            raise ConfigEditError(
                f'There are several backends, or none: give one (known: {", ".join(backends) or "none"})'
            )
        return backends[0]


def _agent_errors(source: str, edited: str) -> Sequence[str]:
    """Return an error if an edit changes the agent's own settings: an edit through the agent could lock its clients
    out, or let others in."""
    try:
        before, after = (tomllib.loads(text).get('agent', {}) for text in (source, edited))
    except tomllib.TOMLDecodeError:
        return ()  # the text is not valid, or cannot be compared: validation reports it
    return () if before == after else ['agent: the agent does not change its own settings; edit them in lb.toml']


def _check_revision(source: str, revision: str) -> None:
    if revision and revision != source_revision(source):
        raise AgentCallError('lb.toml was changed by somebody else: read it again, and repeat the change', (), 409)


def _convert(type_: type[CallArguments], arguments: Mapping[str, Any]) -> CallArguments:
    """Return the arguments of a call. Raises AgentCallError with all errors."""
    fields = {field.encode_name: field for field in msgspec.structs.fields(type_)}
    errors = [f'{name}: there is no such argument (known: {", ".join(fields) or "none"})'
              for name in arguments if name not in fields]  # fmt: skip
    values: dict[str, Any] = {}
    for name, field in fields.items():
        if name not in arguments:
            if field.required:
                errors.append(f'{name}: is missing')
            continue
        try:
            values[name] = msgspec.convert(arguments[name], field.type)
        except msgspec.ValidationError as error:
            errors.append(f'{name}: {error}')
    if errors:
        raise AgentCallError('The arguments are not valid', errors)
    return type_(**values)
