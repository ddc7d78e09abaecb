"""The object type of outgoing FTP connections."""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec

from zatotx.connectors.tls_settings import InvalidTlsSettings, TlsSettings, parse_tls_settings
from zatotx.plugins.ftp.wire import path_error
from zatotx.schema.circuit_breaker_settings import CircuitBreakerSettings
from zatotx.schema.delivery_fields import OutgoingDelivery
from zatotx.schema.meta import ObjectType, ZatoApi, field

MEBIBYTE = 1024 * 1024
IMPLICIT = 'implicit'
_TLS = {'true': True, 'True': True, 'explicit': True, 'false': False, 'False': False, 'none': False}


def _encoding_error(name: str) -> str:
    try:
        codecs.lookup(name)
    except LookupError:
        return 'is not an encoding that Python knows'
    return ''


class FtpRetry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The retry settings of an outgoing FTP connection. Retries end when `timeout` expires."""

    attempts: Annotated[
        int, field('Maximum number of attempts, including the first: for operations that read, and for any if the '
                   'server could not be connected to', ge=1, le=20)
    ] = 3
    backoff: Annotated[
        float, field('Maximum pause in seconds before the second attempt, doubled for each further one', ge=0, le=60)
    ] = 0.2


class FtpOutgoing(OutgoingDelivery, frozen=True, kw_only=True):
    """An outgoing FTP connection, which services use as `self.out.ftp[name]`."""

    name: Annotated[str, field('Name of the connection', min_length=1, max_length=200)]
    is_active: Annotated[bool, field('Whether services may use the connection')] = True
    host: Annotated[str, field('Name or address of the server', min_length=1, max_length=255,
                               pattern=r'^[A-Za-z0-9._:-]+$')]
    port: Annotated[int, field('Port of the server: usually 21, 990 with implicit TLS', ge=1, le=65_535)] = 21
    user: Annotated[
        str, field('Account; empty = anonymous', max_length=200, check=path_error)
    ] = ''
    password: Annotated[
        str, field('Password of the account', secret='encrypted', check=path_error)
    ] = ''
    acct: Annotated[
        str, field("Account information that few servers ask for (FTP's ACCT)", max_length=200, check=path_error)
    ] = ''
    timeout: Annotated[
        float, field('Seconds for an operation, including the wait for a connection and the login; for a transfer the '
                     'seconds without progress', gt=0, le=86_400)
    ] = 10.0
    pool_size: Annotated[
        int, field('Maximum connections per worker; further operations wait for one', ge=1, le=1000)
    ] = 5
    idle_timeout: Annotated[
        float, field('Seconds that an unused connection is kept; 0 = each operation logs in anew', ge=0, le=86_400)
    ] = 30.0
    tls: Annotated[
        bool | Literal['implicit'],
        field('true = encrypt control and data connections (AUTH TLS); implicit = the same from the first byte on, '
              'usually on port 990; false = plain text', aliases=_TLS),
    ] = False
    tls_verify: Annotated[
        bool, field("Whether to verify the server's certificate; false accepts any certificate: for tests only")
    ] = True
    tls_ca: Annotated[
        str, field("Authorities trusted to sign the server's certificate, as PEM; empty = the system's",
                   max_length=MEBIBYTE)
    ] = ''
    tls_cert: Annotated[
        str, field('Client certificate with its intermediates, as PEM; empty = none', max_length=MEBIBYTE)
    ] = ''
    tls_key: Annotated[str, field('Private key of the client certificate, as PEM', secret='encrypted')] = ''
    active_mode: Annotated[
        bool, field('Whether the server opens the data connections (EPRT, PORT); false = passive mode (EPSV, PASV)')
    ] = False
    encoding: Annotated[
        str, field('Encoding of file names', min_length=1, max_length=40, check=_encoding_error)
    ] = 'utf-8'
    atomic_upload: Annotated[
        bool, field('Whether files are written under a temporary name (*.part) and renamed when they are complete')
    ] = True
    check_size: Annotated[
        bool, field('Whether transfers whose size is not that which the server tells (SIZE) are errors')
    ] = True
    max_content_size: Annotated[
        int, field('Maximum bytes of a file or listing that is read into memory; streamed files have no limit',
                   ge=1024, le=2**31)
    ] = 100 * MEBIBYTE
    retry: Annotated[FtpRetry, field('Repeats failed operations; none = no retries')] | None = None
    circuit_breaker: (
        Annotated[CircuitBreakerSettings, field('Suspends calls to a failing server; none = never')] | None
    ) = None
    dircache: Annotated[
        bool, field("Accepted for clients of Zato's API; listings are never cached")
    ] = False


def accept_zato_names(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the document with Zato's field `use_ftps` renamed to `tls`."""
    if 'use_ftps' not in document:
        return document
    others = {name: value for name, value in document.items() if name != 'use_ftps'}
    return {'tls': document['use_ftps'], **others}


def tls_settings(value: FtpOutgoing) -> TlsSettings:
    """Return the TLS settings of a connection."""
    return TlsSettings(ca=value.tls_ca, certificate=value.tls_cert, key=value.tls_key, verify=value.tls_verify)


def outgoing_errors(value: FtpOutgoing) -> list[tuple[str, str]]:
    """Return the validation errors that involve several fields of an outgoing FTP connection."""
    try:
        parse_tls_settings(tls_settings(value))
    except InvalidTlsSettings as error:
        name_and_text = [problem.split(': ', 1) for problem in error.problems]
        return [(name, text) for name, text in name_and_text]
    return []


OUTGOING_FTP = ObjectType(
    key='outgoing_ftp',
    struct=FtpOutgoing,
    section='outgoing_ftp',
    title='Outgoing FTP connection',
    zato=ZatoApi(prefix='outgoing.ftp',
                 actions=('create', 'edit', 'delete', 'get-list', 'change-password', 'ping')),
    normalize=accept_zato_names,
    validate=outgoing_errors,
)  # fmt: skip
