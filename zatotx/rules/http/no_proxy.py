"""NO_PROXY: which hosts are reached without a proxy. Pure.

No standard says what may stand in it. This takes what curl, requests and Go take, and where those differ the reading by
which a host is left to go directly: `example.com`, `.example.com` and `*.example.com` all mean the domain and what is
below it.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from attrs import frozen

from zatotx.wire.http.host import Malformed, ascii_host, is_address, is_loopback

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


@frozen
class DomainPattern:
    """A name and what is below it; `port` 0 = on any port."""

    name: str
    port: int = 0

    def covers(self, host: str, port: int) -> bool:
        return self.port in (0, port) and (host == self.name or host.endswith('.' + self.name))


@frozen
class NetworkPattern:
    """Addresses; `port` 0 = on any port."""

    network: Network
    port: int = 0

    def covers(self, address: Address, port: int) -> bool:
        return self.port in (0, port) and address in self.network


@frozen
class NoProxy:
    """What NO_PROXY says. The loopback is covered unless it is said otherwise: a proxy's is not ours."""

    everything: bool = False
    domains: tuple[DomainPattern, ...] = ()
    blocks: tuple[NetworkPattern, ...] = ()
    loopback: bool = True

    def covers(self, host: str, port: int) -> bool:
        """Whether this host (as `ascii_host` gives it) is reached directly. Names are not looked up for it."""
        if self.everything or (self.loopback and is_loopback(host)):
            return True
        if is_address(host):
            address = ip_address(host)
            return any(block.covers(address, port) for block in self.blocks)
        name = host.removesuffix('.')
        return any(domain.covers(name, port) for domain in self.domains)


def parse_no_proxy(text: str) -> NoProxy:
    """Read the variable: entries between commas or blanks. What is no host, domain or block of addresses covers
    nothing, as everywhere."""
    entries = text.replace(',', ' ').split()
    found = [one for entry in entries if (one := _entry(entry)) is not None]
    return NoProxy(
        '*' in entries,
        tuple(one for one in found if isinstance(one, DomainPattern)),
        tuple(one for one in found if isinstance(one, NetworkPattern)),
    )


def _entry(entry: str) -> DomainPattern | NetworkPattern | None:
    """One entry, `*` aside."""
    host, port = _split_port(entry)
    if (block := _network(host.strip('[]'))) is not None:
        return NetworkPattern(block, port)
    try:
        return DomainPattern(ascii_host(host.removeprefix('*').strip('.')), port)
    except Malformed:
        return None


def _split_port(entry: str) -> tuple[str, int]:
    """An address of IPv6 has a port only behind brackets."""
    host, colon, port = entry.rpartition(':')
    if colon and port.isdigit() and (':' not in host or host.endswith(']')):
        return host, int(port)
    return entry, 0


def _network(text: str) -> Network | None:
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None
