"""Normalizes host names for Host fields, DNS lookups and TLS handshakes. No I/O."""

from __future__ import annotations

from ipaddress import ip_address
from string import ascii_lowercase, digits

import idna

from zatotx.wire.malformed import Malformed

__all__ = ['Malformed', 'is_address', 'is_loopback', 'normalize_host']

_MAX_LENGTH = 253  # maximum length of a name (RFC 1035 §2.3.4) in characters
_MAX_LABEL_LENGTH = 63
_LABEL_CHARACTERS = frozenset(ascii_lowercase + digits + '-_')  # '_' occurs in names of containers and SRV records


def is_address(host: str) -> bool:
    """Return whether the host is an IPv4 address, or an IPv6 address without brackets and with an optional zone."""
    if ':' not in host and not host[-1:].isdigit():
        return False
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Return whether the host refers to this machine, as a loopback address or as localhost (RFC 6761 §6.3)."""
    if is_address(host):
        return ip_address(host).is_loopback
    return host == 'localhost' or host.endswith('.localhost')


def normalize_host(host: str) -> str:
    """Return the host in canonical form. A host name is converted to ASCII (IDNA 2008 with UTS 46) in lower case, and
    an address to its shortest form without brackets. Raises Malformed for an invalid host name."""
    if host[:1] == '[' and host[-1:] == ']':
        host = host[1:-1]
    if is_address(host):
        return str(ip_address(host))
    name = host.lower() if host.isascii() else _to_ascii(host)
    labels = name.removesuffix('.').split('.')
    if len(name) > _MAX_LENGTH or not all(_is_label(label) for label in labels):
        raise Malformed('the host is neither a name nor an address')
    return name


def _to_ascii(host: str) -> str:
    try:
        return idna.encode(host, uts46=True).decode('ascii').lower()
    except idna.IDNAError:
        raise Malformed('the host is no internationalized name (IDNA 2008)') from None


def _is_label(label: str) -> bool:
    return 0 < len(label) <= _MAX_LABEL_LENGTH and _LABEL_CHARACTERS.issuperset(label)
