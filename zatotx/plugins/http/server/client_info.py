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

    __slots__ = ('address', 'certificates', 'is_tls', 'listener_url', 'public_url')

    def __init__(self, address: str, own_url: str = '', public_url: str = '', *, secure: bool = False) -> None:
        self.address = address  # an IP address, or 'unix'
        self.listener_url = own_url  # scheme and authority of the listener
        self.public_url = public_url  # base URL for clients; '' = not known
        self.is_tls = secure  # over TLS
        self.certificates: Sequence[bytes] = ()  # sent by the client, in DER

    def set_tls(self, transport: Any) -> None:
        """Record the client's certificates after a TLS handshake, before any of its bytes are read."""
        self.certificates = peer_certificates(transport)
        self.is_tls = True
        self.listener_url = listener_url(transport.getHost(), secure=True)


def peer_address(peer: Any) -> str:
    """Return the address of a peer (IAddress): an IP address, or UNIX."""
    return peer.host if isinstance(peer, IPv4Address | IPv6Address) else UNIX


def make_client_info(transport: Any, public_url: str) -> ClientInfo:
    """Return the client of a new connection. Behind a `haproxy:` endpoint the transport has the addresses of the PROXY
    header, and knows whether the client used TLS."""
    peer, host = transport.getPeer(), transport.getHost()
    secure = bool(getattr(transport, 'proxied_over_tls', False))
    return ClientInfo(peer_address(peer), listener_url(host, secure=secure), public_url, secure=secure)


def listener_url(listener_address: Any, *, secure: bool) -> str:
    """Return the scheme and authority of the listener at an address (IAddress)."""
    scheme = 'https' if secure else 'http'
    if not isinstance(listener_address, IPv4Address | IPv6Address):
        return f'{scheme}://localhost'
    name = f'[{listener_address.host}]' if ':' in listener_address.host else listener_address.host
    return f'{scheme}://{name}' if listener_address.port == (443 if secure else 80) else f'{scheme}://{name}:{listener_address.port}'
