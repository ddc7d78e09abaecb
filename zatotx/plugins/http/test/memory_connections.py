"""The HTTP client with in-memory connections, which are opened when a test says so, on a clock that tests advance."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.interfaces import IProtocol, IProtocolFactory
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from zatotx.plugins.http.client.connection_pool import PoolLimits
from zatotx.plugins.http.client.http_client import HttpClient
from zatotx.plugins.http.client.http_messages import BodyStream, HttpRequest, HttpResponse, Origin
from zatotx.plugins.http.client.pending_call import SWEEP_INTERVAL, SharedCallResources

ORIGIN = Origin('http', 'peer.example', 80)
OK = b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'


class Line(StringTransport):
    """One connection seen from the peer. `value()` is what it received. As with TCP, it ends in the next reactor
    iteration."""

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
        """Send data to the client."""
        self.protocol.dataReceived(data)

    def end(self, error: Exception | None = None) -> None:
        """Close the connection, in an orderly way or with an error."""
        if not self.over:
            self.over = True
            self.protocol.connectionLost(Failure(error or ConnectionDone()))

    @property
    def closed(self) -> bool:
        """Whether the client has closed the connection."""
        return self.aborted or self.disconnecting

    def taken(self) -> bytes:
        """Return the data received since the last call."""
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
        """Let the attempt succeed."""
        line = self.made()
        self.done.callback(line.protocol)
        return line

    def made(self) -> Line:
        """Create the connection without reporting it to the caller yet."""
        line = Line(self._clock)
        line.protocol = self._factory.buildProtocol(None)  # type: ignore[arg-type]
        line.protocol.makeConnection(line)
        return line

    def _cancel(self, done: Deferred[IProtocol]) -> None:
        self.cancelled = True


class Memory:
    """A client whose connections are in memory. `at_once`: attempts succeed at once, or fail with this error."""

    def __init__(self, at_once: bool | Exception = True, **bounds: Any) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.at_once = at_once
        self.dialings: list[Dialing] = []
        self.lines: list[Line] = []
        self.shared = SharedCallResources(self.clock)
        self.client = HttpClient(self.shared, self._dial, PoolLimits(**bounds))

    def send(self, method: str = 'GET', **more: Any) -> Deferred[HttpResponse]:
        """Send a request."""
        return self.client.send(HttpRequest(method, ORIGIN, **more))

    def wait(self, seconds: float) -> None:
        """Advance the clock, one timeout sweep at a time."""
        end = self.clock.seconds() + seconds
        while self.clock.seconds() < end - 1e-9:
            self.clock.advance(min(SWEEP_INTERVAL / 2, end - self.clock.seconds()))

    @property
    def counts(self) -> tuple[int, int, int]:
        """Return the number of busy connections, of idle connections, and of waiting calls."""
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
    """Base class for tests with an in-memory client."""

    def failed(self, sending: Deferred[Any], *errors: type[Exception]) -> Any:
        """Return the error of a failed call."""
        return self.failureResultOf(sending, *errors).value

    def streamed(self, sending: Deferred[HttpResponse]) -> BodyStream:
        """Return the body of a streamed response."""
        body = self.successResultOf(sending).body
        assert not isinstance(body, bytes)
        return body

    def clean(self, memory: Memory, idle: int = 0) -> None:
        """Check that no state of any call is left."""
        memory.clock.advance(0)
        self.assertEqual((memory.counts, len(memory.shared.timeout_sweeper)), ((0, idle, 0), 0))


__all__ = ['OK', 'ORIGIN', 'CancelledError', 'Dialing', 'InMemory', 'Line', 'Memory']
