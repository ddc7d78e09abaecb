"""The clients behind trusted proxies, read from Forwarded and X-Forwarded-* fields of each request."""

from __future__ import annotations

from twisted.logger import Logger

from zatotx.plugins.http.server.client_info import ClientInfo
from zatotx.plugins.http.server.counters import HttpCounters
from zatotx.plugins.http.server.request_router import RequestRouter, ResolvedRequest
from zatotx.plugins.http.settings import HttpSettings
from zatotx.rules.http.forwarding import RequestOrigin, parse_trusted_proxies, request_origin
from zatotx.wire.http1.request_parser import RequestHead


class ForwardedClients:
    """Reads the client of a request from the fields that trusted proxies set. Invalid fields are counted, and logged
    once."""

    _log = Logger()

    def __init__(self, settings: HttpSettings, counters: HttpCounters) -> None:
        self._trusted = parse_trusted_proxies(settings.trusted_proxies)
        self._header_setting = settings.proxy_headers
        self._public_url = settings.public_url
        self._counters = counters
        self._is_logged = False

    def trusts(self, address: str) -> bool:
        """Return whether a peer is a trusted proxy."""
        return self._trusted.trusts(address)

    def resolve(
        self, router: RequestRouter, head: RequestHead, proxy: ClientInfo, last_resolved: ResolvedRequest | None
    ) -> ResolvedRequest:
        """Resolve a request as RequestRouter.place does, for the client that the proxy forwards."""
        if last_resolved is not None and last_resolved.head is head and last_resolved.routes is router.routes:
            return last_resolved
        return router.resolve(head, self.client_for(head, proxy), last_resolved)

    def client_for(self, head: RequestHead, proxy: ClientInfo) -> ClientInfo:
        """Return the client of this request; the proxy itself if the fields name none."""
        origin = request_origin(head.headers, proxy.address, self._trusted, self._header_setting)
        if origin.error:
            self._count_invalid(proxy.address, origin.error)
        secure = proxy.is_tls if not origin.proto else origin.proto == 'https'
        client = ClientInfo(origin.address, proxy.listener_url, self._public_url or _public_url(origin, head, secure),
                            secure=secure)  # fmt: skip
        client.certificates = proxy.certificates  # certificates are those of the proxy, which vouches for its clients
        return client

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
