"""Subject alternative names (RFC 5280 §4.2.1.6) of configurations and certificates, in a comparable form."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

from cryptography.x509 import DNSName, GeneralName, IPAddress, RFC822Name, SubjectAlternativeName
from cryptography.x509 import UniformResourceIdentifier as Uri

from zatotx.wire.http.host import is_address
from zatotx.wire.malformed import Malformed

AlternativeName = tuple[str, str]  # kind and text
_KINDS = ('dns', 'uri', 'ip', 'email')  # OpenSSL's prefixes of names, in lower case


def parse_alternative_name(text: str) -> AlternativeName:
    """Parses a configured name: `DNS:host`, `URI:…`, `IP:…`, `email:…`, or without a prefix if the kind is obvious.
    Raises Malformed."""
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
    """Yields the names of a certificate that are of the four kinds. `*` is not a wildcard."""
    for name in extension:
        kind = _kind_of(name)
        if kind:
            yield _normalize(kind, str(name.value))


def _kind_of(name: GeneralName) -> str:
    kinds = {DNSName: 'dns', Uri: 'uri', IPAddress: 'ip', RFC822Name: 'email'}
    return kinds.get(type(name), '')
