"""Creates PROXY protocol headers, which pass the addresses of clients to servers."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress

from zatotx.wire.http.proxy_protocol import AddressAndPort, write_proxy_header

VERSIONS = {'v1': 1, 'v2': 2}


def proxy_header(version: str, transport: Any) -> bytes:
    """Create the PROXY protocol header for the transport of a client. If `version` is '', no header is sent, and the
    function returns b''."""
    if not version:
        return b''
    secure = hasattr(transport, 'getPeerCertificate') and getattr(transport, 'TLS', True)
    return write_proxy_header(
        VERSIONS[version], _pair(transport.getPeer()), _pair(transport.getHost()),
        secure=bool(secure or getattr(transport, 'proxied_over_tls', False)),
    )  # fmt: skip


def _pair(address: IAddress) -> AddressAndPort | None:
    return (address.host, address.port) if isinstance(address, IPv4Address | IPv6Address) else None
