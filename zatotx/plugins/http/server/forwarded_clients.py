"""The clients of trusted proxies: taken from Forwarded and X-Forwarded-…, request by request."""

from __future__ import annotations

from twisted.logger import Logger

from zatotx.plugins.http.server.client_info import ClientInfo
from zatotx.plugins.http.server.counters import HttpCounters
from zatotx.plugins.http.server.request_router import RequestRouter, ResolvedRequest
from zatotx.plugins.http.settings import HttpSettings
from zatotx.rules.http.forwarding import RequestOrigin, origin_of, trusted_proxies
from zatotx.wire.http1.request_parser import RequestHead


class ForwardedClients:
    """Reads from whom trusted proxies have their requests. What they say wrongly is counted, and logged once."""

    _log = Logger()

    def __init__(self, settings: HttpSettings, counters: HttpCounters) -> None:
        self._trusted = trusted_proxies(settings.trusted_proxies)
        self._read = settings.proxy_headers
        self._public_url = settings.public_url
        self._counters = counters
        self._is_logged = False

    def trusts(self, address: str) -> bool:
        """Whether a peer is a trusted proxy."""
        return self._trusted.trusts(address)

    def place(
        self, reception: RequestRouter, head: RequestHead, proxy: ClientInfo, last: ResolvedRequest | None
    ) -> ResolvedRequest:
        """As Reception.place, for the client that the proxy speaks for."""
        if last is not None and last.head is head and last.routes is reception.routes:
            return last
        return reception.place(head, self.client(head, proxy), last)

    def client(self, head: RequestHead, proxy: ClientInfo) -> ClientInfo:
        """Whose request this is; the proxy's own where it says nothing."""
        origin = origin_of(head.headers, proxy.address, self._trusted, self._read)
        if origin.wrong:
            self._count(proxy.address, origin.wrong)
        secure = proxy.secure if not origin.proto else origin.proto == 'https'
        client = ClientInfo(origin.address, proxy.own_url, self._public_url or _public_url(origin, head, secure),
                            secure=secure)  # fmt: skip
        client.certificates = proxy.certificates  # whoever has shown them speaks for its clients
        return client

    def _count(self, address: str, wrong: str) -> None:
        self._counters.bad_forwarded += 1
        if not self._is_logged:
            self._is_logged = True
            self._log.warn(
                'The trusted proxy {address} says something of a client that is not taken: {wrong}. This is logged '
                'once; the metric zatotx_http_bad_forwarded counts how often it happens',
                address=address, wrong=wrong,
            )  # fmt: skip


def _public_url(origin: RequestOrigin, head: RequestHead, secure: bool) -> str:
    """Where the client of a proxy reaches it: the host that the proxy names, or lets through where it says by which
    scheme it was asked."""
    host = origin.host
    if not host and origin.proto:
        host = head.headers.get(b'host', b'').decode('latin-1')
    return f'{"https" if secure else "http"}://{host}' if host else ''
