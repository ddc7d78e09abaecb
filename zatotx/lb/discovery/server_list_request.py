"""Requests the list of the cluster's servers from one server."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from zatotx.connectors.tls_client import TlsClientFactory
from zatotx.interfaces.reactor import IReactor
from zatotx.lb.config.model import Discovery
from zatotx.lb.server_connector import Dial, ServerConnectionSettings, open_connection
from zatotx.wire.http1.chunked_decoder import EndOfBody
from zatotx.wire.http1.message_limits import HttpMessageRejected, HttpParserLimits
from zatotx.wire.http1.response_parser import ResponseHead, ResponseParser

TIMEOUT = 5.0  # seconds
MAX_BODY = 4 * 1024 * 1024  # bytes: some 10,000 servers


class ServerListRequestFailed(Exception):  # noqa: N818 - a result, whose text is a sentence fragment
    """Raised if the server did not respond with a list of servers."""


@frozen(kw_only=True)
class QueriedServer:
    """A server that is queried for the list of servers."""

    name: str
    host: str
    port: int
    tls: TlsClientFactory | None = None
    tls_name: str = ''


class _Connection(Protocol):
    """Receives one response. `body` fires with it, if its status is 200."""

    def __init__(self) -> None:
        self.body: Deferred[bytes] = Deferred()
        self._parser = ResponseParser(HttpParserLimits(body=MAX_BODY))
        self._parser.expect_response('GET')
        self._parts: list[bytes] = []

    def dataReceived(self, data: bytes) -> None:
        if self.body.called:
            return
        try:
            self._parser.feed(data)
            self._read_events()
        except HttpMessageRejected as error:
            self.body.errback(ServerListRequestFailed(f'its response is not HTTP: {error.reason}'))

    def _read_events(self) -> None:
        while not self.body.called and (event := self._parser.next()) is not None:
            if isinstance(event, EndOfBody):
                self.body.callback(b''.join(self._parts))
            elif not isinstance(event, ResponseHead):
                self._parts.append(event)
                if sum(map(len, self._parts)) > MAX_BODY:
                    self.body.errback(ServerListRequestFailed(f'its response has more than {MAX_BODY} bytes'))
            elif event.status >= 200 and event.status != 200:
                self.body.errback(
                    ServerListRequestFailed(f'it responds with {event.status} {event.reason.decode("latin-1")}')
                )

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.body.called:
            self.body.errback(ServerListRequestFailed('it closed the connection before its response was complete'))


def request_server_list(reactor: IReactor, dial: Dial, server: QueriedServer, settings: Discovery) -> Deferred[bytes]:
    """Request the list of the cluster's servers. Within TIMEOUT seconds, the Deferred fires with the body of the
    response, or fails with ServerListRequestFailed or an error of Twisted or TLS."""

    def timed_out(result: object, timeout: float) -> None:
        raise ServerListRequestFailed(f'it does not respond within {timeout:g} s')

    running: Deferred[bytes] = Deferred.fromCoroutine(_request(reactor, dial, server, settings))
    return running.addTimeout(TIMEOUT, reactor, timed_out)  # type: ignore[arg-type]


async def _request(reactor: IReactor, dial: Dial, server: QueriedServer, settings: Discovery) -> bytes:
    connection = _Connection()
    link = ServerConnectionSettings(
        dial=dial, host=server.host, port=server.port, connect_timeout=TIMEOUT, idle_timeout=0.0, tls=server.tls,
        server_name=server.tls_name,
    )
    await open_connection(link, connection, reactor, b'')
    transport: Any = connection.transport
    try:
        transport.write(_make_request(server, settings))
        return await connection.body
    finally:
        transport.abortConnection()


def _make_request(server: QueriedServer, settings: Discovery) -> bytes:
    host = f'[{server.host}]' if ':' in server.host else server.host
    token = b64encode(f'{settings.username}:{settings.password}'.encode()).decode('ascii')
    return (f'GET {settings.path} HTTP/1.1\r\nHost: {host}:{server.port}\r\nUser-Agent: zatotx-load-balancer\r\n'
            f'Authorization: Basic {token}\r\nAccept: application/json\r\nConnection: close\r\n\r\n'
            ).encode('latin-1', 'replace')  # fmt: skip
