"""Who a request is from that comes through proxies: the last one in the chain whom nobody vouches for. Pure.

The peer of a connection is known. Where it is trusted, its word is taken for whom it has the request from; where that
one is trusted too, so is its word, and so on. The first that is not trusted is the client. Sources: RFC 7239 §8, and
the rule of nginx (`real_ip_recursive`) for X-Forwarded-For.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from attrs import frozen

from zatotx.wire.http.forwarded import (
    ForwardedHop,
    forwarded_hops,
    host_of,
    scheme_of,
    x_forwarded_addresses,
    x_forwarded_text,
)
from zatotx.wire.malformed import Malformed

ANY, FORWARDED, X_FORWARDED = 'any', 'forwarded', 'x-forwarded'  # which fields are read
UNIX = 'unix'  # the address of who comes by a Unix socket
_DISAGREE = 'Forwarded and X-Forwarded-For do not name the same client: say by proxy_headers which one the proxy writes'


class InvalidProxies(ValueError):  # noqa: N818 - what it is
    """Words that name no proxies. The text says which."""


@frozen
class TrustedProxies:
    """The proxies whose word is taken."""

    networks: tuple[IPv4Network | IPv6Network, ...] = ()
    unix: bool = False

    def __bool__(self) -> bool:
        return self.unix or bool(self.networks)

    def trusts(self, address: str) -> bool:
        """Whether a peer is one of them, by its address or UNIX."""
        if address == UNIX:
            return self.unix
        try:
            found = ip_address(address)
        except ValueError:
            return False
        if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
            found = found.ipv4_mapped
        return any(found in network for network in self.networks)


@frozen
class RequestOrigin:
    """Who a request is from, and what was asked for. '' = not said."""

    address: str
    proto: str = ''
    host: str = ''
    wrong: str = ''  # why something that a proxy says was not taken


def trusted_proxies(words: Iterable[str]) -> TrustedProxies:
    """Addresses, networks (`10.0.0.0/8`) and UNIX. Raises InvalidProxies."""
    networks: list[IPv4Network | IPv6Network] = []
    wrong: list[str] = []
    words = tuple(words)
    for word in words:
        if word != UNIX:
            try:
                networks.append(ip_network(word))
            except ValueError as error:
                wrong.append(f'{word!r} is no address, no network like 10.0.0.0/8, and not `unix` ({error})')
    if wrong:
        raise InvalidProxies('; '.join(wrong))
    return TrustedProxies(tuple(networks), UNIX in words)


def origin_of(headers: Mapping[bytes, bytes], peer: str, trusted: TrustedProxies, read: str = ANY) -> RequestOrigin:
    """Who the request of a trusted `peer` is from, by the fields that `read` names.

    Where ANY of them are read and both kinds are there, they count as far as they agree: a proxy mostly writes one kind
    and lets through what its client has written of the other.
    """
    forwarded = headers.get(b'forwarded') if read != X_FORWARDED else None
    older = read != FORWARDED and any(name in headers for name in _X_NAMES)
    if forwarded is None:
        return _by_x_forwarded(headers, peer, trusted) if older else RequestOrigin(peer)
    one = _by_forwarded(forwarded.decode('latin-1'), peer, trusted)
    if not older:
        return one
    other = _by_x_forwarded(headers, peer, trusted)
    if one.address != other.address:
        return RequestOrigin(peer, wrong=_DISAGREE)
    return RequestOrigin(one.address, one.proto if one.proto == other.proto else '',
                  one.host if one.host == other.host else '', one.wrong or other.wrong)  # fmt: skip


_FOR, _PROTO, _HOST = _X_NAMES = (b'x-forwarded-for', b'x-forwarded-proto', b'x-forwarded-host')


def _by_forwarded(value: str, peer: str, trusted: TrustedProxies) -> RequestOrigin:
    address, hop, wrong = peer, ForwardedHop(), ''
    try:
        for hop in forwarded_hops(value):
            if not hop.address:
                break
            address = hop.address
            if not trusted.trusts(address):
                break
    except Malformed as error:
        wrong = str(error)
    return RequestOrigin(address, hop.proto, hop.host, wrong)


def _by_x_forwarded(headers: Mapping[bytes, bytes], peer: str, trusted: TrustedProxies) -> RequestOrigin:
    address, passed, wrong = peer, 0, ''
    try:
        for found in x_forwarded_addresses(headers.get(_FOR, b'').decode('latin-1')):
            if not found:
                break
            address = found
            if not trusted.trusts(address):
                break
            passed += 1
        proto = _said(headers, _PROTO, passed)
        host = _said(headers, _HOST, passed)
        return RequestOrigin(address, scheme_of(proto) if proto else '', host_of(host) if host else '')
    except Malformed as error:
        wrong = f'of {", ".join(name.decode() for name in _X_NAMES if name in headers)}: {error}'
    return RequestOrigin(address, wrong=wrong)


def _said(headers: Mapping[bytes, bytes], name: bytes, passed: int) -> str:
    """What the proxy next to the client says in a field to which each adds, or which one of them has set."""
    return x_forwarded_text(headers.get(name, b'').decode('latin-1'), passed)
