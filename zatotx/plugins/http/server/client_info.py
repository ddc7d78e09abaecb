"""Who sends the requests of a connection: its peer, or, where that is a trusted proxy, whom it speaks for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address

from zatotx.plugins.http.server.client_certificates import peer_certificates
from zatotx.rules.http.forwarding import UNIX


class ClientInfo:
    """What is known of the client of a connection, or of one request of a proxy."""

    __slots__ = ('address', 'certificates', 'own_url', 'public_url', 'secure')

    def __init__(self, address: str, own_url: str = '', public_url: str = '', *, secure: bool = False) -> None:
        self.address = address  # of IP, or 'unix'
        self.own_url = own_url  # scheme and authority of the listener
        self.public_url = public_url  # where clients reach us; '' = not known
        self.secure = secure  # over TLS
        self.certificates: Sequence[bytes] = ()  # that the client sent, in DER

    def over_tls(self, transport: Any) -> None:
        """A handshake is over: before any bytes of the client come."""
        self.certificates = peer_certificates(transport)
        self.secure = True
        self.own_url = own_url(transport.getHost(), secure=True)


def address_of(peer: Any) -> str:
    """The address of a peer (IAddress): of IP, or UNIX."""
    return peer.host if isinstance(peer, IPv4Address | IPv6Address) else UNIX


def client_of(transport: Any, public_url: str) -> ClientInfo:
    """The client of a new connection. Behind a `haproxy:` endpoint the transport gives the addresses of the PROXY
    header, and says whether the client came over TLS."""
    peer, host = transport.getPeer(), transport.getHost()
    secure = bool(getattr(transport, 'proxied_over_tls', False))
    return ClientInfo(address_of(peer), own_url(host, secure=secure), public_url, secure=secure)


def own_url(host: Any, *, secure: bool) -> str:
    """Scheme and authority of the listener at an address (IAddress)."""
    scheme = 'https' if secure else 'http'
    if not isinstance(host, IPv4Address | IPv6Address):
        return f'{scheme}://localhost'
    name = f'[{host.host}]' if ':' in host.host else host.host
    return f'{scheme}://{name}' if host.port == (443 if secure else 80) else f'{scheme}://{name}:{host.port}'
