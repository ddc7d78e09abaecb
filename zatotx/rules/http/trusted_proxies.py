"""Determines the client of a request that passed through proxies. The client is the last untrusted address in the chain
of proxies. Pure functions.

The peer's address is known. If it is a trusted proxy, the address it reports is used; if that is trusted as well, the
next one, and so on. The first untrusted address is the client. Sources: RFC 7239 §8, and nginx's `real_ip_recursive`
for X-Forwarded-For.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from attrs import frozen

from zatotx.wire.http.forwarded import (
    ForwardedHop,
    parse_forwarded,
    parse_host,
    parse_scheme,
    parse_x_forwarded_for,
    select_x_forwarded_element,
)
from zatotx.wire.malformed import Malformed

ANY, FORWARDED, X_FORWARDED = 'any', 'forwarded', 'x-forwarded'  # which header fields are read
UNIX = 'unix'  # the address of clients on a Unix socket
_CONFLICT = 'Forwarded and X-Forwarded-For do not name the same client: say by proxy_headers which one the proxy writes'


class InvalidProxies(ValueError):  # noqa: N818 - named for the condition
    """The list of trusted proxies is invalid. The message names the invalid entries."""


@frozen
class TrustedProxies:
    """The proxies whose forwarding header fields are trusted."""

    networks: tuple[IPv4Network | IPv6Network, ...] = ()
    unix: bool = False

    def __bool__(self) -> bool:
        return self.unix or bool(self.networks)

    def trusts(self, address: str) -> bool:
        """Return whether a peer is trusted, by its address or UNIX."""
        if address == UNIX:
            return self.unix
        try:
            ip = ip_address(address)
        except ValueError:
            return False
        if isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
        return any(ip in network for network in self.networks)


@frozen
class RequestOrigin:
    """The client address of a request, and the scheme and host that the client requested. An unknown value is ''."""

    address: str
    proto: str = ''
    host: str = ''
    error: str = ''  # why a forwarding header field was ignored


def parse_trusted_proxies(entries: Iterable[str]) -> TrustedProxies:
    """Parse the trusted proxies: addresses, networks (`10.0.0.0/8`) and UNIX. Raises InvalidProxies."""
    networks: list[IPv4Network | IPv6Network] = []
    errors: list[str] = []
    entries = tuple(entries)
    for word in entries:
        if word != UNIX:
            try:
                networks.append(ip_network(word))
            except ValueError as error:
                errors.append(f'{word!r} is no address, no network like 10.0.0.0/8, and not `unix` ({error})')
    if errors:
        raise InvalidProxies('; '.join(errors))
    return TrustedProxies(tuple(networks), UNIX in entries)


def find_request_origin(
    headers: Mapping[bytes, bytes], peer: str, trusted: TrustedProxies, header_kind: str = ANY
) -> RequestOrigin:
    """Return the origin of a request that the trusted proxy `peer` forwarded. `header_kind` selects the header fields
    that are read.

    With ANY and both kinds of fields present, they are used as far as they agree: a proxy usually writes one kind and
    passes the client's value of the other.
    """
    forwarded = headers.get(b'forwarded') if header_kind != X_FORWARDED else None
    has_x_forwarded = header_kind != FORWARDED and any(name in headers for name in _X_NAMES)
    if forwarded is None:
        return _parse_x_forwarded(headers, peer, trusted) if has_x_forwarded else RequestOrigin(peer)
    from_forwarded = _parse_forwarded(forwarded.decode('latin-1'), peer, trusted)
    if not has_x_forwarded:
        return from_forwarded
    from_x_forwarded = _parse_x_forwarded(headers, peer, trusted)
    if from_forwarded.address != from_x_forwarded.address:
        return RequestOrigin(peer, error=_CONFLICT)
    return RequestOrigin(
        from_forwarded.address,
        from_forwarded.proto if from_forwarded.proto == from_x_forwarded.proto else '',
        from_forwarded.host if from_forwarded.host == from_x_forwarded.host else '',
        from_forwarded.error or from_x_forwarded.error,
    )


_FOR, _PROTO, _HOST = _X_NAMES = (b'x-forwarded-for', b'x-forwarded-proto', b'x-forwarded-host')


def _parse_forwarded(value: str, peer: str, trusted: TrustedProxies) -> RequestOrigin:
    address, hop, problem = peer, ForwardedHop(), ''
    try:
        for hop in parse_forwarded(value):
            if not hop.address:
                break
            address = hop.address
            if not trusted.trusts(address):
                break
    except Malformed as error:
        problem = str(error)
    return RequestOrigin(address, hop.proto, hop.host, problem)


def _parse_x_forwarded(headers: Mapping[bytes, bytes], peer: str, trusted: TrustedProxies) -> RequestOrigin:
    address, trusted_hops, problem = peer, 0, ''
    try:
        for hop_address in parse_x_forwarded_for(headers.get(_FOR, b'').decode('latin-1')):
            if not hop_address:
                break
            address = hop_address
            if not trusted.trusts(address):
                break
            trusted_hops += 1
        proto = _first_hop_value(headers, _PROTO, trusted_hops)
        host = _first_hop_value(headers, _HOST, trusted_hops)
        return RequestOrigin(address, parse_scheme(proto) if proto else '', parse_host(host) if host else '')
    except Malformed as error:
        problem = f'of {", ".join(name.decode() for name in _X_NAMES if name in headers)}: {error}'
    return RequestOrigin(address, error=problem)


def _first_hop_value(headers: Mapping[bytes, bytes], name: bytes, trusted_hops: int) -> str:
    """Return the value set by the proxy next to the client, in a field to which each proxy appends or which one has
    set."""
    return select_x_forwarded_element(headers.get(name, b'').decode('latin-1'), trusted_hops)
