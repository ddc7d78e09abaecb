"""Edits the text of lb.toml, and preserves comments and order. Pure functions."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import InlineTable
from twisted.logger import Logger

_log = Logger()

PLACEHOLDER_HOST, PLACEHOLDER_PORT = '127.0.0.1', 1  # of a server that was added without an address


class ConfigEditError(ValueError):
    """An edit is impossible. The message is one sentence. `is_conflict` says whether an object with the name already
    exists; if it is false, the object to edit does not exist."""

    def __init__(self, message: str, *, is_conflict: bool = False) -> None:
        super().__init__(message)
        self.is_conflict = is_conflict


def replace_config(source: str, config: Mapping[str, Any]) -> str:
    """Return the configuration text with its content replaced by `config`. Unchanged values keep their formatting and
    comments. Raises ConfigEditError."""
    reason = ''
    for replace in (_merge, _replace_tables):
        document = _parse(source)
        try:
            replace(document, config)
            edited = tomlkit.dumps(document)
            if tomllib.loads(edited) == config:
                return edited
        except Exception as error:  # null, for which TOML has no value; various types for tables out of order
            reason = str(error) or type(error).__name__
    raise ConfigEditError(
        f'The configuration cannot be written as TOML ({reason or "the result would be another one"})'
    )


def _merge(table: Any, values: Mapping[str, Any]) -> None:
    for key in [key for key in table if key not in values]:
        del table[key]
    for key, value in values.items():
        current = table.get(key)
        if isinstance(value, Mapping) and isinstance(current, Mapping):
            _merge(current, value)
        elif current is None or not _is_same(current, value):
            table[key] = value


def _replace_tables(document: Any, values: Mapping[str, Any]) -> None:
    """Replace whole tables of the first level that differ: the last resort, which loses the comments in them."""
    current = document.unwrap()
    for key in current:
        if key not in values or not _is_same(current[key], values[key]):
            del document[key]
    for key, value in values.items():
        if key not in document:
            document[key] = value


def _is_same(current: Any, value: Any) -> bool:
    plain = current.unwrap() if hasattr(current, 'unwrap') else current
    return type(plain) is type(value) and bool(plain == value)


def add_server_to_config(source: str, backend: str, name: str, values: Mapping[str, Any]) -> str:
    """Return the configuration text with a server added to a backend. If no address is given, the server gets a
    placeholder address and is in maintenance mode. Raises ConfigEditError."""
    if not {'host', 'port'} <= values.keys():
        values = {'host': PLACEHOLDER_HOST, 'port': PLACEHOLDER_PORT, **values, 'state': 'maint'}
    expected, found = _load(source, backend)
    if name in found:
        raise ConfigEditError(f'The backend {backend} has a server {name} already', is_conflict=True)
    found[name] = dict(values)

    def edit(table: Any) -> None:
        if 'servers' not in table:
            table['servers'] = tomlkit.table(is_super_table=True)
        servers = table['servers']
        is_inline = any(isinstance(server, InlineTable) for server in servers.values())
        server: Any = tomlkit.inline_table() if is_inline else tomlkit.table()
        for key, value in values.items():
            server[key] = value
        if not is_inline:
            server.add(tomlkit.nl())
        servers[name] = server

    return _edit(source, backend, edit, expected)


def remove_server_from_config(source: str, backend: str, name: str) -> str:
    """Return the configuration text with a server removed from a backend. Raises ConfigEditError if the server does not
    exist."""
    expected, found = _load(source, backend)
    _check_known(found, backend, name)
    del found[name]

    def edit(table: Any) -> None:
        del table['servers'][name]

    return _edit(source, backend, edit, expected)


def rename_server_in_config(source: str, backend: str, old: str, new: str) -> str:
    """Return the configuration text with a server renamed. The values and comments of the server are preserved. Raises
    ConfigEditError."""
    expected, found = _load(source, backend)
    _check_known(found, backend, old)
    if new in found:
        raise ConfigEditError(f'The backend {backend} has a server {new} already', is_conflict=True)
    found[new] = found.pop(old)

    def edit(table: Any) -> None:
        servers = table['servers']
        pairs = [(new if key == old else key, servers[key]) for key in list(servers)]
        for key in list(servers):
            del servers[key]
        for key, value in pairs:
            servers[key] = value

    return _edit(source, backend, edit, expected)


def _edit(source: str, backend: str, edit: Callable[[Any], None], expected: Mapping[str, Any]) -> str:
    """Return the text after an edit of a backend's table, whose content must be `expected`. Where tomlkit cannot make
    the edit, as for tables out of order, the values are replaced one by one, which keeps fewer comments."""
    document = _parse(source)
    try:
        edit(document['backends'][backend])
        edited = tomlkit.dumps(document)
        if tomllib.loads(edited) == expected:
            return edited
    except Exception as error:  # of various types
        _log.debug('An edit of lb.toml needs another way: {error}', error=error)
    return replace_config(source, expected)


def _load(source: str, backend: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the content of the text, and the servers of a backend in it. Raises ConfigEditError."""
    try:
        content = tomllib.loads(source)
    except tomllib.TOMLDecodeError as error:
        raise ConfigEditError(f'lb.toml is not valid TOML: {error}') from None
    backends = content.get('backends', {})
    table = backends.get(backend) if isinstance(backends, dict) else None
    if not isinstance(table, dict):
        raise ConfigEditError(f'There is no backend {backend} (known: {", ".join(backends) or "none"})')
    servers = table.setdefault('servers', {})
    if not isinstance(servers, dict):
        raise ConfigEditError(f'backends.{backend}.servers in lb.toml is not a table')
    return content, servers


def _check_known(servers: Mapping[str, Any], backend: str, name: str) -> None:
    if name not in servers:
        raise ConfigEditError(f'The backend {backend} has no server {name} (known: {", ".join(servers) or "none"})')


def _parse(source: str) -> Any:
    try:
        return tomlkit.parse(source)
    except TOMLKitError as error:
        raise ConfigEditError(f'lb.toml is not valid TOML: {error}') from None
