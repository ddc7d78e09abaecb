"""Forward proxies: CONNECT tunnels for https (RFC 9110 §9.3.6), which the connector opens, and requests with an
absolute URL for plain HTTP (RFC 9112 §3.2.2).
"""

from __future__ import annotations

from typing import Any

import msgspec
from twisted.internet.defer import Deferred, fail
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from zatotx.plugins.http.client.errors import ProxyFailed
from zatotx.plugins.http.client.http_messages import HttpRequest, HttpResponse, Origin, Sender
from zatotx.rules.http.proxy_selection import Proxy, ProxySelector, UnusableProxy
from zatotx.wire.http1.request_writer import NO_BODY, write_request_head
from zatotx.wire.http1.response_parser import RESPONSE_LIMITS, HttpMessageRejected, ResponseHead, ResponseParser

_PROXY_AUTH_REQUIRED = 407


class ConnectTunnel(Protocol):
    """Requests a tunnel from a proxy. `done` fires when the tunnel is established, or fails with ProxyFailed."""

    def __init__(self, proxy: Proxy, authority: bytes) -> None:
        """`authority`: host and port of the target, as in the CONNECT request."""
        self._proxy = proxy
        self._authority = authority
        self._parser = ResponseParser(RESPONSE_LIMITS)
        self.done: Deferred[None] = Deferred()

    def request_tunnel(self, transport: Any) -> Deferred[None]:
        """Send the CONNECT request over a connected transport, and become its protocol."""
        transport.protocol = self
        self._parser.expect_response('CONNECT')
        authorization = self._proxy.authorization
        fields = [(b'Proxy-Authorization', authorization)] if authorization else []
        transport.write(write_request_head('CONNECT', self._authority, self._authority, fields, NO_BODY))
        return self.done

    def dataReceived(self, data: bytes) -> None:
        self._parser.feed(data)
        try:
            while isinstance(head := self._parser.next(), ResponseHead):
                if head.status >= 200:
                    self._check_status(head.status)
                    return
        except HttpMessageRejected as rejection:
            self._fail(f'answered a CONNECT with what is not HTTP/1: {rejection.reason}')

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._fail('closed the connection instead of answering a CONNECT')

    def _check_status(self, status: int) -> None:
        if status >= 300:
            self._fail(proxy_error_text(status, self._authority))
        elif self._parser.pending_bytes:
            self._fail('sends something through the tunnel before anybody was asked')  # TLS begins with our bytes
        elif not self.done.called:
            self.done.callback(None)

    def _fail(self, details: str) -> None:
        if not self.done.called:
            self.done.errback(ProxyFailed(f'{self._proxy} {details}'))


def proxy_error_text(status: int, authority: bytes) -> str:
    """Return a description of the proxy's error status, for use in an error message."""
    if status in (401, 407):  # tinyproxy answers 401 to wrong credentials
        return f'wants other credentials than it was given ({status})'
    if status in (502, 503, 504):
        return f'did not reach {authority.decode("ascii")} ({status})'
    return f'makes no tunnel to {authority.decode("ascii")} ({status})'


class ForwardProxySender:
    """A Sender for connections that may use a proxy. Fails with ProxyFailed if the proxy requires credentials. Other
    responses of the proxy are returned, because they cannot be distinguished from the responses of the peer."""

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
