"""Plain HTTP through a proxy: requests contain the absolute URL (RFC 9112 §3.2.2). https uses a tunnel, which
`connector` opens."""

from __future__ import annotations

import msgspec
from twisted.internet.defer import Deferred, fail

from zatotx.plugins.http.client.call import HttpRequest, HttpResponse, Origin, Sender
from zatotx.plugins.http.client.connect_tunnel import proxy_error_text
from zatotx.plugins.http.client.errors import ProxyFailed
from zatotx.rules.http.proxy_selection import Proxy, ProxySelector, UnusableProxy

_PROXY_AUTH_REQUIRED = 407


class ForwardProxySender:
    """A Sender for connections that may use a proxy. Fails with ProxyFailed if the proxy requires credentials; any
    other response cannot be told from the peer's own and is returned."""

    def __init__(self, sender: Sender, proxies: ProxySelector) -> None:
        self._sender = sender
        self._proxies = proxies

    def send(self, request: HttpRequest) -> Deferred[HttpResponse]:
        """See Sender."""
        origin = request.origin
        if origin.scheme == 'https':
            return self._sender.send(request)
        try:
            proxy = self._proxies.select(secure=False, host=origin.host, port=origin.port)
        except UnusableProxy as error:
            return fail(ProxyFailed(f'the proxy for {origin.host} cannot be used: {error}'))
        if proxy is None:
            return self._sender.send(request)
        return self._sender.send(_absolute_form(request, proxy)).addCallback(_check_response, origin, proxy)


def _absolute_form(outbound: HttpRequest, proxy: Proxy) -> HttpRequest:
    path = b'' if outbound.target == b'*' else outbound.target
    target = b'http://%b%b' % (outbound.origin.authority, path)
    if not proxy.authorization:
        return msgspec.structs.replace(outbound, target=target)
    headers = [*outbound.headers, (b'Proxy-Authorization', proxy.authorization)]
    return msgspec.structs.replace(outbound, target=target, headers=headers)


def _check_response(response: HttpResponse, origin: Origin, proxy: Proxy) -> HttpResponse:
    if response.head.status != _PROXY_AUTH_REQUIRED:
        return response
    if not isinstance(response.body, bytes):
        response.body.close()
    raise ProxyFailed(f'{proxy} {proxy_error_text(_PROXY_AUTH_REQUIRED, origin.authority)}')
