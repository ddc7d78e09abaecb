"""How far an IP address reaches: whether whoever names it may mean a machine that only we can reach. Pure."""

from __future__ import annotations

from enum import Enum
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

_NAT64 = IPv6Network('64:ff9b::/96')  # RFC 6052: the last 32 bits are an address of IPv4
_COMPATIBLE = IPv6Network('::/96')  # RFC 4291 §2.5.5.1, deprecated; ::1 and :: aside


class Scope(Enum):
    """LOOPBACK is this machine; LINK_LOCAL its link, where clouds have their metadata; PRIVATE whatever else is not of
    the public Internet: networks of an organization, of a provider, multicast, and what is reserved."""

    LOOPBACK = 'loopback'
    LINK_LOCAL = 'link-local'
    PRIVATE = 'private'
    PUBLIC = 'public'


def scope_of(address: str) -> Scope:
    """The scope of an address, IPv6 perhaps with a zone. One of IPv4 within IPv6 has that of IPv4."""
    found = _embedded(ip_address(address))
    if found.is_loopback or found.is_unspecified:  # connecting to 0.0.0.0 or :: reaches this machine
        return Scope.LOOPBACK
    if found.is_link_local:
        return Scope.LINK_LOCAL
    is_site_local = isinstance(found, IPv6Address) and found.is_site_local  # deprecated, and never global
    return Scope.PUBLIC if found.is_global and not found.is_multicast and not is_site_local else Scope.PRIVATE


def _embedded(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    if isinstance(address, IPv4Address):
        return address
    inside = address.ipv4_mapped or address.sixtofour
    if inside is not None:
        return inside
    bare = IPv6Address(int(address))
    if bare in _NAT64 or (bare in _COMPATIBLE and int(bare) > 1):
        return IPv4Address(int(bare) & 0xFFFF_FFFF)
    return address
