"""Test doubles for the HTTP server: a scripted dispatcher, an in-memory transport, and clients."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred, execute
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IAddress
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from trial_tests.support.reactor import as_reactor
from zatotx.interfaces.connector_kind import ChannelContext, ILineSink
from zatotx.interfaces.pipeline import IDispatcher, IPendingRequest
from zatotx.model.message import Message, Reply
from zatotx.plugins.http.metrics import HttpCounters
from zatotx.plugins.http.schema import RestChannel
from zatotx.plugins.http.server.connection import ServerConnection
from zatotx.plugins.http.server.request_router import RequestRouter
from zatotx.plugins.http.server.response_filters import CompressionContext, make_filters
from zatotx.plugins.http.server.route_table import build_table
from zatotx.plugins.http.server.server_context import SWEEP_INTERVAL, ConnectionChecks, ServerContext
from zatotx.plugins.http.settings import read_settings
from zatotx.schema.snapshot import StoredObject

JSON = b'application/json'


def channel(number: int = 1, **fields: Any) -> StoredObject:
    """Create a stored REST channel."""
    given = {'name': 'echo', 'url_path': '/echo', 'service': 'test.echo', 'data_format': 'json', **fields}
    return StoredObject(number, 'channel_rest', RestChannel(**given), number)


def echo(inbound: Message) -> Reply:
    """Return the body, read immediately if it was spooled."""
    body = inbound.body
    return Reply(200, body if isinstance(body, bytes) else body.read(), JSON)


@implementer(IPendingRequest)
class Delivery:
    """One message passed to the dispatcher."""

    def __init__(self, inbound: Message, answered: Callable[[Any], None]) -> None:
        self.inbound = inbound
        self._answered = answered
        self.cancelled = False

    def answer(self, body: bytes = b'{}', status: int = 200, **more: Any) -> None:
        self._answered(Reply(status, body, JSON, **more))

    def reply(self, reply: Reply | None) -> None:
        self._answered(reply)

    def cancel(self) -> None:
        self.cancelled = True


@implementer(IDispatcher)
class ScriptedExchange:
    """A dispatcher that answers immediately with `at_once(inbound)`, or keeps the delivery if that is None. Admits by
    `admits`."""

    def __init__(self, at_once: Callable[[Message], Reply | None] | None = echo) -> None:
        self.at_once = at_once
        self.delivered: list[Delivery] = []
        self.asked: list[Delivery] = []
        self.admits: Reply | str | None = None  # 'later' = when told

    def deliver(self, message: Message, on_reply: Callable[[Reply], None]) -> IPendingRequest:
        delivery = Delivery(message, on_reply)
        self.delivered.append(delivery)
        reply = self.at_once(message) if self.at_once is not None else None
        if reply is not None:
            on_reply(reply)
        return delivery

    def authenticate(self, message: Message, on_result: Callable[[Reply | None], None]) -> IPendingRequest:
        asking = Delivery(message, on_result)
        self.asked.append(asking)
        if not isinstance(self.admits, str):
            on_result(self.admits)
        return asking


@implementer(ILineSink)
class Lines(list[str]):
    """A log file as a list."""

    json = False

    def write_line(self, text: str) -> None:
        self.append(text)


class Socket:
    """The part of a socket that is asked for a pending reset."""

    error = 0

    def getsockopt(self, level: int, option: int) -> int:
        return self.error


class Wire(StringTransport):
    """The server's end of an in-memory connection. As with TCP, it ends in the next reactor iteration."""

    protocol: ServerConnection
    aborted = False

    def __init__(self) -> None:
        super().__init__()
        self.socket = Socket()

    def setTcpNoDelay(self, enabled: bool) -> None:
        self.no_delay = enabled

    def getHandle(self) -> Socket:
        return self.socket

    def loseConnection(self) -> None:
        if not self.disconnecting:
            super().loseConnection()
            self.protocol.connectionLost(Failure(ConnectionDone()))

    def abortConnection(self) -> None:
        self.aborted = True
        if not self.disconnecting:
            self.disconnecting = True
            self.protocol.connectionLost(Failure(ConnectionLost()))

    @property
    def closed(self) -> bool:
        return self.disconnecting


class Answer:
    """One response as a client parses it."""

    def __init__(self, status: int, headers: dict[bytes, bytes], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body


def answers_in(data: bytes, *, heads: bool = False) -> list[Answer]:
    """Parse all responses that a server sent. `heads`: they answer HEAD requests."""
    answers = []
    position = 0
    while position < len(data):
        end = data.index(b'\r\n\r\n', position)
        first, *lines = data[position:end].split(b'\r\n')
        headers = {name.lower(): value for name, value in (line.split(b': ', 1) for line in lines)}
        position = end + 4
        body = b''
        if b'transfer-encoding' in headers and not heads:
            body, position = _chunks(data, position)
        elif b'content-length' in headers and not heads:
            body = data[position:position + int(headers[b'content-length'])]
            assert len(body) == int(headers[b'content-length']), 'the body ends too early'
            position += len(body)
        answers.append(Answer(int(first.split(b' ')[1]), headers, body))
    return answers


def _chunks(data: bytes, position: int) -> tuple[bytes, int]:
    pieces: list[bytes] = []
    while True:
        end = data.index(b'\r\n', position)
        length = int(data[position:end], 16)
        position = end + 2 + length
        assert data[position:position + 2] == b'\r\n', 'a chunk does not end as it should'
        pieces.append(data[end + 2:position])
        position += 2
        if not length:
            return b''.join(pieces), position


def run_now(function: Callable[..., Any], *args: Any) -> Deferred[Any]:
    """Run offloaded work immediately, in the same thread."""
    return execute(function, *args)


class Offloads:
    """Queues offloaded work until a test runs it."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Deferred[Any], Callable[..., Any], tuple[Any, ...]]] = []

    def __call__(self, function: Callable[..., Any], *args: Any) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()
        self.waiting.append((done, function, args))
        return done

    def work(self) -> None:
        """Run the first queued piece of work."""
        done, function, args = self.waiting.pop(0)
        execute(function, *args).chainDeferred(done)


class Server:
    """An in-memory HTTP server, on a clock that tests advance."""

    def __init__(
        self, exchange: ScriptedExchange, *, offload: Callable[..., Deferred[Any]] = run_now, work_dir: str = '.',
        channels: list[StoredObject] | None = None, **settings: Any
    ) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.lines = Lines()
        self.exchange = exchange
        context = ChannelContext(
            reactor=as_reactor(self.clock),
            settings=settings,
            line_sink=lambda name: self.lines,
            work_dir=work_dir,
            run_in_thread=offload,
        )
        read = read_settings(settings)
        dress = partial(make_filters, CompressionContext(offload, self.clock))
        table, _ = build_table([channel()] if channels is None else channels, make_filters=dress)
        self.site = ServerContext(context, read, exchange, RequestRouter(table, read.max_body), HttpCounters())
        self.sweep = ConnectionChecks(self.site)
        self.sweep.start()

    def connect(self, address: IAddress | None = None) -> Client:
        return Client(self, address)

    def wait(self, seconds: float) -> None:
        """Advance the clock, one sweep at a time."""
        left = seconds
        while left > 0:
            step = min(SWEEP_INTERVAL, left)
            self.clock.advance(step)
            left -= step


class Client:
    """A client of a Server."""

    def __init__(self, server: Server, address: IAddress | None = None) -> None:
        self.server = server
        self.wire = Wire()
        if address is not None:
            self.wire.peerAddr = address
        self.connection = ServerConnection(server.site)
        self.wire.protocol = self.connection
        self.connection.makeConnection(self.wire)

    def send(self, data: bytes) -> None:
        self.connection.dataReceived(data)

    def received(self) -> bytes:
        """Return the data received since the last call."""
        data: bytes = self.wire.value()
        self.wire.clear()
        return data

    def answers(self, *, heads: bool = False) -> list[Answer]:
        return answers_in(self.received(), heads=heads)

    def ask(self, data: bytes) -> Answer:
        """Send a request and return its only response."""
        self.send(data)
        (answer,) = self.answers()
        return answer

    def half_close(self) -> None:
        self.connection.readConnectionLost()

    @property
    def closed(self) -> bool:
        return self.wire.closed


def post(path: str = '/echo', body: bytes = b'{}', *headers: str) -> bytes:
    """Create a POST request with a body."""
    lines = [f'POST {path} HTTP/1.1', 'Host: test', f'Content-Length: {len(body)}', *headers]
    return '\r\n'.join(lines).encode('latin-1') + b'\r\n\r\n' + body


def get(path: str = '/echo', *headers: str, method: str = 'GET', version: str = '1.1') -> bytes:
    """Create a request without a body."""
    return '\r\n'.join([f'{method} {path} HTTP/{version}', 'Host: test', *headers]).encode('latin-1') + b'\r\n\r\n'


__all__ = ['Answer', 'Client', 'Delivery', 'Lines', 'Offloads', 'ScriptedExchange', 'Server', 'Wire', 'answers_in',
           'channel', 'echo', 'get', 'post', 'run_now']  # fmt: skip
