"""The settings of the HTTP kind: the section [http] of server.toml."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec

from zatotx.connectors.tls_settings import INTERMEDIATE_CIPHERS
from zatotx.model.errors import StartError
from zatotx.plugins.http import LISTEN
from zatotx.rules.http.public_url import public_url_error
from zatotx.rules.http.trusted_proxies import InvalidProxies, parse_trusted_proxies
from zatotx.wire.http1.request_parser import HttpParserLimits

ProxyHeaders = Literal['any', 'forwarded', 'x-forwarded']


class HttpSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings in [http]. Limits are in bytes, timeouts in seconds."""

    listen: tuple[str, ...] = LISTEN  # Twisted endpoint descriptions; `ssl:…` gives TLS
    head_timeout: float = 10.0  # seconds for the whole head of a request
    body_timeout: float = 30.0  # seconds without progress of a request's body
    idle_timeout: float = 60.0  # seconds between two requests
    write_timeout: float = 60.0  # seconds without progress of a response that the client does not read
    max_connections: int = 20_000  # open at once; further clients wait in the accept queue
    max_connections_per_address: int = 5_000  # open at once from one IPv4 address or IPv6 /64; further ones are aborted
    max_head: int = 32_768  # bytes of a request's head
    max_fields: int = 100  # fields in a head
    max_field: int = 8_190  # bytes of one field
    max_target: int = 8_192  # bytes of the path with its query
    max_body: int = 20 * 1024 * 1024  # bytes of a body, as received and as decompressed
    max_ratio: int = 100  # limit for the growth of a gzip or deflate body, as a factor; max_body limits its size
    spool_above: int = 1024 * 1024  # bytes; a larger body is stored in a temporary file, not in memory
    openapi: Literal['open', 'basic', 'off'] = 'basic'  # who may read /zato/openapi.json
    docs: bool = True  # whether /zato/docs exists
    wsdl: bool = True  # whether SOAP channels publish their WSDL, to any client
    public_url: str = ''  # base URL of the cluster for clients, https://api.example.com; used in WSDL and OpenAPI
    trusted_proxies: tuple[str, ...] = ()  # their addresses and networks; `unix` = peers on Unix sockets
    proxy_headers: ProxyHeaders = 'any'  # fields that trusted proxies set: forwarded, x-forwarded, or any of them
    client_cert: bool = False  # trusted proxies pass verified client certificates on, in Client-Cert (RFC 9440)
    tls_ciphers: str = INTERMEDIATE_CIPHERS  # cipher suites of TLS 1.2, as OpenSSL lists them
    grace: float = 10.0  # seconds that running requests have to finish at shutdown

    @property
    def limits(self) -> HttpParserLimits:
        """Limits of the request parser. The body's size is checked by the request reader, which knows the request, not
        by the parser."""
        return HttpParserLimits(
            head=self.max_head,
            fields=self.max_fields,
            field=self.max_field,
            target=self.max_target,
            body=1 << 62,
        )


def _trusted_proxies_error(entries: tuple[str, ...]) -> str:
    try:
        parse_trusted_proxies(entries)
    except InvalidProxies as error:
        return str(error)
    return ''


_MAY_BE_ZERO = ('grace', 'docs', 'wsdl', 'client_cert')
_CHECKS: Mapping[str, Callable[[Any], str]] = {
    'trusted_proxies': _trusted_proxies_error,
    'public_url': public_url_error,
}
_KNOWN = {field.name: field for field in msgspec.structs.fields(HttpSettings)}


def read_settings(section: Mapping[str, Any]) -> HttpSettings:
    """Parse the section [http]. Missing settings get their defaults. Raises StartError, which names all invalid
    settings."""
    errors: list[str] = []
    values: dict[str, Any] = {}
    for name, value in section.items():
        field = _KNOWN.get(name)
        if field is None:
            errors.append(f'[http] {name}: there is no such setting')
            continue
        try:
            values[name] = msgspec.convert(value, field.type)
        except msgspec.ValidationError as error:
            errors.append(f'[http] {name}: {error}')
            continue
        if isinstance(values[name], (int, float)) and name not in _MAY_BE_ZERO and values[name] <= 0:
            errors.append(f'[http] {name}: must be above 0, not {value}')
        elif (message := _CHECKS[name](values[name]) if name in _CHECKS else ''):
            errors.append(f'[http] {name}: {message}')
    if errors:
        raise StartError('; '.join(errors))
    return HttpSettings(**values)
