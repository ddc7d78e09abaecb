"""Determines the client that sent a request. The client is the peer of the connection or, behind a trusted proxy, the
client that the proxy specifies in the Forwarded or X-Forwarded-* fields.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress, ITransport
from twisted.logger import Logger

from zatotx.connectors.peer_certificates import peer_certificates
from zatotx.plugins.http.metrics import HttpCounters
from zatotx.plugins.http.settings import HttpSettings
from zatotx.rules.http.trusted_proxies import UNIX, RequestOrigin, find_request_origin, parse_trusted_proxies
from zatotx.wire.http.client_cert import parse_client_cert
from zatotx.wire.http1.request_parser import RequestHead
from zatotx.wire.malformed import Malformed


class ClientInfo:
    """The client of a connection, or of a single request that a proxy forwarded."""

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


def peer_address(peer: IAddress) -> str:
    """Convert the address of a peer to text, which is an IP address or UNIX."""
    return peer.host if isinstance(peer, IPv4Address | IPv6Address) else UNIX


def make_client_info(transport: ITransport, public_url: str) -> ClientInfo:
    """Create the client information of a new connection. Behind a `haproxy:` endpoint, the transport provides the
    addresses of the PROXY header, and knows whether the client used TLS."""
    peer, host = transport.getPeer(), transport.getHost()
    secure = bool(getattr(transport, 'proxied_over_tls', False))
    return ClientInfo(peer_address(peer), listener_url(host, secure=secure), public_url, secure=secure)


def listener_url(listener_address: IAddress, *, secure: bool) -> str:
    """Return the scheme and authority of the URL of a listener at an address (IAddress)."""
    scheme = 'https' if secure else 'http'
    if not isinstance(listener_address, IPv4Address | IPv6Address):
        return f'{scheme}://localhost'
    name = f'[{listener_address.host}]' if ':' in listener_address.host else listener_address.host
    return f'{scheme}://{name}' if listener_address.port == (443 if secure else 80) else f'{scheme}://{name}:{listener_address.port}'


class ForwardedClients:
    """Determines the client of a request from the fields that trusted proxies set. Invalid fields are counted, and
    logged once."""

    _log = Logger()

    def __init__(self, settings: HttpSettings, counters: HttpCounters) -> None:
        self._trusted = parse_trusted_proxies(settings.trusted_proxies)
        self._header_setting = settings.proxy_headers
        self._public_url = settings.public_url
        self._reads_client_cert = settings.client_cert
        self._counters = counters
        self._is_logged = False

    def trusts(self, address: str) -> bool:
        """Return whether a peer is a trusted proxy."""
        return self._trusted.trusts(address)

    def client_for(self, head: RequestHead, proxy: ClientInfo) -> ClientInfo:
        """Return the client of this request; the proxy itself if the fields name none."""
        origin = find_request_origin(head.headers, proxy.address, self._trusted, self._header_setting)
        if origin.error:
            self._count_invalid(proxy.address, origin.error)
        secure = proxy.is_tls if not origin.proto else origin.proto == 'https'
        client = ClientInfo(origin.address, proxy.listener_url, self._public_url or _public_url(origin, head, secure),
                            secure=secure)  # fmt: skip
        client.certificates = self._certificates_for(head, proxy)
        return client

    def _certificates_for(self, head: RequestHead, proxy: ClientInfo) -> Sequence[bytes]:
        """Return the certificates of the client: those that the proxy passes on, if it is configured that proxies do
        that; otherwise the proxy's own, which vouches for its clients."""
        if not self._reads_client_cert:
            return proxy.certificates
        try:
            return parse_client_cert(head.headers)
        except Malformed as error:
            self._count_invalid(proxy.address, str(error))
            return ()

    def _count_invalid(self, address: str, reason: str) -> None:
        self._counters.bad_forwarded += 1
        if not self._is_logged:
            self._is_logged = True
            self._log.warn(
                'The trusted proxy {address} says something of a client that is not taken: {wrong}. This is logged '
                'once; the metric zatotx_http_bad_forwarded counts how often it happens',
                address=address, wrong=reason,
            )  # fmt: skip


def _public_url(origin: RequestOrigin, head: RequestHead, secure: bool) -> str:
    """Return the base URL by which the client reached the proxy: from the host that the proxy names, or from the Host
    field if the proxy names the scheme only."""
    host = origin.host
    if not host and origin.proto:
        host = head.headers.get(b'host', b'').decode('latin-1')
    return f'{"https" if secure else "http"}://{host}' if host else ''
