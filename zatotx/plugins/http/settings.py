"""What the HTTP kind is set to: its section of server.toml."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec

from zatotx.model.errors import StartError
from zatotx.plugins.http import LISTEN
from zatotx.rules.http.forwarding import InvalidProxies, trusted_proxies
from zatotx.rules.http.public_url import public_url_error
from zatotx.wire.http1.request_parser import ParserLimits

# Those of Mozilla's "intermediate" for TLS 1.2: forward secrecy and authenticated encryption. Without its DHE suites,
# by which a client makes a server compute much more than it does itself.
INTERMEDIATE = (
    'ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:'
    'ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305'
)
ProxyHeaders = Literal['any', 'forwarded', 'x-forwarded']


class HttpSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Limits in bytes, deadlines in seconds."""

    listen: tuple[str, ...] = LISTEN  # Twisted endpoint descriptions; `ssl:…` gives TLS
    head_timeout: float = 10.0  # seconds for the whole of a request's head
    body_timeout: float = 30.0  # seconds without progress of a request's body
    idle_timeout: float = 60.0  # seconds between two requests
    write_timeout: float = 60.0  # seconds without progress of an answer that the client does not read
    max_connections: int = 20_000  # open at once; over it others wait to be accepted
    max_connections_per_address: int = 5_000  # open at once from one IPv4 address or IPv6 /64; those over it are cut
    max_head: int = 32_768  # bytes of a request's head
    max_fields: int = 100  # fields in a head
    max_field: int = 8_190  # bytes of one field
    max_target: int = 8_192  # bytes of the path with its query
    max_body: int = 20 * 1024 * 1024  # bytes of a body, and of what a coded one grows to
    max_ratio: int = 100  # times that a gzip or deflate body may grow; max_body holds for what it grows to
    spool_above: int = 1024 * 1024  # bytes; a larger body waits in a file, not in memory
    openapi: Literal['open', 'basic', 'off'] = 'basic'  # who may read /zato/openapi.json
    docs: bool = True  # whether /zato/docs is there
    wsdl: bool = True  # whether SOAP channels tell their WSDL, to whoever asks
    public_url: str = ''  # where clients reach the cluster, https://api.example.com; told by WSDL and OpenAPI
    trusted_proxies: tuple[str, ...] = ()  # their addresses and networks; `unix` = who comes by a Unix socket
    proxy_headers: ProxyHeaders = 'any'  # what trusted proxies write: forwarded, x-forwarded, or any of them
    tls_ciphers: str = INTERMEDIATE  # cipher suites of TLS 1.2, as OpenSSL lists them
    grace: float = 10.0  # seconds that what runs at stop may take to end

    @property
    def limits(self) -> ParserLimits:
        """What the wire lets through. The body is measured here, where the request it belongs to is known, not by the
        parser."""
        return ParserLimits(
            head=self.max_head,
            fields=self.max_fields,
            field=self.max_field,
            target=self.max_target,
            body=1 << 62,
        )


def _proxies_mistake(words: tuple[str, ...]) -> str:
    try:
        trusted_proxies(words)
    except InvalidProxies as wrong:
        return str(wrong)
    return ''


_MAY_BE_ZERO = ('grace', 'docs', 'wsdl')
_CHECKS: Mapping[str, Callable[[Any], str]] = {'trusted_proxies': _proxies_mistake, 'public_url': public_url_error}
_KNOWN = {field.name: field for field in msgspec.structs.fields(HttpSettings)}


def read_settings(section: Mapping[str, Any]) -> HttpSettings:
    """The section as a value; what is absent has its default. Raises StartError naming every mistake at once."""
    mistakes: list[str] = []
    values: dict[str, Any] = {}
    for name, value in section.items():
        field = _KNOWN.get(name)
        if field is None:
            mistakes.append(f'[http] {name}: there is no such setting')
            continue
        try:
            values[name] = msgspec.convert(value, field.type)
        except msgspec.ValidationError as error:
            mistakes.append(f'[http] {name}: {error}')
            continue
        if isinstance(values[name], (int, float)) and name not in _MAY_BE_ZERO and values[name] <= 0:
            mistakes.append(f'[http] {name}: must be above 0, not {value}')
        elif (wrong := _CHECKS[name](values[name]) if name in _CHECKS else ''):
            mistakes.append(f'[http] {name}: {wrong}')
    if mistakes:
        raise StartError('; '.join(mistakes))
    return HttpSettings(**values)
