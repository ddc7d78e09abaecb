"""Client certificates: who may use a channel by the certificate of its TLS connection."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Any

from zatotx.schema.meta import ObjectType, ZatoApi, field
from zatotx.schema.security.definition import Definition
from zatotx.wire.malformed import Malformed


class Mtls(Definition, frozen=True, kw_only=True):
    """Client certificates (mutual TLS): who may use the channels that name this definition."""

    subject: Annotated[
        str,
        field('Subject that the certificate must have, as CN=partner,O=Bank; empty = it is not looked at',
              max_length=1024),
    ] = ''
    san: Annotated[
        list[str],
        field('Alternative names of which the certificate must have one: host, URI, address or e-mail; none = they are '
              'not looked at', max_length=100),
    ] = []
    ca: Annotated[
        str,
        field('Certificates, in PEM form, one of which must have signed the client\'s; this or fingerprint must be set',
              max_length=262_144),
    ] = ''
    fingerprint: Annotated[
        list[str],
        field('SHA-256 fingerprints of which the certificate must have one; none = it is not looked at',
              max_length=100),
    ] = []
    crl: Annotated[
        str,
        field('Lists of revoked certificates (CRL) of those that sign, in PEM form; empty = they are not looked at',
              max_length=262_144),
    ] = ''


def _mistakes(value: Mtls) -> list[tuple[str, str]]:
    from zatotx.wire.security import alternative_name, certificates, distinguished_name  # few have such definitions

    mistakes = [
        *_wrong('subject', distinguished_name.parse_name, _if_given(value.subject)),
        *_wrong('san', alternative_name.parse_alternative_name, value.san),
        *_wrong('ca', certificates.read_certificates, _if_given(value.ca)),
        *_wrong('fingerprint', certificates.read_fingerprint, value.fingerprint),
        *_wrong('crl', certificates.read_revocation_lists, _if_given(value.crl)),
    ]
    if not value.ca and not value.fingerprint:
        mistakes.append(('ca', 'is missing: without it, or a fingerprint, anybody can make a certificate that fits'))
    if value.crl and not value.ca:
        mistakes.append(('crl', 'is of no use without the ca that signed it'))
    return mistakes


def _if_given(text: str) -> list[str]:
    return [text] if text else []


def _wrong(name: str, read: Callable[[str], Any], texts: list[str]) -> Iterator[tuple[str, str]]:
    for text in texts:
        try:
            read(text)
        except Malformed as wrong:
            yield name, str(wrong)


MTLS = ObjectType(
    key='mtls',
    struct=Mtls,
    section='security',
    tag='mtls',
    title='Mutual TLS definition',
    zato=ZatoApi(prefix='security.mtls'),
    check=_mistakes,
)
