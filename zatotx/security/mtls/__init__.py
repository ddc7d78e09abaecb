"""Mutual TLS definitions, which authenticate callers by the client certificate of the TLS connection.

The authenticator is a module of its own, since it imports parts of cryptography that few installations use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any

from zatotx.interfaces.security_type import SecurityType
from zatotx.schema.meta import ObjectType, ZatoApi, field
from zatotx.schema.security.definition import SecurityDefinition
from zatotx.wire.malformed import Malformed


class Mtls(SecurityDefinition, frozen=True, kw_only=True):
    """The security definition for client certificates (mutual TLS)."""

    subject: Annotated[
        str,
        field('Required subject of the certificate, as CN=partner,O=Bank; empty = not checked',
              max_length=1024),
    ] = ''
    san: Annotated[
        list[str],
        field('Alternative names, one of which the certificate must have: host, URI, address or e-mail; none = not '
              'checked', max_length=100),
    ] = []
    ca: Annotated[
        str,
        field('Certificates of the accepted issuers, in PEM form; this or fingerprint must be set',
              max_length=262_144),
    ] = ''
    fingerprint: Annotated[
        list[str],
        field('SHA-256 fingerprints of the accepted certificates; none = not checked',
              max_length=100),
    ] = []
    crl: Annotated[
        str,
        field('Certificate revocation lists of the accepted issuers, in PEM form; empty = not checked',
              max_length=262_144),
    ] = ''


def _validate(value: Mtls) -> list[tuple[str, str]]:
    # imported on demand: few definitions need it
    from zatotx.wire import certificates
    from zatotx.wire.certificates import parse_alternative_name, parse_name

    errors = [
        *_parse_errors('subject', parse_name, _to_list(value.subject)),
        *_parse_errors('san', parse_alternative_name, value.san),
        *_parse_errors('ca', certificates.parse_certificates, _to_list(value.ca)),
        *_parse_errors('fingerprint', certificates.parse_fingerprint, value.fingerprint),
        *_parse_errors('crl', certificates.parse_revocation_lists, _to_list(value.crl)),
    ]
    if not value.ca and not value.fingerprint:
        errors.append(('ca', 'is missing: without it, or a fingerprint, anybody can make a certificate that fits'))
    if value.crl and not value.ca:
        errors.append(('crl', 'is of no use without the ca that signed it'))
    return errors


def _to_list(text: str) -> list[str]:
    return [text] if text else []


def _parse_errors(name: str, parse: Callable[[str], Any], texts: list[str]) -> Iterator[tuple[str, str]]:
    for text in texts:
        try:
            parse(text)
        except Malformed as error:
            yield name, str(error)


MTLS = ObjectType(
    key='mtls',
    struct=Mtls,
    section='security',
    tag='mtls',
    title='Mutual TLS definition',
    zato=ZatoApi(prefix='security.mtls'),
    validate=_validate,
)


CHALLENGE = 'zato-mtls'  # HTTP defines no scheme


def _openapi_scheme(value: Mtls) -> Mapping[str, Any]:
    return {'type': 'mutualTLS', 'description': f'{value.name}: a client certificate'}


security_type = SecurityType(
    object_type=MTLS,
    authenticator='zatotx.security.mtls.authenticator:make_authenticator',
    challenge=lambda _: CHALLENGE,
    openapi_scheme=_openapi_scheme,
    requests_client_certificate=True,
)
