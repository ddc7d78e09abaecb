"""Changes to the text of lb.toml that keep its comments and its layout."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tomlkit
from tomlkit.items import AbstractTable
from tomlkit.toml_document import TOMLDocument

Value = str | int | float | bool | list[str]


def add_server(source: str, backend: str, name: str, fields: Mapping[str, Value]) -> str:
    """Return the text with one more server. Raises LookupError if there is no such backend, ValueError if it has the
    server already."""
    document = tomlkit.parse(source)
    servers = _servers(document, backend, create=True)
    if name in servers:
        raise ValueError(f'The backend {backend!r} has a server {name!r} already')
    table = tomlkit.table()
    table.update(dict(fields))
    servers[name] = table
    return tomlkit.dumps(document)


def remove_server(source: str, backend: str, name: str) -> str:
    """Return the text without a server. Raises LookupError if there is no such server."""
    document = tomlkit.parse(source)
    del _servers(document, backend, name)[name]
    return tomlkit.dumps(document)


def rename_server(source: str, backend: str, old: str, new: str) -> str:
    """Return the text with another name of a server. Raises LookupError if there is no such server, ValueError if the
    new name is taken."""
    document = tomlkit.parse(source)
    servers = _servers(document, backend, old)
    if new in servers:
        raise ValueError(f'The backend {backend!r} has a server {new!r} already')
    servers[new] = servers.pop(old)
    return tomlkit.dumps(document)


def set_server_fields(source: str, backend: str, name: str, fields: Mapping[str, Value]) -> str:
    """Return the text with other values of a server's settings. Raises LookupError if there is no such server."""
    document = tomlkit.parse(source)
    _servers(document, backend, name)[name].update(dict(fields))
    return tomlkit.dumps(document)


def set_value(source: str, path: tuple[str, ...], value: Value) -> str:
    """Return the text with another value of one setting, e.g. of ('timeouts', 'server'). Raises LookupError if there is
    no such table."""
    document = tomlkit.parse(source)
    table: Any = document
    for key in path[:-1]:
        if key not in table:
            raise LookupError(f'There is no table {".".join(path[:-1])}')
        table = table[key]
    table[path[-1]] = value
    return tomlkit.dumps(document)


def _servers(document: TOMLDocument, backend: str, name: str = '', *, create: bool = False) -> Any:
    """Return the table of a backend's servers. Raises LookupError if there is no such backend, or no server `name`."""
    backends: Any = document.get('backends', {})
    if backend not in backends:
        raise LookupError(f'There is no backend {backend!r}')
    found: AbstractTable = backends[backend]
    if 'servers' not in found and create:
        found['servers'] = tomlkit.table(is_super_table=True)
    servers: Any = found.get('servers', {})
    if name and name not in servers:
        raise LookupError(f'The backend {backend!r} has no server {name!r}')
    return servers
