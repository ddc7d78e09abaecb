"""The client that sends a request: the peer of the connection, or, behind a trusted proxy, the client the proxy
forwards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address

from zatotx.plugins.http.server.client_certificates import peer_certificates
from zatotx.rules.http.forwarding import UNIX


class ClientInfo:
    """The client of a connection, or of one request that a proxy forwards."""

    __slots__ = ('address', 'certificates', 'own_url', 'public_url', 'secure')

    def __init__(self, address: str, own_url: str = '', public_url: str = '', *, secure: bool = False) -> None:
        self.address = address  # an IP address, or 'unix'
        self.own_url = own_url  # scheme and authority of the listener
        self.public_url = public_url  # base URL for clients; '' = not known
        self.secure = secure  # over TLS
        self.certificates: Sequence[bytes] = ()  # sent by the client, in DER

    def over_tls(self, transport: Any) -> None:
        """Record the client's certificates after a TLS handshake, before any of its bytes are read."""
        self.certificates = peer_certificates(transport)
        self.secure = True
        self.own_url = listener_url(transport.getHost(), secure=True)


def peer_address(peer: Any) -> str:
    """Return the address of a peer (IAddress): an IP address, or UNIX."""
    return peer.host if isinstance(peer, IPv4Address | IPv6Address) else UNIX


def make_client_info(transport: Any, public_url: str) -> ClientInfo:
    """Return the client of a new connection. Behind a `haproxy:` endpoint the transport has the addresses of the PROXY
    header, and knows whether the client used TLS."""
    peer, host = transport.getPeer(), transport.getHost()
    secure = bool(getattr(transport, 'proxied_over_tls', False))
    return ClientInfo(peer_address(peer), listener_url(host, secure=secure), public_url, secure=secure)


def listener_url(host: Any, *, secure: bool) -> str:
    """Return the scheme and authority of the listener at an address (IAddress)."""
    scheme = 'https' if secure else 'http'
    if not isinstance(host, IPv4Address | IPv6Address):
        return f'{scheme}://localhost'
    name = f'[{host.host}]' if ':' in host.host else host.host
    return f'{scheme}://{name}' if host.port == (443 if secure else 80) else f'{scheme}://{name}:{host.port}'
