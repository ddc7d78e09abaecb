"""Scripted peers on loopback sockets for tests of the HTTP client: each sends exactly the bytes that a test
specifies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.interfaces import IProtocol, IProtocolFactory
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from zatotx.plugins.http.client.connection_pool import PoolLimits
from zatotx.plugins.http.client.errors import CallFailed
from zatotx.plugins.http.client.http_client import HttpClient
from zatotx.plugins.http.client.http_messages import BodyStream, HttpRequest, HttpResponse, Origin
from zatotx.plugins.http.client.pending_call import SharedCallResources

reactor: Any = global_reactor
PATIENCE = 60.0  # seconds after which a test that waits for something gives up
OK = b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'


class Talk(Protocol):
    """One connection from the peer's side. `heard` is everything it received."""

    transport: Any

    def __init__(self, hears: Callable[[Talk], object]) -> None:
        self._hears = hears
        self.heard: Any = bytearray()  # grows by megabytes in some tests
        self.over = False
        self.lost: Failure | None = None

    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)

    def dataReceived(self, data: bytes) -> None:
        self.heard += data
        self._hears(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.over = True
        self.lost = reason

    def say(self, data: bytes) -> None:
        self.transport.write(data)

    def close(self) -> None:
        self.transport.loseConnection()

    def reset(self) -> None:
        self.transport.abortConnection()

    def freeze(self) -> None:
        """Stop reading."""
        self.transport.pauseProducing()

    @property
    def asked(self) -> int:
        """Number of request heads received."""
        return int(self.heard.count(b'\r\n\r\n'))


class Listener(Factory):
    """Listens on `port`; `talks` are its connections, oldest first."""

    noisy = False

    def __init__(self, hears: Callable[[Talk], object]) -> None:
        self.hears = hears
        self.talks: list[Talk] = []
        self.port = 0

    def buildProtocol(self, addr: Any) -> Talk:
        talk = Talk(lambda talk: self.hears(talk))
        self.talks.append(talk)
        return talk

    @property
    def talk(self) -> Talk:
        """The newest connection."""
        return self.talks[-1]


def answers(data: bytes = OK) -> Callable[[Talk], object]:
    """Answer every request head with this, and ignore bodies."""

    def hear(talk: Talk) -> None:
        if talk.heard.endswith(b'\r\n\r\n'):
            talk.say(data)

    return hear


def silent(talk: Talk) -> None:
    """Send nothing."""


def dial(origin: Origin, factory: IProtocolFactory, deadline: float) -> Deferred[IProtocol]:
    """Connect with plain TCP."""
    connecting: Deferred[IProtocol] = TCP4ClientEndpoint(reactor, origin.host, origin.port).connect(factory)
    return connecting


class WithCore(TestCase):
    """Base class for tests of the HTTP client with scripted peers."""

    def core(self, **bounds: Any) -> HttpClient:
        """Create a client that must have no occupied slot and no pending timeout at the end of the test."""
        shared = SharedCallResources(reactor)
        client = HttpClient(shared, dial, PoolLimits(**bounds))
        self.addCleanup(self._end, client, shared)
        return client

    def listen(self, hears: Callable[[Talk], object]) -> Listener:
        """Start a peer that stops with the test."""
        listener = Listener(hears)
        port = reactor.listenTCP(0, listener, interface='127.0.0.1')
        self.addCleanup(self._hang_up, port, listener)
        listener.port = port.getHost().port
        return listener

    def call(self, listener: Listener, method: str = 'GET', **more: Any) -> HttpRequest:
        """Create a request to the peer."""
        return HttpRequest(method, Origin('http', '127.0.0.1', listener.port), **more)

    async def failed(self, sending: Deferred[Any], *errors: type[CallFailed]) -> Any:
        """Return the error of a failing call."""
        return await self.assertFailure(sending, *errors)

    async def streamed(self, sending: Deferred[HttpResponse]) -> BodyStream:
        """Return the body of a streamed response."""
        answer = await sending
        assert not isinstance(answer.body, bytes)
        return answer.body

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until a condition is true."""
        end = reactor.seconds() + PATIENCE
        while not condition():
            if reactor.seconds() > end:
                self.fail(f'not within {PATIENCE} s')
            await pause(0.005)

    def clean(self, client: HttpClient, idle: int = 0) -> None:
        """Check that no state of any call is left."""
        self.assertEqual((client.active, client.idle, client.waiting), (0, idle, 0))

    async def _end(self, client: HttpClient, shared: SharedCallResources) -> None:
        await client.close()
        self.clean(client)
        await self.until(lambda: not shared.timeout_sweeper.running)

    async def _hang_up(self, port: Any, listener: Listener) -> None:
        await port.stopListening()
        for talk in listener.talks:
            talk.reset()
        await self.until(lambda: all(talk.over for talk in listener.talks))


def pause(seconds: float) -> Deferred[None]:
    return deferLater(reactor, seconds)


__all__ = ['OK', 'PATIENCE', 'Listener', 'Talk', 'WithCore', 'answers', 'dial', 'pause', 'reactor', 'silent']
