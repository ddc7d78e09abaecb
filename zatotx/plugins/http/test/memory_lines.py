"""The client in memory: connections that are made when a test says so, on a clock that stands until it is moved."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.interfaces import IProtocol, IProtocolFactory
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from zatotx.plugins.http.client.call import HttpRequest, HttpResponse, Origin, ResponseStream
from zatotx.plugins.http.client.client import Client
from zatotx.plugins.http.client.pending_call import CallEnvironment
from zatotx.plugins.http.client.pool import PoolLimits
from zatotx.plugins.http.client.timeout_sweeper import INTERVAL

ORIGIN = Origin('http', 'peer.example', 80)
OK = b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'


class Line(StringTransport):
    """One connection, seen from the peer: what came is `value()`. It ends as TCP connections do, in the next turn."""

    protocol: Any

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self.aborted = False
        self.over = False

    def setTcpNoDelay(self, enabled: bool) -> None:
        self.no_delay = enabled

    def loseConnection(self) -> None:
        self.disconnecting = True
        self._clock.callLater(0, self.end, ConnectionDone())

    def abortConnection(self) -> None:
        self.aborted = True
        self._clock.callLater(0, self.end, ConnectionAborted())

    def say(self, data: bytes) -> None:
        """The peer sends something."""
        self.protocol.dataReceived(data)

    def end(self, error: Exception | None = None) -> None:
        """The peer closes; or the connection ends by an error."""
        if not self.over:
            self.over = True
            self.protocol.connectionLost(Failure(error or ConnectionDone()))

    @property
    def closed(self) -> bool:
        """Whether the client has ended it."""
        return self.aborted or self.disconnecting

    def taken(self) -> bytes:
        """What has come since the last look."""
        data: bytes = self.value()
        self.clear()
        return data


class Dialing:
    """An attempt to connect."""

    def __init__(self, clock: Clock, factory: IProtocolFactory, deadline: float) -> None:
        self._clock = clock
        self._factory = factory
        self.deadline = deadline
        self.cancelled = False
        self.done: Deferred[IProtocol] = Deferred(self._cancel)

    def connect(self) -> Line:
        """It succeeds."""
        line = self.made()
        self.done.callback(line.protocol)
        return line

    def made(self) -> Line:
        """There is a connection, of which the caller was not told yet."""
        line = Line(self._clock)
        line.protocol = self._factory.buildProtocol(None)  # type: ignore[arg-type]
        line.protocol.makeConnection(line)
        return line

    def _cancel(self, done: Deferred[IProtocol]) -> None:
        self.cancelled = True


class Memory:
    """A client whose connections are in memory. `at_once`: they are made, or fail with this, as soon as asked for."""

    def __init__(self, at_once: bool | Exception = True, **bounds: Any) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.at_once = at_once
        self.dialings: list[Dialing] = []
        self.lines: list[Line] = []
        self.shared = CallEnvironment(self.clock)
        self.client = Client(self.shared, self._dial, PoolLimits(**bounds))

    def send(self, method: str = 'GET', **more: Any) -> Deferred[HttpResponse]:
        """Send a request."""
        return self.client.send(HttpRequest(method, ORIGIN, **more))

    def wait(self, seconds: float) -> None:
        """Let time pass, a look at the deadlines at a time."""
        end = self.clock.seconds() + seconds
        while self.clock.seconds() < end - 1e-9:
            self.clock.advance(min(INTERVAL / 2, end - self.clock.seconds()))

    @property
    def counts(self) -> tuple[int, int, int]:
        """Connections that are busy, that are idle; calls that wait."""
        return self.client.active, self.client.idle, self.client.waiting

    def _dial(self, origin: Origin, factory: IProtocolFactory, deadline: float) -> Deferred[IProtocol]:
        dialing = Dialing(self.clock, factory, deadline)
        self.dialings.append(dialing)
        if self.at_once is True:
            self.lines.append(dialing.connect())
        elif self.at_once is not False:
            dialing.done.errback(self.at_once)
        return dialing.done


class InMemory(SynchronousTestCase):
    """A test of a client in memory."""

    def failed(self, sending: Deferred[Any], *errors: type[Exception]) -> Any:
        """The error of a call that has failed."""
        return self.failureResultOf(sending, *errors).value

    def streamed(self, sending: Deferred[HttpResponse]) -> ResponseStream:
        """The body of an answer that comes in a stream."""
        body = self.successResultOf(sending).body
        assert not isinstance(body, bytes)
        return body

    def clean(self, memory: Memory, idle: int = 0) -> None:
        """Nothing is left of any call."""
        memory.clock.advance(0)
        self.assertEqual((memory.counts, len(memory.shared.deadlines)), ((0, idle, 0), 0))


__all__ = ['OK', 'ORIGIN', 'CancelledError', 'Dialing', 'InMemory', 'Line', 'Memory']
