"""The base of the object types of outgoing HTTP connections: the fields that REST and SOAP connections share."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from zatotx.connectors.tls_settings import InvalidTlsSettings, TlsSettings, parse_tls_settings
from zatotx.rules.http.redirects import RedirectError, parse_redirect_target
from zatotx.rules.routing.url_template import url_template_error
from zatotx.schema.circuit_breaker_settings import CircuitBreakerSettings
from zatotx.schema.delivery_fields import OutgoingDelivery
from zatotx.schema.meta import field
from zatotx.schema.security.definition import FOR_OUTGOING_REST

MEBIBYTE = 1024 * 1024
METHOD_PATTERN = '^[A-Z][A-Z0-9_-]{0,31}$'
_PEM_NAMES = {'tls_certificate': 'tls_cert'}  # names of settings in client/credentials.py that differ here


def _host_error(host: str) -> str:
    try:
        parse_redirect_target(host)
        parts = urlsplit(host)
    except RedirectError:
        return 'must be a URL like https://example.com or http://127.0.0.1:8080'
    if '@' in parts.netloc:
        return 'must have no user name or password: they belong into a security definition'
    if parts.query or parts.fragment or '?' in host or '#' in host:
        return 'must be without ? and #: what follows the host belongs into url_path'
    return 'must have no {name}: parameters belong into url_path' if '{' in host or '}' in host else ''


def _proxy_error(setting: str) -> str:
    from zatotx.rules.http.proxy_selection import UnusableProxy, make_proxy_selector  # the client loads it, too

    try:
        make_proxy_selector(setting, {})
    except UnusableProxy as error:
        return f'cannot be used: {error}'
    return ''


def _content_type_error(content_type: str) -> str:
    return '' if content_type.isascii() and content_type.isprintable() else 'must be printable ASCII'


ANY_ORIGIN = 'any'  # of follow_redirects
_FOLLOWED = {'true': True, 'True': True, 'same-origin': True, 'false': False, 'False': False, 'none': False}


class RetrySettings(msgspec.Struct, frozen=True, kw_only=True):
    """The retry settings of an outgoing connection."""

    attempts: Annotated[
        int,
        field('Maximum number of attempts, including the first: for GET, HEAD and OPTIONS, with a header '
              'Idempotency-Key, and for any method if the request has not reached the peer', ge=1, le=20),
    ] = 3
    backoff: Annotated[
        float,
        field('Maximum pause in seconds before the second attempt, doubled for each further one', ge=0, le=60),
    ] = 0.2
    methods: Annotated[
        list[Annotated[str, Meta(pattern=METHOD_PATTERN)]],
        field('Further methods that may be repeated because this peer implements them as idempotent: PUT, DELETE',
              max_length=20),
    ] = []


class HttpOutgoing(OutgoingDelivery, frozen=True, kw_only=True):
    """Base class of outgoing HTTP connections to another system."""

    name: Annotated[str, field('Name of the connection', min_length=1, max_length=1000)]
    is_active: Annotated[bool, field('Whether services may use the connection')] = True
    host: Annotated[
        str, field('URL of the peer: https://example.com, http://127.0.0.1:8080', max_length=2000, check=_host_error)
    ]
    url_path: Annotated[
        str,
        field('URL path, with {name} for a parameter and {name:path} for one with slashes', max_length=4096,
              check=url_template_error),
    ] = ''
    method: Annotated[
        str,
        field("Default method, used by call() and Zato's send()", pattern=METHOD_PATTERN, aliases={'': 'POST'}),
    ] = 'POST'
    data_format: Annotated[
        str,
        field('Format of values sent, and of responses without a specific Content-Type; empty = JSON, and '
              'by Content-Type', choices=('', 'json', 'xml', 'form'), aliases={'post': 'form'}),
    ] = ''
    security: Annotated[
        str | None,
        field('Credentials, a security definition that REST connections can send; none = anonymous',
              ref='security', ref_purpose=FOR_OUTGOING_REST),
    ] = None
    content_type: Annotated[
        str, field('Content-Type of requests; empty = by data_format', max_length=1000, check=_content_type_error)
    ] = ''
    timeout: Annotated[
        float,
        field('Seconds for a whole call, including the wait for a connection, connecting and all attempts', gt=0,
              le=86_400),
    ] = 10.0
    connect_timeout: (
        Annotated[float, field('Seconds of it for connecting; none = no separate limit', gt=0, le=86_400)] | None
    ) = None
    pool_size: Annotated[
        int, field('Maximum connections per worker; further calls wait for one', ge=1, le=10_000)
    ] = 20
    max_in_flight: (
        Annotated[
            int,
            field('Maximum calls per worker, waiting ones included; further calls fail at once; none = no limit',
                  ge=1, le=1_000_000),
        ] | None
    ) = None
    retry: Annotated[RetrySettings, field('Repeats failed calls; none = no retries')] | None = None
    circuit_breaker: (
        Annotated[CircuitBreakerSettings, field('Suspends calls to a failing peer; none = never')] | None
    ) = None
    follow_redirects: Annotated[
        bool | Literal['any'],
        field('Redirects to follow, ten at most: true = within scheme, host and port of `host`; any = to other '
              'public addresses too, without credentials; false = none', aliases=_FOLLOWED),
    ] = True
    max_response_size: Annotated[
        int,
        field('Maximum bytes of a decoded response; streamed ones have no limit', ge=1, le=2**31),
    ] = 20 * MEBIBYTE
    ping_method: Annotated[
        str,
        field('Method of ping requests', pattern=METHOD_PATTERN, aliases={'': 'HEAD'}),
    ] = 'HEAD'
    tls_verify: Annotated[
        bool, field("Whether to verify the peer's certificate; false accepts any certificate: for tests only")
    ] = True
    tls_ca: Annotated[
        str,
        field("Authorities trusted to sign the peer's certificate, as PEM; empty = the system's",
              max_length=MEBIBYTE),
    ] = ''
    tls_cert: Annotated[
        str, field('Client certificate with its intermediates, as PEM; empty = none', max_length=MEBIBYTE)
    ] = ''
    tls_key: Annotated[str, field('Private key of the client certificate, as PEM', secret='encrypted')] = ''
    proxy: Annotated[
        str,
        field('URL of the proxy, http://user:password@host:port; none = no proxy; environment = as set in '
              'http_proxy, https_proxy and no_proxy of the server', secret='encrypted', check=_proxy_error),
    ] = 'environment'


def outgoing_field_combination_errors(value: HttpOutgoing) -> list[tuple[str, str]]:
    """Return the validation errors that involve several fields of an outgoing connection."""
    try:
        parse_tls_settings(tls_settings(value))
    except InvalidTlsSettings as error:
        return [_rename_settings(*problem.split(': ', 1)) for problem in error.problems]
    return []


def tls_settings(value: HttpOutgoing) -> TlsSettings:
    """Return the TLS settings of a connection."""
    return TlsSettings(ca=value.tls_ca, certificate=value.tls_cert, key=value.tls_key, verify=value.tls_verify)


def _rename_settings(name: str, text: str) -> tuple[str, str]:
    for zato_name, name_here in _PEM_NAMES.items():
        name, text = name.replace(zato_name, name_here), text.replace(zato_name, name_here)
    return name, text
