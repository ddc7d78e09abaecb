"""A tunnel through a proxy: CONNECT (RFC 9110 §9.3.6)."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from zatotx.plugins.http.client.errors import ProxyFailed
from zatotx.rules.proxies import Proxy
from zatotx.wire.http1_connect import ConnectAnswer, Malformed, connect_answer, connect_request


class Tunnel(Protocol):
    """Asks a proxy for a way to somewhere: `done` fires when bytes go through, or fails with ProxyFailed."""

    def __init__(self, proxy: Proxy, authority: bytes) -> None:
        """`authority`: host and port of the target, as CONNECT names it."""
        self._proxy = proxy
        self._authority = authority
        self._received = b''
        self.done: Deferred[None] = Deferred()

    def ask(self, transport: Any) -> Deferred[None]:
        """Ask over a connected transport, whose protocol this becomes."""
        transport.protocol = self
        transport.write(connect_request(self._authority, self._proxy.authorization))
        return self.done

    def dataReceived(self, data: bytes) -> None:
        self._received += data
        try:
            answer = connect_answer(self._received)
        except Malformed as error:
            self._fail(f'answered a CONNECT with what is not HTTP: {error}')
            return
        if answer is not None:
            self._judge(answer)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._fail('closed the connection instead of answering a CONNECT')

    def _judge(self, answer: ConnectAnswer) -> None:
        if not 200 <= answer.status < 300:
            self._fail(refusal(answer.status, self._authority))
        elif answer.rest:
            self._fail('sends something before anybody was asked')  # TLS begins with us
        elif not self.done.called:
            self.done.callback(None)

    def _fail(self, what: str) -> None:
        if not self.done.called:
            self.done.errback(ProxyFailed(f'the proxy {self._proxy.host}:{self._proxy.port} {what}'))


def refusal(status: int, authority: bytes) -> str:
    """What a proxy's refusal means."""
    if status == 407:
        return 'wants other credentials than it was given (407)'
    if status in (502, 503, 504):
        return f'did not reach {authority.decode("ascii")} ({status})'
    return f'makes no tunnel to {authority.decode("ascii")} ({status})'
