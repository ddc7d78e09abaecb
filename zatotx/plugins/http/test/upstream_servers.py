"""Peers of the HTTP client on loopback sockets: each responds as a test specifies, or misbehaves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IProtocolNegotiationFactory
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.ssl import (
    Certificate,
    CertificateOptions,
    PrivateCertificate,
    TLSVersion,
    trustRootFromCertificates,
)
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from zatotx.plugins.http.client.connector import AddressResolver
from zatotx.plugins.http.client.errors import CallFailed
from zatotx.plugins.http.client.http_client import ClientEnvironment, ClientSettings, HttpClientWithSenders, make_client
from zatotx.plugins.http.client.http_messages import HttpRequest, HttpResponse, Origin, Timeouts

reactor: Any = global_reactor
PATIENCE = 60.0  # seconds after which a test that waits for something gives up


class Request:
    """A request received by a peer."""

    def __init__(self, data: bytes) -> None:
        head, _, self.body = data.partition(b'\r\n\r\n')
        self.line, *lines = head.split(b'\r\n')
        self.method, self.target, _ = self.line.split(b' ')
        self.headers = {name.lower(): value for name, value in (line.split(b': ', 1) for line in lines)}


class Peer(Protocol):
    """One connection. `answer(peer, request)` is called for each complete request: its head, and the Content-Length of
    its body."""

    factory: Upstream

    def __init__(self) -> None:
        self._data = b''

    def connectionMade(self) -> None:
        self.factory.accepted += 1
        self.factory.peers.append(self)
        if self.factory.greets is not None:
            self.factory.greets(self)

    def dataReceived(self, data: bytes) -> None:
        if self.factory.deaf:
            transport: Any = self.transport
            transport.pauseProducing()
            return
        self._data += data
        while (end := self._data.find(b'\r\n\r\n') + 4) > 3:
            request = Request(self._data[:end])
            end += int(request.headers.get(b'content-length', b'0'))
            if len(self._data) < end:
                return
            request, self._data = Request(self._data[:end]), self._data[end:]
            self.factory.requests.append(request)
            self.factory.answer(self, request)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.factory.peers.remove(self)

    def say(self, data: bytes) -> None:
        transport: Any = self.transport
        transport.write(data)

    def close(self) -> None:
        transport: Any = self.transport
        transport.loseConnection()

    def reset(self) -> None:
        transport: Any = self.transport
        transport.abortConnection()


Answering = Callable[[Peer, Request], object]


@implementer(IProtocolNegotiationFactory)
class Upstream(Factory):
    """Listens on `port`. `peers` are the open connections. `deaf`: stop reading after the first bytes."""

    noisy = False

    def __init__(self, answer: Answering, *, greets: Callable[[Peer], object] | None = None) -> None:
        self.answer = answer
        self.greets = greets
        self.deaf = False
        self.accepted = 0
        self.peers: list[Peer] = []
        self.requests: list[Request] = []
        self.port = 0

    def buildProtocol(self, addr: IAddress | None) -> Any:
        peer = Peer()
        peer.factory = self
        return peer

    def acceptableProtocols(self) -> list[bytes]:
        return [b'http/1.1']


def says(status: bytes = b'200 OK', body: bytes = b'', *lines: bytes) -> Answering:
    """Send a response with a Content-Length."""
    head = b'\r\n'.join([b'HTTP/1.1 ' + status, b'Content-Length: %d' % len(body), *lines])
    return raw(head + b'\r\n\r\n' + body)


def raw(data: bytes) -> Answering:
    """Send these bytes, and keep the connection open."""

    def answer(peer: Peer, request: Request) -> None:
        peer.say(data)

    return answer


def ends(data: bytes, *, reset: bool = False) -> Answering:
    """Send these bytes, and close or reset the connection."""

    def answer(peer: Peer, request: Request) -> None:
        peer.say(data)
        if reset:
            reactor.callLater(0.05, peer.reset)  # so that the bytes are on their way
        else:
            peer.close()

    return answer


def silent(peer: Peer, request: Request) -> None:
    """Send nothing."""


def get(port: int, target: bytes = b'/', *, scheme: str = 'http', host: str = '127.0.0.1', **more: Any) -> HttpRequest:
    """Create a GET request."""
    return HttpRequest('GET', Origin(scheme, host, port), target, **more)


def post(port: int, body: bytes, target: bytes = b'/', *, scheme: str = 'http', host: str = '127.0.0.1',
         **more: Any) -> HttpRequest:
    """Create a POST request."""
    return HttpRequest('POST', Origin(scheme, host, port), target, body=body, **more)


def server_tls(pair: tuple[Path, Path], *, clients: Path | None = None, only: Any = None) -> CertificateOptions:
    """Create a server TLS context from the files of certificate and key. `clients`: the authority of client
    certificates that it requests. `only`: the only TLSVersion accepted."""
    own = PrivateCertificate.loadPEM(b''.join(path.read_bytes() for path in pair))
    more: dict[str, Any] = {}
    if clients is not None:
        more['trustRoot'] = trustRootFromCertificates([Certificate.loadPEM(clients.read_bytes())])
    if only is not None:
        more |= {'insecurelyLowerMinimumTo': only, 'lowerMaximumSecurityTo': only}
    return CertificateOptions(privateKey=own.privateKey.original, certificate=own.original, **more)


class WithPeers(TestCase):
    """Base class for tests with peers, and clients to call them."""

    def client(self, *, environ: Mapping[str, str] | None = None, resolver: AddressResolver | None = None,
               **settings: Any) -> HttpClientWithSenders:
        """Create a client from settings; it is closed at the end of the test, which checks that no state is left."""
        reach = ClientEnvironment(reactor, deferToThread, environ=environ or {}, resolver=resolver)
        client = make_client(ClientSettings(**settings), reach)
        self.addCleanup(self._end, client, reach)
        return client

    async def failed(self, sending: Deferred[HttpResponse], error: type[CallFailed]) -> str:
        """Return the error message of a failing call."""
        failing: Deferred[Any] = sending
        return str(await self.assertFailure(failing, error))

    def listen(self, answer: Answering, *, tls: CertificateOptions | None = None,
               greets: Callable[[Peer], object] | None = None) -> Upstream:
        """Start a peer that stops with the test."""
        upstream = Upstream(answer, greets=greets)
        factory: Any = upstream if tls is None else TLSMemoryBIOFactory(tls, False, upstream)
        port = reactor.listenTCP(0, factory, interface='127.0.0.1')
        self.addCleanup(self._close, port, upstream)
        upstream.port = port.getHost().port
        return upstream

    async def until(self, condition: Callable[[], object], seconds: float = PATIENCE) -> None:
        """Wait until a condition is true."""
        end = reactor.seconds() + seconds
        while not condition():
            if reactor.seconds() > end:
                self.fail(f'not within {seconds} s')
            await deferLater(reactor, 0.01)

    async def _end(self, client: HttpClientWithSenders, reach: ClientEnvironment) -> None:
        await client.close()
        core = client.client
        self.assertEqual((core.active, core.idle, core.waiting), (0, 0, 0))
        await self.until(lambda: not reach.call_environment.timeout_sweeper.running)

    async def _close(self, port: Any, upstream: Upstream) -> None:
        await port.stopListening()
        for peer in upstream.peers[:]:
            peer.reset()
        await self.until(lambda: not upstream.peers)


__all__ = ['PATIENCE', 'Answering', 'Peer', 'Request', 'TLSVersion', 'Timeouts', 'Upstream', 'WithPeers', 'ends', 'get',
           'post', 'raw', 'reactor', 'says', 'server_tls', 'silent']  # fmt: skip
