"""Edits of the text of lb.toml that keep its comments and its order. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tomlkit
from tomlkit.container import OutOfOrderTableProxy
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import AbstractTable, InlineTable

PLACEHOLDER_HOST, PLACEHOLDER_PORT = '127.0.0.1', 1  # of a server that was added without an address


class EditError(ValueError):
    """An edit cannot be made: one sentence. `is_conflict`: an object of that name exists already; otherwise there is
    none."""

    def __init__(self, message: str, *, is_conflict: bool = False) -> None:
        super().__init__(message)
        self.is_conflict = is_conflict


def replace_config(source: str, config: Mapping[str, Any]) -> str:
    """Return the text with the content of `config`: values that are equal stay as they are written, with their
    comments. Raises EditError."""
    document = _parse(source)
    try:
        _merge(document, config)
    except (TypeError, ValueError, TOMLKitError) as error:  # null, for which TOML has no value, among others
        raise EditError(f'The configuration cannot be written as TOML: {error}') from None
    return tomlkit.dumps(document)


def _merge(table: Any, values: Mapping[str, Any]) -> None:
    for key in [key for key in table if key not in values]:
        del table[key]
    for key, value in values.items():
        current = table.get(key)
        if isinstance(value, Mapping) and isinstance(current, Mapping):
            _merge(current, value)
        elif current is None or _plain(current) != value:
            table[key] = value


def _plain(value: Any) -> Any:
    return value.unwrap() if hasattr(value, 'unwrap') else value


def add_server(source: str, backend: str, name: str, values: Mapping[str, Any]) -> str:
    """Return the text with another server in a backend. Without an address it gets a placeholder, and is in
    maintenance. Raises EditError."""
    document = _parse(source)
    table = _backend(document, backend)
    servers = table.get('servers')
    if servers is None:
        servers = tomlkit.table(is_super_table=True)
        table['servers'] = servers
    if name in servers:
        raise EditError(f'The backend {backend} has a server {name} already', is_conflict=True)
    server: Any = tomlkit.inline_table() if _has_inline_servers(servers) else tomlkit.table()
    if not {'host', 'port'} <= values.keys():
        values = {'host': PLACEHOLDER_HOST, 'port': PLACEHOLDER_PORT, **values, 'state': 'maint'}
    for key, value in values.items():
        server[key] = value
    if not isinstance(server, InlineTable):
        server.add(tomlkit.nl())
    servers[name] = server
    return tomlkit.dumps(document)


def _has_inline_servers(servers: Any) -> bool:
    return any(isinstance(server, InlineTable) for server in servers.values())


def remove_server(source: str, backend: str, name: str) -> str:
    """Return the text without a server. Raises EditError."""
    document = _parse(source)
    servers = _servers(document, backend, name)
    del servers[name]
    return tomlkit.dumps(document)


def rename_server(source: str, backend: str, old: str, new: str) -> str:
    """Return the text with another name for a server; its values and comments stay, and its place too where its table
    is an inline one. Raises EditError."""
    document = _parse(source)
    servers = _servers(document, backend, old)
    if new in servers:
        raise EditError(f'The backend {backend} has a server {new} already', is_conflict=True)
    pairs = [(new if key == old else key, servers[key]) for key in list(servers)]
    for key in list(servers):
        del servers[key]
    for key, value in pairs:
        servers[key] = value
    return tomlkit.dumps(document)


def _servers(document: Any, backend: str, name: str) -> Any:
    servers = _backend(document, backend).get('servers', {})
    if name not in servers:
        known = ', '.join(servers) or 'none'
        raise EditError(f'The backend {backend} has no server {name} (known: {known})')
    return servers


def _backend(document: Any, name: str) -> Any:
    backends = document.get('backends', {})
    table = backends.get(name) if isinstance(backends, Mapping) else None
    if not isinstance(table, AbstractTable | OutOfOrderTableProxy):
        raise EditError(f'There is no backend {name} (known: {", ".join(backends) or "none"})')
    return table


def _parse(source: str) -> Any:
    try:
        return tomlkit.parse(source)
    except TOMLKitError as error:
        raise EditError(f'lb.toml is not valid TOML: {error}') from None
