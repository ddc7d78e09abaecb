"""The scope of an IP address: whether it may be a machine that only this network can reach. Pure."""

from __future__ import annotations

from enum import Enum
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

_NAT64 = IPv6Network('64:ff9b::/96')  # RFC 6052: the last 32 bits are an IPv4 address
_COMPATIBLE = IPv6Network('::/96')  # RFC 4291 §2.5.5.1, deprecated; except ::1 and ::


class AddressScope(Enum):
    """LOOPBACK is this machine; LINK_LOCAL the local link, where clouds serve their metadata; PRIVATE everything else
    outside the public Internet: private networks, multicast and reserved addresses."""

    LOOPBACK = 'loopback'
    LINK_LOCAL = 'link-local'
    PRIVATE = 'private'
    PUBLIC = 'public'


def address_scope(address: str) -> AddressScope:
    """Returns the scope of an address, for IPv6 optionally with a zone. IPv4 addresses embedded in IPv6 have the scope
    of IPv4."""
    ip = _unwrap_ipv4(ip_address(address))
    if ip.is_loopback or ip.is_unspecified:  # a connection to 0.0.0.0 or :: reaches this machine
        return AddressScope.LOOPBACK
    if ip.is_link_local:
        return AddressScope.LINK_LOCAL
    is_site_local = isinstance(ip, IPv6Address) and ip.is_site_local  # deprecated, and never global
    return AddressScope.PUBLIC if ip.is_global and not ip.is_multicast and not is_site_local else AddressScope.PRIVATE


def _unwrap_ipv4(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    if isinstance(address, IPv4Address):
        return address
    ipv4 = address.ipv4_mapped or address.sixtofour
    if ipv4 is not None:
        return ipv4
    without_zone = IPv6Address(int(address))
    if without_zone in _NAT64 or (without_zone in _COMPATIBLE and int(without_zone) > 1):
        return IPv4Address(int(without_zone) & 0xFFFF_FFFF)
    return address
