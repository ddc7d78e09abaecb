"""Caches DNS lookups, and determines the scope of addresses and the order in which to try them. Pure: no I/O."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from enum import Enum
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from itertools import chain, zip_longest

from attrs import frozen

TTL = 30.0  # seconds that a successful lookup is cached
FAILURE_TTL = 2.0  # seconds that a failed lookup is cached
_MAX_NAMES = 1_000  # maximum number of names


@frozen
class LookupResult:
    """The result of a DNS lookup: the addresses as text (an IPv6 address may have a zone), or the reason why there are
    none."""

    addresses: tuple[str, ...]
    error: str = ''  # '', or the error of the resolver


def interleave_families(addresses: Sequence[str]) -> tuple[str, ...]:
    """Return the distinct addresses with alternating address families, beginning with the family of the first address
    (RFC 8305 §4). Thus a family without connectivity delays the connection by one attempt only."""
    unique = tuple(dict.fromkeys(addresses))
    first = [address for address in unique if (':' in address) == (':' in unique[0])]
    other = [address for address in unique if (':' in address) != (':' in unique[0])]
    return tuple(address for address in chain.from_iterable(zip_longest(first, other)) if address is not None)


class DnsCache:
    """An LRU cache of DNS lookup results by host name."""

    __slots__ = ('_entries',)

    def __init__(self) -> None:
        self._entries: OrderedDict[str, tuple[float, LookupResult]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, name: str, now: float) -> LookupResult | None:
        """Return the cached result if it has not expired."""
        entry = self._entries.get(name)
        if entry is None:
            return None
        expires, result = entry
        if now >= expires:
            del self._entries[name]
            return None
        self._entries.move_to_end(name)
        return result

    def put(self, name: str, result: LookupResult, now: float) -> None:
        """Cache a result."""
        self._entries[name] = (now + (TTL if result.addresses else FAILURE_TTL), result)
        self._entries.move_to_end(name)
        if len(self._entries) > _MAX_NAMES:
            self._entries.popitem(last=False)


_NAT64 = IPv6Network('64:ff9b::/96')  # RFC 6052: the last 32 bits are an IPv4 address
_COMPATIBLE = IPv6Network('::/96')  # RFC 4291 §2.5.5.1, deprecated; except ::1 and ::


class AddressScope(Enum):
    """The scope of an IP address. LOOPBACK is this machine. LINK_LOCAL is the local link, on which clouds serve their
    metadata. PRIVATE is every other address outside the public Internet: private networks, multicast and reserved
    addresses."""

    LOOPBACK = 'loopback'
    LINK_LOCAL = 'link-local'
    PRIVATE = 'private'
    PUBLIC = 'public'


def address_scope(address: str) -> AddressScope:
    """Return the scope of an IP address; an IPv6 address may have a zone. An IPv4 address embedded in an IPv6 address
    has the scope of the IPv4 address."""
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
