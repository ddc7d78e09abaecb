"""Alternative names of subjects (RFC 5280 §4.2.1.6) in one form that can be compared, from people and certificates."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

from cryptography.x509 import DNSName, GeneralName, IPAddress, RFC822Name, SubjectAlternativeName
from cryptography.x509 import UniformResourceIdentifier as Uri

from zatotx.wire.http.host import is_address
from zatotx.wire.malformed import Malformed

AlternativeName = tuple[str, str]  # what it is, and its text
_KINDS = ('dns', 'uri', 'ip', 'email')  # as OpenSSL writes them before the name, in lower case


def parse_alternative_name(text: str) -> AlternativeName:
    """The name that people write: `DNS:host`, `URI:…`, `IP:…`, `email:…`, or without that where it can be seen. Raises
    Malformed."""
    kind, colon, rest = text.partition(':')
    if colon and kind.lower() in _KINDS:
        kind, value = kind.lower(), rest.strip()
    else:
        kind, value = _seen(text), text.strip()
    if not value or (kind == 'ip' and not is_address(value)):
        raise Malformed(f'{text!r} is neither of DNS:host, URI:…, IP:address and email:user@host')
    return _comparable(kind, value)


def _seen(text: str) -> str:
    if is_address(text.strip()):
        return 'ip'
    if ':' in text:
        return 'uri'
    return 'email' if '@' in text else 'dns'


def _comparable(kind: str, value: str) -> AlternativeName:
    if kind == 'dns':
        return kind, value.lower()
    if kind == 'ip':
        return kind, str(ip_address(value))
    if kind == 'email':  # RFC 5280 §7.5: the host has no case, the user has
        user, _, host = value.rpartition('@')
        return kind, f'{user}@{host.lower()}'
    return kind, value


def alternative_names(extension: SubjectAlternativeName) -> Iterator[AlternativeName]:
    """Those of a certificate, as far as they are of the four kinds. A `*` in one stands for itself."""
    for name in extension:
        kind = _kind_of(name)
        if kind:
            yield _comparable(kind, str(name.value))


def _kind_of(name: GeneralName) -> str:
    kinds = {DNSName: 'dns', Uri: 'uri', IPAddress: 'ip', RFC822Name: 'email'}
    return kinds.get(type(name), '')
