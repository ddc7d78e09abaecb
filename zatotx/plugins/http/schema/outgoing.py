"""The configuration that all outgoing HTTP connections share."""

from __future__ import annotations

from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from zatotx.plugins.http.client.credentials import TlsSettings, UnusableCredentials, credentials
from zatotx.rules.http.proxy_selection import UnusableProxy, make_proxy_selector
from zatotx.rules.http.redirects import RedirectError, parse_target
from zatotx.rules.routing.url_template import template_error
from zatotx.schema.masking import ConfigObject
from zatotx.schema.meta import field
from zatotx.schema.security.definition import OF_OUTGOING

MEBIBYTE = 1024 * 1024
METHOD = '^[A-Z][A-Z0-9_-]{0,31}$'
_PEM_NAMES = {'tls_certificate': 'tls_cert'}  # names of settings in client/credentials.py that differ here


def _host_error(host: str) -> str:
    try:
        parse_target(host)
        parts = urlsplit(host)
    except RedirectError:
        return 'must be a URL like https://example.com or http://127.0.0.1:8080'
    if '@' in parts.netloc:
        return 'must have no user name or password: they belong into a security definition'
    if parts.query or parts.fragment or '?' in host or '#' in host:
        return 'must be without ? and #: what follows the host belongs into url_path'
    return 'must have no {name}: parameters belong into url_path' if '{' in host or '}' in host else ''


def _proxy_error(setting: str) -> str:
    try:
        make_proxy_selector(setting, {})
    except UnusableProxy as error:
        return f'cannot be used: {error}'
    return ''


def _content_type_error(content_type: str) -> str:
    return '' if content_type.isascii() and content_type.isprintable() else 'must be printable ASCII'


ANY_ORIGIN = 'any'  # of follow_redirects
_FOLLOWED = {'true': True, 'True': True, 'same-origin': True, 'false': False, 'False': False, 'none': False}


class Retry(msgspec.Struct, frozen=True, kw_only=True):
    """How failed calls are repeated."""

    attempts: Annotated[
        int,
        field('How often a call is made at most, the first time included: of GET, HEAD and OPTIONS, or with a header '
              'Idempotency-Key, and of any where the request never reached the peer', ge=1, le=20),
    ] = 3
    backoff: Annotated[
        float,
        field('Seconds: the longest pause before the second attempt, doubled for each further one', ge=0, le=60),
    ] = 0.2
    methods: Annotated[
        list[Annotated[str, Meta(pattern=METHOD)]],
        field('Further methods that may be repeated, as this peer keeps to it that they do the same twice: PUT, DELETE',
              max_length=20),
    ] = []


class CircuitBreaker(msgspec.Struct, frozen=True, kw_only=True):
    """When calls to a failing peer are suspended."""

    failures: Annotated[
        int, field('Calls in a row that get no answer, or one of status 5xx, until nothing is sent', ge=1, le=10_000)
    ] = 5
    reset: Annotated[
        float, field('Seconds until one call is sent to see whether the peer is well again', gt=0, le=86_400)
    ] = 10.0


class HttpOutgoing(ConfigObject, frozen=True, kw_only=True):
    """Another system that services call over HTTP."""

    name: Annotated[str, field('Name of the connection', min_length=1, max_length=1000)]
    is_active: Annotated[bool, field('Whether services may use it')] = True
    host: Annotated[
        str, field('Where it is: https://example.com, http://127.0.0.1:8080', max_length=2000, check=_host_error)
    ]
    url_path: Annotated[
        str,
        field('Path there, with {name} for a parameter and {name:path} for one with slashes', max_length=4096,
              check=template_error),
    ] = ''
    method: Annotated[
        str,
        field("Method of calls that name none: call() and Zato's send()", pattern=METHOD, aliases={'': 'POST'}),
    ] = 'POST'
    data_format: Annotated[
        str,
        field('How values are written, and answers read that do not say what they are; empty = as JSON, and by '
              'what answers say', choices=('', 'json', 'xml', 'form'), aliases={'post': 'form'}),
    ] = ''
    security: Annotated[
        str | None,
        field('Security definition that says who we are: basic_auth, apikey, digest_auth, oauth2_client; none = nobody',
              ref='security', ref_types=OF_OUTGOING),
    ] = None
    content_type: Annotated[
        str, field('Content-Type of what is sent; empty = by data_format', max_length=1000, check=_content_type_error)
    ] = ''
    timeout: Annotated[
        float,
        field('Seconds for a call as a whole, the wait for a connection, connecting and all attempts included', gt=0,
              le=86_400),
    ] = 10.0
    connect_timeout: (
        Annotated[float, field('Seconds of them for connecting; none = no bound of its own', gt=0, le=86_400)] | None
    ) = None
    pool_size: Annotated[
        int, field('Connections at once of a worker; further calls wait for one', ge=1, le=10_000)
    ] = 20
    max_in_flight: (
        Annotated[
            int,
            field('Calls at once of a worker, those that wait included; over it they fail at once; none = no limit',
                  ge=1, le=1_000_000),
        ] | None
    ) = None
    retry: Annotated[Retry, field('Repeats calls; none = each is made once')] | None = None
    circuit_breaker: (
        Annotated[CircuitBreaker, field('Leaves a peer alone that fails; none = it is always asked')] | None
    ) = None
    follow_redirects: Annotated[
        bool | Literal['any'],
        field('Which redirections are followed, ten at most: true = within scheme, host and port of `host`; any = to '
              'other public addresses too, where credentials stay behind; false = none', aliases=_FOLLOWED),
    ] = True
    max_response_size: Annotated[
        int,
        field('Bytes an answer may have, once unpacked; streamed ones may have any number', ge=1, le=2**31),
    ] = 20 * MEBIBYTE
    ping_method: Annotated[
        str,
        field('Method that the peer is asked with whether it is there', pattern=METHOD, aliases={'': 'HEAD'}),
    ] = 'HEAD'
    tls_verify: Annotated[
        bool, field('Whether the certificate of the peer is verified; false lets anybody be the peer: for tests only')
    ] = True
    tls_ca: Annotated[
        str,
        field("Authorities that the peer's certificate may be of, in PEM form; empty = the system's",
              max_length=MEBIBYTE),
    ] = ''
    tls_cert: Annotated[
        str, field('Our own certificate, and those that signed it, in PEM form; empty = none', max_length=MEBIBYTE)
    ] = ''
    tls_key: Annotated[str, field('Its key, in PEM form', secret='encrypted')] = ''
    proxy: Annotated[
        str,
        field('URL of the proxy that calls take, http://user:password@host:port; none = no proxy; environment = what '
              'http_proxy, https_proxy and no_proxy of the server say', secret='encrypted', check=_proxy_error),
    ] = 'environment'


def mistakes(value: HttpOutgoing) -> list[tuple[str, str]]:
    """Return the errors that concern several fields."""
    try:
        credentials(tls_settings(value))
    except UnusableCredentials as error:
        return [_rename_settings(*problem.split(': ', 1)) for problem in error.problems]
    return []


def tls_settings(value: HttpOutgoing) -> TlsSettings:
    """Return the TLS settings of a connection."""
    return TlsSettings(ca=value.tls_ca, certificate=value.tls_cert, key=value.tls_key, verify=value.tls_verify)


def _rename_settings(name: str, text: str) -> tuple[str, str]:
    for theirs, ours in _PEM_NAMES.items():
        name, text = name.replace(theirs, ours), text.replace(theirs, ours)
    return name, text
