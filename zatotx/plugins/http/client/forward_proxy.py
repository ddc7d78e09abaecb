"""Plain HTTP through a proxy: requests name their whole URL (RFC 9112 §3.2.2). https goes through a tunnel, which is
the matter of who connects (`dialing`).
"""

from __future__ import annotations

import msgspec
from twisted.internet.defer import Deferred, fail

from zatotx.plugins.http.client.call import HttpRequest, HttpResponse, Origin, Sender
from zatotx.plugins.http.client.connect_tunnel import proxy_refusal
from zatotx.plugins.http.client.errors import ProxyFailed
from zatotx.rules.http.proxy_selection import Proxy, ProxySelector, UnusableProxy

_WANTS_CREDENTIALS = 407


class ForwardProxySender:
    """A Sender for connections of which some may go through a proxy. Fails with ProxyFailed where it lets nobody
    through; all else that it says may be the peer's own answer, as far as anybody can tell, and is handed on."""

    def __init__(self, sender: Sender, proxies: ProxySelector) -> None:
        self._sender = sender
        self._proxies = proxies

    def send(self, outbound: HttpRequest) -> Deferred[HttpResponse]:
        """As a Sender."""
        origin = outbound.origin
        if origin.scheme == 'https':
            return self._sender.send(outbound)
        try:
            proxy = self._proxies.proxy(secure=False, host=origin.host, port=origin.port)
        except UnusableProxy as unusable:
            return fail(ProxyFailed(f'the proxy for {origin.host} cannot be used: {unusable}'))
        if proxy is None:
            return self._sender.send(outbound)
        return self._sender.send(_absolute(outbound, proxy)).addCallback(_judged, origin, proxy)


def _absolute(outbound: HttpRequest, proxy: Proxy) -> HttpRequest:
    path = b'' if outbound.target == b'*' else outbound.target
    target = b'http://%b%b' % (outbound.origin.authority, path)
    if not proxy.authorization:
        return msgspec.structs.replace(outbound, target=target)
    headers = [*outbound.headers, (b'Proxy-Authorization', proxy.authorization)]
    return msgspec.structs.replace(outbound, target=target, headers=headers)


def _judged(answer: HttpResponse, origin: Origin, proxy: Proxy) -> HttpResponse:
    if answer.head.status != _WANTS_CREDENTIALS:
        return answer
    if not isinstance(answer.body, bytes):
        answer.body.close()
    raise ProxyFailed(f'{proxy} {proxy_refusal(_WANTS_CREDENTIALS, origin.authority)}')
