"""Names in certificates (X.501) as people write them: RFC 4514, and what OpenSSL prints beside it (blanks around `=`
and `,`, quotes, the other order)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from cryptography.x509 import Name

from zatotx.wire.malformed import Malformed

Attribute = tuple[str, str]  # OID and value
DistinguishedName = tuple[frozenset[Attribute], ...]

# RFC 4514 §3, RFC 4519, and what OpenSSL and others call the rest.
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
    """The name that a text says, in its order. Raises Malformed, which says where."""
    parts: list[frozenset[Attribute]] = []
    attributes: list[Attribute] = []
    place, end = 0, ','
    while end:
        found = _ATTRIBUTE.match(text, place)
        if found is None:
            raise Malformed(f'is no distinguished name like CN=partner,O=Bank: see character {place + 1}')
        attributes.append((_oid(found['type']), _value(found['value'])))
        place, end = found.end(), found['end']
        if end != '+':
            parts.append(frozenset(attributes))
            attributes = []
    return tuple(parts)


def _oid(type_: str) -> str:
    if type_[0].isdigit():
        return type_
    try:
        return _OIDS[type_.upper()]
    except KeyError:
        raise Malformed(f'{type_} is no attribute that is known here: give its OID instead') from None


def _value(text: str) -> str:
    if text.startswith('"'):
        text = text[1:-1]
    if not text or text.startswith('#'):
        raise Malformed('has an attribute without a value, or with one in hexadecimal')
    try:
        return _ESCAPED.sub(_unescaped, text)
    except UnicodeDecodeError:
        raise Malformed('has escaped bytes that are no UTF-8') from None


def _unescaped(found: re.Match[str]) -> str:
    return bytes.fromhex(found[1].replace('\\', '')).decode('utf-8') if found[1] else found[2]


def name_of(name: Name) -> DistinguishedName:
    """The name that a certificate has, in its order."""
    return tuple(
        frozenset((each.oid.dotted_string, each.value if isinstance(each.value, str) else each.value.hex())
                  for each in part)
        for part in name.rdns
    )  # fmt: skip


def is_same(one: DistinguishedName, other: DistinguishedName) -> bool:
    """Whether two names are the same, as texts; in whichever order they were written. Order counts only where a type of
    attribute stands more than once, as units within units do: there it may be the reverse, and nothing else."""
    if _are_unlike(one) and _are_unlike(other):
        return set(one) == set(other)
    return one in (other, other[::-1])


def _are_unlike(name: Iterable[frozenset[Attribute]]) -> bool:
    types = [type_ for part in name for type_, _ in part]
    return len(types) == len(set(types))
