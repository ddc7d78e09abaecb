"""A single health probe of a server. The probe opens a connection and, for HTTP, sends a request whose response must
have an expected status."""

from __future__ import annotations

from typing import Any

from attrs import frozen
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionRefusedError, TimeoutError
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from zatotx.connectors.tls_client import TlsClientFactory
from zatotx.interfaces.reactor import IReactor
from zatotx.lb.config.model import HealthCheck
from zatotx.lb.server_connector import Dial, ServerConnectionSettings, open_connection
from zatotx.wire.http1.message_limits import HttpMessageRejected, HttpParserLimits
from zatotx.wire.http1.response_parser import ResponseHead, ResponseParser

_MAX_HEAD = 16_384  # bytes of a response's head
_LIMITS = HttpParserLimits()
# A probe is a connection of the load balancer itself, for which the PROXY protocol has forms without addresses.
_PROXY_HEADERS = {'': b'', 'v1': b'PROXY UNKNOWN\r\n', 'v2': b'\r\n\r\n\0\r\nQUIT\n\x20\0\0\0'}


@frozen(kw_only=True)
class ProbeTarget:
    """The address of a server to probe, and the settings of the health check."""

    host: str
    port: int
    check: HealthCheck
    proxy_protocol: str = ''  # version of the header that the server expects: '', 'v1', 'v2'
    tls: TlsClientFactory | None = None
    tls_name: str = ''  # name in the server's certificate

    @property
    def request(self) -> bytes:
        """The request of an HTTP probe."""
        host = f'[{self.host}]' if ':' in self.host else self.host
        name = self.check.host or f'{host}:{self.port}'
        return (f'GET {self.check.path} HTTP/1.1\r\nHost: {name}\r\nUser-Agent: zatotx-load-balancer\r\n'
                'Connection: close\r\n\r\n').encode('ascii', 'replace')  # fmt: skip


class _Connection(Protocol):
    """The connection of a probe. `head` fires with the head of the response, if one is expected."""

    def __init__(self) -> None:
        self.head: Deferred[ResponseHead] = Deferred()
        self._parser = ResponseParser(_LIMITS)
        self._size = 0
        self._is_expecting = False

    def expect_response(self) -> None:
        """Start to expect the response to a GET request."""
        self._is_expecting = True
        self._parser.expect_response('GET')

    def dataReceived(self, data: bytes) -> None:
        if self.head.called or not self._is_expecting:
            return
        self._size += len(data)
        self._parser.feed(data)
        try:
            event = self._parser.next()
            while isinstance(event, ResponseHead) and event.status < 200:
                event = self._parser.next()
        except HttpMessageRejected as error:
            self.head.errback(HealthProbeFailed(f'its response is not HTTP: {error.reason}'))
            return
        if isinstance(event, ResponseHead):
            self.head.callback(event)
        elif self._size > _MAX_HEAD:
            self.head.errback(HealthProbeFailed(f'the head of its response has more than {_MAX_HEAD} bytes'))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._is_expecting and not self.head.called:
            self.head.errback(HealthProbeFailed('it closed the connection without a response'))


class HealthProbeFailed(Exception):  # noqa: N818 - a result, whose text is a sentence fragment
    """Raised if a probe shows that the server is unavailable."""


def run_health_probe(reactor: IReactor, dial: Dial, target: ProbeTarget) -> Deferred[str]:
    """Probe a server. The Deferred fires within the timeout of the check. Its result is '' if the server is available,
    or the reason why it is unavailable, as a sentence fragment."""
    timeout = target.check.timeout

    def timed_out(result: object, _timeout: float) -> None:
        raise HealthProbeFailed(f'it does not respond within {timeout:g} s')

    running: Deferred[None] = Deferred.fromCoroutine(_run(reactor, dial, target))
    running.addTimeout(timeout, reactor, timed_out)
    return running.addCallbacks(lambda _: '', _describe)


async def _run(reactor: IReactor, dial: Dial, target: ProbeTarget) -> None:
    connection = _Connection()
    link = ServerConnectionSettings(dial=dial, host=target.host, port=target.port, connect_timeout=target.check.timeout,
                      idle_timeout=0.0, tls=target.tls, server_name=target.tls_name)
    header = _PROXY_HEADERS[target.proxy_protocol]
    await open_connection(link, connection, reactor, header)
    transport: Any = connection.transport
    try:
        if target.tls is None:
            transport.write(header)
        if target.check.type == 'http':
            await _request(connection, target)
    finally:
        transport.abortConnection()


async def _request(connection: _Connection, target: ProbeTarget) -> None:
    connection.expect_response()
    transport: Any = connection.transport
    transport.write(target.request)
    head = await connection.head
    if head.status not in target.check.status:
        expected = ' or '.join(map(str, target.check.status))
        raise HealthProbeFailed(f'{target.check.path} responds with {head.status} instead of {expected}')


def _describe(failure: Failure) -> str:
    error = failure.value
    if isinstance(error, CancelledError) or not isinstance(error, Exception):
        failure.raiseException()
    if isinstance(error, TimeoutError):
        return 'it does not accept connections in time'
    if isinstance(error, ConnectionRefusedError):
        return 'it refuses connections'
    return str(error) or type(error).__name__
