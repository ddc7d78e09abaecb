"""A load balancer in one process without a reactor or a kernel, for `bench.in_memory` and `bench.instructions`.

Everything between the sockets is the real thing: transports of Twisted, parsers, balancing, header rules, counters, the
log line of each request. The sockets are in memory, and the servers respond at once.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any, cast

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IProtocol, IProtocolFactory
from twisted.internet.task import Clock
from twisted.internet.tcp import Connection as TcpConnection
from zope.interface import implementer

from trial_tests.support.reactor import as_reactor
from zatotx.interfaces.connector_kind import ILineSink
from zatotx.interfaces.load_balancer import ILocalResponder
from zatotx.lb.backends.backend_registry import BackendRegistry
from zatotx.lb.config.model import Backend, Configuration, Frontend, MainSettings, Server
from zatotx.lb.frontend_interfaces import FrontendContext
from zatotx.lb.running_frontend import RunningFrontend
from zatotx.lb.statistics.exchange_counters import ExchangeCounters

# Names, and whether each request is logged.
SUBJECTS = {'balancer': False, 'balancer, with the log of requests': True}
WARM_UP = 64  # requests of each client
CLIENTS = 16  # connections whose requests arrive together, as under load
_BODY = b'{"customer": 123, "name": "Anna", "items": [1, 2, 3]}'
REQUEST = b'GET /orders?customer=123 HTTP/1.1\r\nHost: localhost:11223\r\nAccept: application/json\r\n\r\n'
_RESPONSE = (
    b'HTTP/1.1 200 OK\r\nServer: zatotx\r\nContent-Type: application/json\r\nDate: Mon, 30 Nov 2026 12:00:00 GMT\r\n'
    b'X-Zato-CID: K05J4Z0ABNVXQ8C5M2\r\nContent-Length: %d\r\n\r\n%b' % (len(_BODY), _BODY)
)  # fmt: skip


class MemorySocket:
    """The socket of a connection: `arrived` is read from it, `sent` was written to it."""

    def __init__(self) -> None:
        self.arrived = self.sent = b''

    def recv(self, _size: int) -> bytes:
        data, self.arrived = self.arrived, b''
        return data

    def send(self, data: bytes) -> int:
        self.sent += data
        return len(data)

    def taken(self) -> bytes:
        """What was written since the last call."""
        data, self.sent = self.sent, b''
        return data

    def fileno(self) -> int:
        return -1

    def setblocking(self, _flag: bool) -> None:
        """Nothing blocks here."""

    def setsockopt(self, *_arguments: int) -> None:
        """Nothing is delayed here."""


class _Reactor(Clock):
    """A clock that stands still, whose `seconds` costs as little as that of the real reactor, and readers that nobody
    polls."""

    seconds = staticmethod((1000.0).__float__)

    def addReader(self, _reader: object) -> None:
        """Nothing is polled here."""

    removeReader = addWriter = removeWriter = addReader


class _Transport(TcpConnection):
    """The transport of a connection that the load balancer has accepted or opened."""

    def __init__(self, protocol: Any, port: int, reactor: Any) -> None:
        self.wire = MemorySocket()
        super().__init__(cast(Any, self.wire), protocol, reactor)
        self._peer = IPv4Address('TCP', '203.0.113.9', port)
        self.connected = 1
        protocol.makeConnection(self)

    def getPeer(self) -> IPv4Address:
        return self._peer

    getHost = getPeer


@implementer(ILineSink)
class _LastLine:
    """A log file that keeps its last line."""

    json = False
    text = ''

    def write_line(self, text: str) -> None:
        self.text = text


@implementer(ILocalResponder)
class _NoPages:
    """There are no pages here."""

    def respond(self, *_arguments: object) -> None:
        return None


class Proxy:
    """A frontend in HTTP mode, its clients, and two servers."""

    def __init__(self, *, is_logged: bool) -> None:
        self.reactor = _Reactor()
        self.lines = _LastLine()
        self._servers: list[_Transport] = []
        configuration = Configuration(
            main=MainSettings(cluster='bench'),
            frontends={'main': Frontend(listen=('127.0.0.1:11223',), default_backend='main', log=is_logged)},
            backends={'main': Backend(servers={name: Server(host='127.0.0.1', port=port)
                                               for name, port in (('server1', 17010), ('server2', 17011))})},
        )  # fmt: skip
        registry = BackendRegistry(clock=self.reactor)
        registry.apply(configuration)
        counters = ExchangeCounters(self.reactor, registry, lines=self.lines,
                                    frontends=lambda: {'main': frontend})  # fmt: skip
        frontend = RunningFrontend(FrontendContext(
            name='main', reactor=as_reactor(self.reactor), directory='.', find_backend=registry.find,
            exchange_log=counters, local_responder=_NoPages(),
        ), dial=self._dial)  # fmt: skip
        frontend.prepare(configuration).commit()
        self._clients = [
            _Transport(frontend.build_protocol(IPv4Address('TCP', '203.0.113.9', port)), port, self.reactor)
            for port in range(40_000, 40_000 + CLIENTS)
        ]

    def send(self, request: bytes) -> bytes:
        """Have each client send a request. Returns the response to the first one."""
        for client in self._clients:
            client.wire.arrived = request
            client.doRead()
        self.reactor.advance(0)
        self._respond()
        self.reactor.advance(0)
        first, *_ = [client.wire.taken() for client in self._clients]
        return first

    def _respond(self) -> None:
        for server in self._servers:
            if server.wire.taken():
                server.wire.arrived = _RESPONSE
                server.doRead()

    def _dial(self, host: str, port: int, factory: IProtocolFactory, timeout: float) -> Deferred[IProtocol]:
        protocol: Any = factory.buildProtocol(IPv4Address('TCP', host, port))
        self._servers.append(_Transport(protocol, port, self.reactor))
        return succeed(protocol)


def serve(count: int, mark: Callable[[], object]) -> None:
    """Send about so many requests for each of SUBJECTS, between two calls of `mark`."""
    for subject, is_logged in SUBJECTS.items():
        proxy = Proxy(is_logged=is_logged)
        for _ in range(WARM_UP):
            if not proxy.send(REQUEST).endswith(_BODY):
                raise AssertionError(f'{subject}: the response is wrong')
        gc.collect()
        mark()
        for _ in range(count // CLIENTS):
            proxy.send(REQUEST)
        mark()
