"""Parses distinguished names (X.501) in the form of RFC 4514 and in OpenSSL's variants (spaces around `=` and `,`,
quotes, reverse order)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from cryptography.x509 import Name

from zatotx.wire.malformed import Malformed

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
    """Parses a name; keeps its order. Raises Malformed with the position of the error."""
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


def from_certificate_name(name: Name) -> DistinguishedName:
    """Returns the name in a certificate, in its order."""
    return tuple(
        frozenset((attribute.oid.dotted_string, _text_of(attribute.value)) for attribute in part)
        for part in name.rdns
    )  # fmt: skip


def _text_of(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.hex()


def is_same_name(one: DistinguishedName, other: DistinguishedName) -> bool:
    """Returns whether two names are equal, in the same or reverse order. If every attribute type occurs once, order
    does not matter at all; with repeated types, e.g. nested organizational units, only the reverse order is
    accepted."""
    if _has_unique_types(one) and _has_unique_types(other):
        return set(one) == set(other)
    return one in (other, other[::-1])


def _has_unique_types(name: Iterable[frozenset[Attribute]]) -> bool:
    types = [type_ for part in name for type_, _ in part]
    return len(types) == len(set(types))
