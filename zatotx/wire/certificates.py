"""Parses certificates (RFC 5280), their distinguished names (RFC 4514) and their subject alternative names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address

from cryptography.x509 import (
    Certificate,
    CertificateRevocationList,
    DNSName,
    GeneralName,
    IPAddress,
    Name,
    RFC822Name,
    SubjectAlternativeName,
    load_pem_x509_certificates,
    load_pem_x509_crl,
)
from cryptography.x509 import UniformResourceIdentifier as Uri

from zatotx.wire.http.host_names import is_address
from zatotx.wire.malformed import Malformed

_CRL = re.compile(r'-----BEGIN X509 CRL-----.*?-----END X509 CRL-----', re.DOTALL)
_MAX_COUNT = 100  # maximum number of certificates, or CRLs, of one definition
_SHA_256 = re.compile('[0-9a-f]{64}')


def parse_certificates(text: str) -> list[Certificate]:
    """Parse all certificates in a PEM text, which must contain at least one. Raises Malformed, whose message does not
    contain the input."""
    if 'PRIVATE KEY-----' in text:
        raise Malformed('has a private key in it: give the certificates alone')
    try:
        certificates = load_pem_x509_certificates(text.encode('utf-8'))
        for certificate in certificates:
            certificate.public_key()  # parses the key now, so that errors are found before the first request
    except Exception:  # the parser may raise anything
        raise Malformed('holds no certificate in PEM form, or one that cannot be read') from None
    if len(certificates) > _MAX_COUNT:
        raise Malformed(f'holds more than {_MAX_COUNT} certificates')
    return certificates


def parse_revocation_lists(text: str) -> list[CertificateRevocationList]:
    """Parse all certificate revocation lists in a PEM text, which must contain at least one. Raises Malformed."""
    try:
        lists = [load_pem_x509_crl(pem.encode('utf-8')) for pem in _CRL.findall(text)]
    except Exception:  # the parser may raise anything
        lists = []
    if not 0 < len(lists) <= _MAX_COUNT:
        raise Malformed('holds no certificate revocation list in PEM form, or one that cannot be read')
    return lists


def parse_fingerprint(text: str) -> bytes:
    """Parse a SHA-256 fingerprint in hexadecimal, with or without colons. Raises Malformed."""
    digits = text.replace(':', '').strip().lower()
    if not _SHA_256.fullmatch(digits):
        raise Malformed(f'{text!r} is no SHA-256 fingerprint: 64 hexadecimal digits, with colons or without')
    return bytes.fromhex(digits)


AlternativeName = tuple[str, str]  # kind and text
_KINDS = ('dns', 'uri', 'ip', 'email')  # OpenSSL's prefixes of names, in lower case


def parse_alternative_name(text: str) -> AlternativeName:
    """Parse a configured subject alternative name: `DNS:host`, `URI:…`, `IP:…`, `email:…`, or a name without a prefix
    if its type is obvious. Raises Malformed."""
    kind, colon, rest = text.partition(':')
    if colon and kind.lower() in _KINDS:
        kind, value = kind.lower(), rest.strip()
    else:
        kind, value = _guess_kind(text), text.strip()
    if not value or (kind == 'ip' and not is_address(value)):
        raise Malformed(f'{text!r} is neither of DNS:host, URI:…, IP:address and email:user@host')
    return _normalize(kind, value)


def _guess_kind(text: str) -> str:
    if is_address(text.strip()):
        return 'ip'
    if ':' in text:
        return 'uri'
    return 'email' if '@' in text else 'dns'


def _normalize(kind: str, value: str) -> AlternativeName:
    if kind == 'dns':
        return kind, value.lower()
    if kind == 'ip':
        return kind, str(ip_address(value))
    if kind == 'email':  # RFC 5280 §7.5: the host is case-insensitive, the user is not
        user, _, host = value.rpartition('@')
        return kind, f'{user}@{host.lower()}'
    return kind, value


def certificate_alternative_names(extension: SubjectAlternativeName) -> Iterator[AlternativeName]:
    """Yield the DNS names, URIs, IP addresses and email addresses of a certificate's subjectAltName extension. `*` is
    not treated as a wildcard."""
    for name in extension:
        kind = _kind_of(name)
        if kind:
            yield _normalize(kind, str(name.value))


def _kind_of(name: GeneralName) -> str:
    kinds = {DNSName: 'dns', Uri: 'uri', IPAddress: 'ip', RFC822Name: 'email'}
    return kinds.get(type(name), '')


# Parses distinguished names (X.501) in the form of RFC 4514 and in OpenSSL's variants (spaces around `=` and `,`,
# quotes, reverse order).

Attribute = tuple[str, str]  # OID and value
DistinguishedName = tuple[frozenset[Attribute], ...]

# RFC 4514 §3, RFC 4519, and common names of OpenSSL and others.
_OIDS: Mapping[str, str] = {
    'CN': '2.5.4.3', 'SN': '2.5.4.4', 'SERIALNUMBER': '2.5.4.5', 'C': '2.5.4.6', 'L': '2.5.4.7', 'ST': '2.5.4.8',
    'S': '2.5.4.8', 'STREET': '2.5.4.9', 'O': '2.5.4.10', 'OU': '2.5.4.11', 'TITLE': '2.5.4.12', 'T': '2.5.4.12',
    'BUSINESSCATEGORY': '2.5.4.15', 'POSTALCODE': '2.5.4.17', 'GIVENNAME': '2.5.4.42', 'GN': '2.5.4.42',
    'INITIALS': '2.5.4.43', 'GENERATIONQUALIFIER': '2.5.4.44', 'DNQUALIFIER': '2.5.4.46', 'PSEUDONYM': '2.5.4.65',
    'ORGANIZATIONIDENTIFIER': '2.5.4.97', 'UID': '0.9.2342.19200300.100.1.1', 'DC': '0.9.2342.19200300.100.1.25',
    'EMAILADDRESS': '1.2.840.113549.1.9.1', 'E': '1.2.840.113549.1.9.1',
}  # fmt: skip
_ATTRIBUTE = re.compile(
    r' *(?P<type>[A-Za-z][A-Za-z0-9-]*|[0-9]+(?:\.[0-9]+)+) *='
    r' *(?P<value>"(?:[^"\\]|\\.)*"|(?:[^\\,+"]|\\.)*?) *(?P<end>\Z|[,+])',
    re.DOTALL,
)
_ESCAPED = re.compile(r'((?:\\[0-9A-Fa-f]{2})+)|\\(.)', re.DOTALL)


def parse_name(text: str) -> DistinguishedName:
    """Parse a distinguished name (RFC 4514) and preserve the order of its attributes. Raises Malformed, whose message
    contains the position of the error."""
    parts: list[frozenset[Attribute]] = []
    attributes: list[Attribute] = []
    position, end = 0, ','
    while end:
        match = _ATTRIBUTE.match(text, position)
        if match is None:
            raise Malformed(f'is no distinguished name like CN=partner,O=Bank: see character {position + 1}')
        attributes.append((_lookup_oid(match['type']), _parse_value(match['value'])))
        position, end = match.end(), match['end']
        if end != '+':
            parts.append(frozenset(attributes))
            attributes = []
    return tuple(parts)


def _lookup_oid(type_: str) -> str:
    if type_[0].isdigit():
        return type_
    try:
        return _OIDS[type_.upper()]
    except KeyError:
        raise Malformed(f'{type_} is no attribute that is known here: give its OID instead') from None


def _parse_value(text: str) -> str:
    if text.startswith('"'):
        text = text[1:-1]
    if not text or text.startswith('#'):
        raise Malformed('has an attribute without a value, or with one in hexadecimal')
    try:
        return _ESCAPED.sub(_unescape, text)
    except UnicodeDecodeError:
        raise Malformed('has escaped bytes that are no UTF-8') from None


def _unescape(match: re.Match[str]) -> str:
    return bytes.fromhex(match[1].replace('\\', '')).decode('utf-8') if match[1] else match[2]


def parse_certificate_name(name: Name) -> DistinguishedName:
    """Convert the distinguished name of a certificate to a DistinguishedName, and preserve the order of its
    attributes."""
    return tuple(
        frozenset((attribute.oid.dotted_string, _text_of(attribute.value)) for attribute in part)
        for part in name.rdns
    )  # fmt: skip


def _text_of(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.hex()


def is_same_name(one: DistinguishedName, other: DistinguishedName) -> bool:
    """Return whether two distinguished names are equal, in the same or in reverse order. If every attribute type occurs
    once, the order is ignored. With repeated types, such as nested organizational units, only the reverse order is
    accepted."""
    if _has_unique_types(one) and _has_unique_types(other):
        return set(one) == set(other)
    return one in (other, other[::-1])


def _has_unique_types(name: Iterable[frozenset[Attribute]]) -> bool:
    types = [type_ for part in name for type_, _ in part]
    return len(types) == len(set(types))
