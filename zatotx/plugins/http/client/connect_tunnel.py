"""Tunnels through a proxy with CONNECT (RFC 9110 §9.3.6)."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from zatotx.plugins.http.client.errors import ProxyFailed
from zatotx.rules.http.proxy_selection import Proxy
from zatotx.wire.http1.request_writer import NO_BODY, write_request_head
from zatotx.wire.http1.response_parser import RESPONSE_LIMITS, MessageRejected, ResponseHead, ResponseParser


class ConnectTunnel(Protocol):
    """Requests a tunnel from a proxy: `done` fires when it is established, or fails with ProxyFailed."""

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
        except MessageRejected as rejection:
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
    """Return the meaning of a proxy's error status, for the error message."""
    if status in (401, 407):  # tinyproxy answers 401 to wrong credentials
        return f'wants other credentials than it was given ({status})'
    if status in (502, 503, 504):
        return f'did not reach {authority.decode("ascii")} ({status})'
    return f'makes no tunnel to {authority.decode("ascii")} ({status})'
