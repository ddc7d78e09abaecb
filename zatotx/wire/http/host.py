"""Names of hosts as they go over the wire: in a Host field, to a resolver, into a TLS handshake. Pure."""

from __future__ import annotations

from ipaddress import ip_address
from string import ascii_lowercase, digits

import idna

from zatotx.wire.malformed import Malformed

__all__ = ['Malformed', 'ascii_host', 'is_address', 'is_loopback']

_LONGEST = 253  # characters of a name (RFC 1035 §2.3.4), as people write it
_LONGEST_LABEL = 63
_LETTERS = frozenset(ascii_lowercase + digits + '-_')  # '_' stands in names of containers and of the SRV kind


def is_address(host: str) -> bool:
    """Whether it is an IPv4 or IPv6 address, without brackets; an IPv6 one may have a zone."""
    if ':' not in host and not host[-1:].isdigit():
        return False
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether it means this machine, whoever is asked: an address of the loopback, or localhost (RFC 6761 §6.3)."""
    if is_address(host):
        return ip_address(host).is_loopback
    return host == 'localhost' or host.endswith('.localhost')


def ascii_host(host: str) -> str:
    """`host` in the one form that is compared, looked up and sent: ASCII (IDNA 2008 by UTS 46), lower case, an address
    without brackets and in its shortest form. Raises Malformed for what is no name of a host."""
    if host[:1] == '[' and host[-1:] == ']':
        host = host[1:-1]
    if is_address(host):
        return str(ip_address(host))
    name = host.lower() if host.isascii() else _to_ascii(host)
    labels = name.removesuffix('.').split('.')
    if len(name) > _LONGEST or not all(_is_label(label) for label in labels):
        raise Malformed('the host is neither a name nor an address')
    return name


def _to_ascii(host: str) -> str:
    try:
        return idna.encode(host, uts46=True).decode('ascii').lower()
    except idna.IDNAError:
        raise Malformed('the host is no internationalized name (IDNA 2008)') from None


def _is_label(label: str) -> bool:
    return 0 < len(label) <= _LONGEST_LABEL and _LETTERS.issuperset(label)
