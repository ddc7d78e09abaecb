"""A frontend of the load balancer in memory: clients and servers are transports, and the clock is the test's."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost, ConnectionRefusedError
from twisted.internet.interfaces import IProtocol, IProtocolFactory
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from trial_tests.support.reactor import as_reactor
from zatotx.interfaces.load_balancer import (
    BalancingKey,
    ExchangeRecord,
    IBackend,
    IExchangeLog,
    ILocalResponder,
    IServerSlot,
    ITrafficCounters,
    LocalResponse,
    NoServerAvailableError,
    ServerUseOutcome,
)
from zatotx.lb.config.model import Backend, Configuration, Frontend, MainSettings
from zatotx.lb.frontend_interfaces import FrontendContext
from zatotx.lb.running_frontend import SWEEP_INTERVAL, RunningFrontend
from zatotx.plugins.http.test.memory_connections import Line

REFUSED = ConnectionRefusedError()


@implementer(IServerSlot)
class RecordedSlot:
    """A slot that records how its use ended."""

    def __init__(self, name: str, port: int, cookie: str = '') -> None:
        self.name, self.host, self.port, self.cookie = name, '127.0.0.1', port, cookie
        self.outcomes: list[ServerUseOutcome] = []

    def release(self, outcome: ServerUseOutcome) -> None:
        self.outcomes.append(outcome)


@implementer(IBackend)
class RoundRobinBackend:
    """Servers in turn. `is_full`: all requests queue until `admit`. `slots`: all that were given."""

    name = 'main'
    key_headers: Collection[str] = ()
    key_cookies: Collection[str] = ()

    def __init__(self, names: Collection[str], ports: Sequence[int] = ()) -> None:
        """`ports`: of the servers; 18000, 18001, ... if none are given."""
        self.names = list(names)
        self.ports = dict(zip(self.names, ports or range(18000, 18000 + len(self.names)), strict=True))
        self.is_full = False
        self.cookie = ''
        self.slots: list[RecordedSlot] = []
        self.keys: list[BalancingKey] = []
        self.queue: list[Deferred[IServerSlot]] = []
        self._turn = 0

    def acquire_now(self, key: BalancingKey, excluded: Collection[str] = ()) -> IServerSlot | None:
        self.keys.append(key)
        if self.is_full:
            return None
        usable = [name for name in self.names if name not in excluded]
        if not usable:
            raise NoServerAvailableError
        name = usable[self._turn % len(usable)]
        self._turn += 1
        slot = RecordedSlot(name, self.ports[name], self.cookie)
        self.slots.append(slot)
        return slot

    def acquire(self, key: BalancingKey, excluded: Collection[str] = ()) -> Deferred[IServerSlot]:
        waiter: Deferred[IServerSlot] = Deferred()
        self.queue.append(waiter)
        return waiter

    def admit(self) -> None:
        """Give a slot to the request that has waited longest."""
        self.is_full = False
        slot = self.acquire_now(BalancingKey('', {}, {}))
        assert slot is not None
        self.queue.pop(0).callback(slot)

    @property
    def outcomes(self) -> list[list[ServerUseOutcome]]:
        """How the use of each slot ended."""
        return [slot.outcomes for slot in self.slots]


@implementer(ITrafficCounters)
class NoCounters:
    """Counts nothing: the records have it all, so each exchange is to be logged."""

    def count(self, status: int, termination: str, received: int, sent: int, seconds: float) -> bool:
        return True

    def count_retry(self) -> None:
        """Count nothing."""


@implementer(IExchangeLog, ILocalResponder)
class RecordedLog(list[ExchangeRecord]):
    """Keeps the records, and has one page, `/zato-lb-stats`."""

    def counters(self, frontend: str, backend: str) -> ITrafficCounters:
        return NoCounters()

    def log(self, record: ExchangeRecord, *, is_written: bool) -> None:
        self.append(record)

    def respond(
        self, method: str, path: bytes, query: bytes, headers: Mapping[bytes, bytes]
    ) -> LocalResponse | None:
        return LocalResponse(200, 'text/html', b'<p>statistics') if path == b'/zato-lb-stats' else None

    @property
    def endings(self) -> list[tuple[int, str]]:
        """Status and termination of each exchange."""
        return [(record.status, record.termination) for record in self]


class ClientLine(Line):
    """A client's connection, seen from the client."""

    def __init__(self, clock: Clock, address: str) -> None:
        super().__init__(clock)
        self.peerAddr = IPv4Address('TCP', address, 40000)

    def half_close(self) -> None:
        """Send no more."""
        self.protocol.readConnectionLost()


class MemoryFrontend:
    """A frontend in front of servers that a test plays: `servers` are their connections in the order of opening.
    `accepts`: whether attempts to connect succeed at once, or the error with which they fail."""

    def __init__(
        self, settings: Frontend | None = None, backend: Backend | None = None, *,
        servers: Collection[str] = ('one', 'two'), directory: str = '.', **more: Any,
    ) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.backend = RoundRobinBackend(servers)
        self.log = RecordedLog()
        self.servers: list[Line] = []
        self.dialed: list[int] = []
        self.pending: list[tuple[IProtocolFactory, Deferred[IProtocol]]] = []
        self.accepts: bool | Exception = True
        self.refused: dict[int, Exception] = {}  # by port
        self.frontend = RunningFrontend(FrontendContext(
            name='main', reactor=as_reactor(self.clock), directory=directory, find_backend=self._find,
            exchange_log=self.log, local_responder=self.log,
        ), dial=self._dial)  # fmt: skip
        self.apply(settings or Frontend(listen=('127.0.0.1:0',), default_backend='main'), backend, **more)

    def apply(self, settings: Frontend, backend: Backend | None = None, **more: Any) -> None:
        """Put a configuration into force."""
        configuration = Configuration(main=MainSettings(cluster='test'), frontends={'main': settings},
                                      backends={'main': backend or Backend(mode=settings.mode)}, **more)  # fmt: skip
        self.frontend.prepare(configuration).commit()

    def client(self, data: bytes = b'', address: str = '203.0.113.9') -> ClientLine:
        """Connect a client, which sends `data`."""
        line = ClientLine(self.clock, address)
        line.protocol = self.frontend.factory.buildProtocol(line.peerAddr)
        line.protocol.makeConnection(line)
        if data:
            line.say(data)
        return line

    def wait(self, seconds: float) -> None:
        """Advance the clock, one sweep at a time."""
        end = self.clock.seconds() + seconds
        while self.clock.seconds() < end - 1e-9:
            self.clock.advance(min(SWEEP_INTERVAL, end - self.clock.seconds()))

    def connect(self) -> Line:
        """Let the oldest pending attempt to connect succeed."""
        factory, done = self.pending.pop(0)
        line = self._made(factory)
        done.callback(line.protocol)
        return line

    def _find(self, name: str) -> IBackend:
        if name != 'main':
            raise LookupError(name)
        return self.backend

    def _dial(self, host: str, port: int, factory: IProtocolFactory, timeout: float) -> Deferred[IProtocol]:
        self.dialed.append(port)
        done: Deferred[IProtocol] = Deferred()
        error = self.refused.get(port) or self.accepts
        if isinstance(error, Exception):
            done.errback(error)
        elif self.accepts:
            done.callback(self._made(factory).protocol)
        else:
            self.pending.append((factory, done))
        return done

    def _made(self, factory: IProtocolFactory) -> Line:
        line = Line(self.clock)
        line.protocol = factory.buildProtocol(None)  # type: ignore[arg-type]
        self.servers.append(line)
        line.protocol.makeConnection(line)
        return line


class LoadBalancerTests(SynchronousTestCase):
    """The base class of tests with a frontend in memory."""

    def exchanged(self, memory: MemoryFrontend, request: bytes, response: bytes) -> tuple[bytes, bytes]:
        """Send a request of a new client; returns what the server has received, and the client."""
        client = memory.client(request)
        server = memory.servers[-1]
        received = server.taken()
        server.say(response)
        return received, client.taken()

    def assert_over(self, memory: MemoryFrontend) -> None:
        """Check that each slot was given back exactly once."""
        self.assertEqual([len(outcomes) for outcomes in memory.backend.outcomes], [1] * len(memory.backend.slots))


__all__ = [
    'REFUSED',
    'ClientLine',
    'ConnectionLost',
    'Line',
    'LoadBalancerTests',
    'MemoryFrontend',
    'RoundRobinBackend',
    'ServerUseOutcome',
]  # fmt: skip
