"""The names in certificates, which are subjects (RFC 5280 §4.1.2.6) and alternative names (§4.2.1.6). Pure
functions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from ipaddress import ip_address
from typing import NamedTuple

from cryptography.x509 import DNSName, GeneralName, IPAddress, Name, NameAttribute, ObjectIdentifier
from cryptography.x509.oid import NameOID

from zatotx.ca.errors import AuthorityError

MAX_FIELD = 64  # characters: ub-organization-name, ub-common-name (RFC 5280, appendix A.1)
MAX_FIELD_LONG = 128  # characters: ub-locality-name, ub-state-name
MAX_NAMES = 100  # alternative names of one certificate
_MAX_HOST = 253  # characters of a host name (RFC 1035 §2.3.4)

_FILE_NAME = re.compile(r'[A-Za-z0-9][A-Za-z0-9._-]{0,63}')
_LABEL = re.compile(r'[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?')
_COUNTRY = re.compile(r'[A-Z]{2}')


class CertificateSubject(NamedTuple):
    """The fields of a certificate's subject. Empty fields are omitted; the defaults are Zato's."""

    common_name: str
    organization: str = 'My Company'
    organizational_unit: str = 'My Unit'
    locality: str = 'My Town'
    state: str = 'My State'
    country: str = 'US'


class _Field(NamedTuple):
    oid: ObjectIdentifier
    label: str
    max_length: int


_FIELDS = {
    'country': _Field(NameOID.COUNTRY_NAME, 'country', 2),
    'state': _Field(NameOID.STATE_OR_PROVINCE_NAME, 'state or province', MAX_FIELD_LONG),
    'locality': _Field(NameOID.LOCALITY_NAME, 'locality', MAX_FIELD_LONG),
    'organization': _Field(NameOID.ORGANIZATION_NAME, 'organization', MAX_FIELD),
    'organizational_unit': _Field(NameOID.ORGANIZATIONAL_UNIT_NAME, 'organizational unit', MAX_FIELD),
    'common_name': _Field(NameOID.COMMON_NAME, 'common name', MAX_FIELD),
}


def make_distinguished_name(subject: CertificateSubject) -> Name:
    """Return the distinguished name of a subject, ordered from country to common name. Raises AuthorityError with all
    errors.
    """
    errors = [error for name in _FIELDS for error in _field_errors(name, getattr(subject, name))]
    if errors:
        raise AuthorityError('; '.join(errors))
    values = {name: getattr(subject, name) for name in _FIELDS}
    return Name([NameAttribute(field.oid, values[name]) for name, field in _FIELDS.items() if values[name]])


def _field_errors(name: str, value: str) -> Iterator[str]:
    field = _FIELDS[name]
    if name == 'common_name' and not value:
        yield 'The common name is empty: give the certificate a name'
    elif name == 'country' and value and not _COUNTRY.fullmatch(value):
        yield f'The country {value!r} is not a code of two capital letters, such as US (ISO 3166)'
    elif len(value) > field.max_length:
        yield f'The {field.label} has {len(value)} characters: at most {field.max_length} are allowed'
    elif not value.isprintable() or value != value.strip():
        yield f'The {field.label} {value!r} has control characters, or spaces at its ends'


def check_file_name(name: str, what: str = 'name') -> str:
    """Check the name of a certificate, which is part of the names of its files, and return the name. Raises
    AuthorityError."""
    if not _FILE_NAME.fullmatch(name):
        raise AuthorityError(
            f'The {what} {name!r} cannot be part of a file name: use up to 64 letters, digits, dots, hyphens and '
            'underscores, with a letter or a digit first'
        )
    return name


def make_alternative_names(texts: Iterable[str]) -> tuple[GeneralName, ...]:
    """Convert host names and IP addresses to alternative names, without duplicates. Raises AuthorityError with all
    errors."""
    names: dict[GeneralName, None] = {}
    errors: list[str] = []
    for text in texts:
        try:
            names[_alternative_name(text)] = None
        except AuthorityError as error:
            errors.append(str(error))
    if len(names) > MAX_NAMES:
        errors.append(f'{len(names)} alternative names were given: at most {MAX_NAMES} are allowed')
    if errors:
        raise AuthorityError('; '.join(errors))
    return tuple(names)


def _alternative_name(text: str) -> GeneralName:
    try:
        return IPAddress(ip_address(text.strip('[]')))
    except ValueError:
        return DNSName(_host_name(text))


def _host_name(text: str) -> str:
    """Return a host name in lower case; its first label may be `*`. Raises AuthorityError."""
    host = text.removesuffix('.')
    if not host.isascii():
        try:
            punycode = host.encode('idna').decode('ascii')
        except UnicodeError:
            punycode = 'xn--…'
        raise AuthorityError(f'The host name {text!r} is not ASCII: write it as {punycode}')
    labels = host.split('.')
    rest = labels[1:] if labels[0] == '*' and len(labels) > 1 else labels
    if len(host) > _MAX_HOST or not all(map(_LABEL.fullmatch, rest)) or rest[-1].isdecimal():
        raise AuthorityError(f'{text!r} is neither a host name nor an IP address')
    return host.lower()
