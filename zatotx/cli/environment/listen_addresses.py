"""The listen addresses of a server, read from the Twisted endpoint descriptions in its server.toml."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from zatotx.cli.environment.environment_layout import Component, get_setting, read_settings
from zatotx.cli.errors import CommandError

WILDCARDS = {'': '127.0.0.1', '0.0.0.0': '127.0.0.1', '::': '::1'}  # noqa: S104 - read from configuration, not bound


class ListenAddress(NamedTuple):
    """The address on which a server listens, and to which commands connect."""

    scheme: str  # 'http' or 'https'
    host: str
    port: int
    certificate: Path | None = None  # https only: the server's certificate, which is trusted
    section: str = ''  # section of server.toml that lists it

    @property
    def url(self) -> str:
        host = f'[{self.host}]' if ':' in self.host else self.host
        return f'{self.scheme}://{host}:{self.port}'


def split_endpoint_description(description: str) -> list[str]:
    """Split an endpoint description at its colons. A backslash escapes the next character."""
    fields, current, escaped = [], '', False
    for character in description:
        if escaped or character not in '\\:':
            current, escaped = current + character, False
        elif character == '\\':
            escaped = True
        else:
            fields.append(current)
            current = ''
    return [*fields, current]


def parse_listen_address(description: str, directory: Path) -> ListenAddress | None:
    """Parse a `tcp:` or `ssl:` endpoint description; file names in it are relative to `directory`. Returns None for
    other descriptions."""
    kind, *rest = split_endpoint_description(description)
    named = dict(field.split('=', 1) for field in rest if '=' in field)
    positional = [field for field in rest if '=' not in field]
    port = named.get('port') or (positional[0] if positional else '')
    if kind not in ('tcp', 'tcp6', 'ssl') or not port.isdecimal():
        return None
    host = named.get('interface', '')
    host = WILDCARDS.get(host, host)
    if kind != 'ssl':
        return ListenAddress('http', host, int(port))
    return ListenAddress('https', host, int(port), directory / (named.get('certKey') or named.get('privateKey') or ''))


def listen_descriptions(part: Component) -> Iterator[str]:
    """Return the endpoint descriptions of all kinds in the settings of a server."""
    from zatotx.connectors.kind_registry import find_kinds

    settings = read_settings(part)
    for found in find_kinds():
        yield from map(str, get_setting(settings, found.kind.name, 'listen', []))


def tcp_addresses(part: Component) -> Iterator[ListenAddress]:
    """Yield all TCP addresses in the settings of a server, from the `listen` settings of all kinds."""
    settings = read_settings(part)
    for section, values in settings.items():
        if isinstance(values, Mapping) and 'listen' in values:
            for description in get_setting(settings, section, 'listen', []):
                address = parse_listen_address(str(description), part.path)
                if address is not None:
                    yield address._replace(section=section)


def first_tcp_address(part: Component) -> ListenAddress:
    """Return the first TCP address that serves the built-in endpoints of the broker, which commands call."""
    found = list(tcp_addresses(part))
    if len({address.section for address in found}) != 1:  # otherwise commands need not find the kinds, which is slow
        sections = endpoint_sections()
        found = [address for address in found if address.section in sections]
        if not found:
            listen = ' or '.join(f'{section}.listen' for section in sections)
            file = part.settings_path
            raise CommandError(f'{part.name} does not listen on a TCP port: add one to {listen} in {file}.')
    return found[0]


def endpoint_sections() -> list[str]:
    """Return the names of the settings sections of the kinds that serve the broker's built-in endpoints."""
    from zatotx.connectors.kind_registry import find_kinds

    return [found.kind.name for found in find_kinds() if found.kind.serves_endpoints]
