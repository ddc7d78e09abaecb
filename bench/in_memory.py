"""The path of a request in one process without a reactor, for `bench.instructions` to count.

Everything from the socket of the client on is the real thing: HTTP server, dispatcher, Basic auth, codecs, services,
HTTP client, metrics. The transports of other systems and the access log are in memory and the clock stands still, so
that no timer and no thread adds to the count. The kernel's part is not counted.

    python -m bench.in_memory 256 < /dev/null

Prints "ready" with the names of the subjects, and waits for the end of its input before the first request, so that
`bench.instructions` can turn the instrumentation on: the start takes a third of the time without it. Each subject is
warmed up; `os.getppid()` is called before and after its requests, where callgrind writes a count
(`--dump-before=getppid`).
"""

from __future__ import annotations

import gc
import os
import socket
import sys
from base64 import b64encode
from collections.abc import Callable
from functools import partial
from select import select
from typing import Any, cast

from argon2 import PasswordHasher
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IReactorFDSet
from twisted.internet.task import Clock
from twisted.internet.tcp import Server
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from bench import lb_in_memory
from trial_tests.support.reactor import as_reactor
from zatotx import Service
from zatotx.interfaces.connector_kind import ChannelContext, ILineSink, OutgoingContext
from zatotx.metrics.meters import MeterRegistry
from zatotx.node.gc_tuning import tune_gc
from zatotx.pipeline.codecs import CodecRegistry
from zatotx.pipeline.dispatcher import Dispatcher
from zatotx.pipeline.error_replies import ErrorReplies
from zatotx.pipeline.pipeline import Pipeline
from zatotx.pipeline.security.authentication_policy import AuthenticationPolicy
from zatotx.pipeline.security.password_verifier import PasswordVerifier
from zatotx.pipeline.security.secret_comparison import SecretComparison
from zatotx.plugins.http.channel import make_channel
from zatotx.plugins.http.outgoing import make_outgoing
from zatotx.plugins.http.schema import RestChannel, RestOutgoing, SoapChannel
from zatotx.plugins.http.soap.codec import make_codecs
from zatotx.rules.limits.concurrency_limit import DEFAULT_BUDGET
from zatotx.schema.snapshot import Snapshot, StoredObject
from zatotx.security.basic_auth import BasicAuth, BasicAuthAuthenticator
from zatotx.service.invoker import Invoker
from zatotx.service.outgoing import ConnectionNamespaces
from zatotx.service.service_entry import ServiceEntry
from zatotx.service.service_store import ServiceStore

WARM_UP = 64  # requests: caches are full, and CPython has specialized the bytecode
_MAX_RESPONSE = 64 * 1024  # bytes
_USER, _PASSWORD = 'bench.user', 'correct-horse-battery'
_JSON = b'{"customer": 123, "name": "Anna", "items": [1, 2, 3]}'
_ORDER = '<order><id>{0}</id><customer>Customer {0}</customer><city>Warszawa</city><total>{0}.50</total></order>'
_XML = f'<orders>{"".join(map(_ORDER.format, range(20)))}</orders>'.encode()
_ENVELOPE = b'<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>%b</s:Body></s:Envelope>'


class Echo(Service):
    """Answers with the payload."""

    name = 'bench.echo'

    async def handle(self) -> None:
        self.response.payload = self.request.payload


class Relay(Service):
    """Passes on the request, and the response of the peer, as they are."""

    name = 'bench.relay'

    async def handle(self) -> None:
        answer = await self.out.rest['bench.upstream'].post(self.request.raw_request)
        self.response.payload = answer.text


@implementer(ILineSink)
class LastLine:
    """A log file that keeps its last line."""

    json = False
    text = ''

    def write_line(self, text: str) -> None:
        self.text = text


class Wire(StringTransport):
    """One end of a TCP connection to another system in memory."""

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Nothing is delayed here."""

    def taken(self) -> bytes:
        """What was written since the last call."""
        data: bytes = self.value()
        self.clear()
        return data


@implementer(IReactorFDSet)
class MemoryReactor(Clock):
    """A clock that stands still, the descriptors of listeners' connections, and TCP connections to a peer that answers
    with the body of each request."""

    def __init__(self) -> None:
        super().__init__()
        self.advance(1000)
        self._wires: list[Any] = []
        readers: set[Any] = set()
        writers: set[Any] = set()
        self.addReader, self.removeReader = readers.add, readers.discard
        self.addWriter, self.removeWriter = writers.add, writers.discard
        self._readers, self._writers = readers, writers

    def getReaders(self) -> list[Any]:
        """Return what is read."""
        return list(self._readers)

    def getWriters(self) -> list[Any]:
        """Return what is written to."""
        return list(self._writers)

    def removeAll(self) -> list[Any]:
        """Return all descriptors; nothing removes them here."""
        return [*self._readers, *self._writers]

    def read(self) -> None:
        """Read the connections that have data, and make the calls that are due."""
        for reader in self._readers:
            reader.doRead()
        self.advance(0)

    def connectTCP(self, host: str, port: int, factory: Any, timeout: float | None = None) -> None:
        """Connect at once."""
        wire: Any = Wire()
        self._wires.append(wire)
        wire.protocol = factory.buildProtocol(wire.getPeer())
        wire.protocol.makeConnection(wire)

    def answer(self) -> None:
        """Answer every request that has come."""
        for wire in self._wires:
            body = wire.taken().partition(b'\r\n\r\n')[2]
            if body:
                wire.protocol.dataReceived(
                    b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b'
                    % (len(body), body)
                )


class Node:
    """What `self.server` is to services here: the outgoing connections."""

    def __init__(self, outgoing: ConnectionNamespaces) -> None:
        self.outgoing = outgoing


class Broker:
    """A server with a channel for each subject, and one client."""

    _factory: Any  # that the HTTP server listens with

    def __init__(self) -> None:
        self.reactor = MemoryReactor()
        self.lines = LastLine()
        self._meters = MeterRegistry()
        snapshot = Snapshot(1, _objects())
        channel = make_channel(ChannelContext(
            reactor=as_reactor(self.reactor), settings={'listen': ['tcp:17010']},
            line_sink=lambda name: self.lines, work_dir='.', run_in_thread=maybeDeferred,
            channel_meters=self._meters.channels, listen=self._listen,
        ))  # fmt: skip
        channel.start(Dispatcher(self._pipeline(snapshot), self.reactor))
        channel.apply(snapshot)
        with socket.create_server(('127.0.0.1', 0)) as listener:
            self._client = socket.create_connection(listener.getsockname())
            accepted, address = listener.accept()
        protocol = self._factory.buildProtocol(self._client.getsockname())
        reactor: Any = self.reactor
        self._transport = Server(accepted, protocol, address, cast('Any', None), 1, reactor)
        protocol.makeConnection(self._transport)

    def send(self, request: bytes) -> bytes:
        """The response to a request, on the one connection there is."""
        self._client.sendall(request)
        self.reactor.read()
        while True:
            try:
                return self._client.recv(_MAX_RESPONSE, socket.MSG_DONTWAIT)
            except BlockingIOError:
                self.reactor.answer()
                self.reactor.read()  # also of a request that the kernel had not delivered yet

    def close(self) -> None:
        """Close the connection of the client."""
        self._client.close()
        self._transport.connectionLost(Failure(ConnectionDone()))

    def _listen(self, description: str, factory: Any) -> Deferred[Any]:
        self._factory = factory
        return succeed(None)

    def _pipeline(self, snapshot: Snapshot) -> Pipeline:
        verifier = PasswordVerifier(maybeDeferred, SecretComparison(self.reactor))
        policy = AuthenticationPolicy({'basic_auth': partial(BasicAuthAuthenticator, verifier)})
        policy.apply(snapshot)
        http = make_outgoing(OutgoingContext(
            reactor=as_reactor(self.reactor), settings={}, run_in_thread=maybeDeferred, meters=self._meters.outgoing,
        ))  # fmt: skip
        http.apply(snapshot)
        store = ServiceStore([ServiceEntry.for_class(one) for one in (Echo, Relay)], self._meters.services.get)
        invoker = Invoker(
            as_reactor(self.reactor), cast('Any', None), node=Node(ConnectionNamespaces(http.namespaces))
        )
        return Pipeline(
            policy,
            store,
            invoker,
            CodecRegistry(DEFAULT_BUDGET, make_codecs(DEFAULT_BUDGET)),
            ErrorReplies(),
            maybeDeferred,
        )


def requests() -> dict[str, bytes]:
    """A request for each subject."""
    return {
        'echo': _request('echo', _JSON, 'Content-Type: application/json'),
        'relay': _request('relay', _JSON, 'Content-Type: application/json'),
        'xml': _request('xml', _XML, 'Content-Type: application/xml'),
        'soap': _request('soap', _ENVELOPE % _XML, 'Content-Type: text/xml; charset=utf-8', 'SOAPAction: "echo"'),
    }


def _request(path: str, body: bytes, *fields: str) -> bytes:
    credentials = b64encode(f'{_USER}:{_PASSWORD}'.encode()).decode()
    lines = [f'POST /{path} HTTP/1.1', 'Host: localhost:17010', f'Authorization: Basic {credentials}', *fields,
             f'Content-Length: {len(body)}']  # fmt: skip
    return '\r\n'.join(lines).encode() + b'\r\n\r\n' + body


def _objects() -> list[StoredObject]:
    hashed = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(_PASSWORD)
    rest = partial(RestChannel, security=_USER, method='POST')
    objects = [
        ('basic_auth', BasicAuth(name=_USER, username=_USER, password=hashed)),
        ('channel_rest', rest(name='echo', url_path='/echo', service=Echo.name, data_format='json')),
        ('channel_rest', rest(name='relay', url_path='/relay', service=Relay.name, data_format='json')),
        ('channel_rest', rest(name='xml', url_path='/xml', service=Echo.name, data_format='xml')),
        ('channel_soap', SoapChannel(name='soap', url_path='/soap', soap_action='echo', service=Echo.name,
                                     security=_USER)),
        ('outgoing_rest', RestOutgoing(name='bench.upstream', host='http://127.0.0.1:8080', url_path='/echo',
                                       data_format='json', proxy='none')),
    ]  # fmt: skip
    return [StoredObject(number, type_, value, 1) for number, (type_, value) in enumerate(objects, 1)]


def check(name: str, request: bytes, response: bytes) -> None:
    """Raises AssertionError where the response to a request is not its body; SOAP adds namespaces to the root."""
    sent, body = (data.partition(b'\r\n\r\n')[2].replace(b' ', b'') for data in (request, response))
    expected = _XML.removeprefix(b'<orders>').replace(b' ', b'') if name == 'soap' else sent
    if not response.startswith(b'HTTP/1.1 200 ') or expected not in body:
        raise AssertionError(f'{name}: the response is {response[:400]!r}')


def serve(broker: Broker, count: int, mark: Callable[[], object]) -> None:
    """Send so many requests for each subject, between two calls of `mark`."""
    for name, request in requests().items():
        for _ in range(WARM_UP):
            check(name, request, broker.send(request))
        gc.collect()
        mark()
        for _ in range(count):
            broker.send(request)
        mark()


def main(count: int) -> None:
    """The command."""
    broker = Broker()
    tune_gc()
    gc.disable()  # when it runs depends on what was allocated before
    print('\t'.join(('ready', *requests(), *lb_in_memory.SUBJECTS)), flush=True)
    while not select([sys.stdin], [], [], 0.001)[0]:
        pass  # valgrind hears of commands while the program runs; one that blocks must be traced with ptrace
    serve(broker, count, os.getppid)
    lb_in_memory.serve(count, os.getppid)


if __name__ == '__main__':
    main(int(sys.argv[1]))
