"""Parses NO_PROXY: the hosts that are reached without a proxy. Pure.

There is no standard for its syntax. This supports what curl, requests and Go support; where they differ, the
interpretation that connects directly wins: `example.com`, `.example.com` and `*.example.com` all mean the domain and
its subdomains.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from attrs import frozen

from zatotx.wire.http.host import Malformed, ascii_host, is_address, is_loopback

IPAddress = IPv4Address | IPv6Address
IPNetwork = IPv4Network | IPv6Network


@frozen
class DomainPattern:
    """A domain and its subdomains; `port` 0 = any port."""

    name: str
    port: int = 0

    def matches(self, host: str, port: int) -> bool:
        return self.port in (0, port) and (host == self.name or host.endswith('.' + self.name))


@frozen
class NetworkPattern:
    """A network; `port` 0 = any port."""

    network: IPNetwork
    port: int = 0

    def matches(self, address: IPAddress, port: int) -> bool:
        return self.port in (0, port) and address in self.network


@frozen
class NoProxy:
    """The parsed NO_PROXY. Loopback addresses are included by default: the proxy's loopback is a different machine."""

    all_hosts: bool = False
    domains: tuple[DomainPattern, ...] = ()
    networks: tuple[NetworkPattern, ...] = ()
    include_loopback: bool = True

    def matches(self, host: str, port: int) -> bool:
        """Returns whether to connect to this host (as returned by `ascii_host`) directly. Does not resolve names."""
        if self.all_hosts or (self.include_loopback and is_loopback(host)):
            return True
        if is_address(host):
            address = ip_address(host)
            return any(block.matches(address, port) for block in self.networks)
        name = host.removesuffix('.')
        return any(domain.matches(name, port) for domain in self.domains)


def parse_no_proxy(text: str) -> NoProxy:
    """Parses the variable: entries separated by commas or spaces. Invalid entries match nothing, as in other
    implementations."""
    entries = text.replace(',', ' ').split()
    patterns = [pattern for entry in entries if (pattern := _parse_entry(entry)) is not None]
    return NoProxy(
        '*' in entries,
        tuple(pattern for pattern in patterns if isinstance(pattern, DomainPattern)),
        tuple(pattern for pattern in patterns if isinstance(pattern, NetworkPattern)),
    )


def _parse_entry(entry: str) -> DomainPattern | NetworkPattern | None:
    """Parses one entry other than `*`."""
    host, port = _split_port(entry)
    if (network := _parse_network(host.strip('[]'))) is not None:
        return NetworkPattern(network, port)
    try:
        return DomainPattern(ascii_host(host.removeprefix('*').strip('.')), port)
    except Malformed:
        return None


def _split_port(entry: str) -> tuple[str, int]:
    """Splits off the port; an IPv6 address has one only after brackets."""
    host, colon, port = entry.rpartition(':')
    if colon and port.isdigit() and (':' not in host or host.endswith(']')):
        return host, int(port)
    return entry, 0


def _parse_network(text: str) -> IPNetwork | None:
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None
