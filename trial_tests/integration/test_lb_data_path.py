"""The data path of the load balancer between real sockets: TLS, PROXY headers, TCP mode, and clients that misbehave."""

from __future__ import annotations

import hashlib
import shutil
import socket
import ssl
import time
from base64 import b64encode
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pika
import psycopg
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.logger import LogEvent, capturedLogs, formatEvent
from twisted.trial.unittest import TestCase

from trial_tests.support.authority import Authority
from trial_tests.support.issuing import HOUR, Issued, Issuer
from trial_tests.support.lb_memory import RecordedLog, RoundRobinBackend
from trial_tests.support.postgresql import PASSWORD
from trial_tests.support.postgresql import shared as shared_postgresql
from trial_tests.support.rabbitmq import PASSWORD as RABBITMQ_PASSWORD
from trial_tests.support.rabbitmq import USER
from trial_tests.support.rabbitmq import shared as shared_rabbitmq
from trial_tests.support.rawhttp import Connection, request_bytes
from trial_tests.support.reactor import reactor
from trial_tests.support.waiting import allowed
from zatotx.interfaces.connector_kind import ChannelContext
from zatotx.lb.config.model import (
    Backend,
    ClientTimeouts,
    Configuration,
    Frontend,
    ListenerTls,
    MainSettings,
    Server,
    ServerTls,
)
from zatotx.lb.frontend_interfaces import FrontendContext
from zatotx.lb.running_frontend import SWEEP_INTERVAL, RunningFrontend
from zatotx.lb.tls.tls_listener import WATCH_INTERVAL
from zatotx.plugins.http.channel import HTTPChannel
from zatotx.plugins.http.test.server_doubles import Lines, ScriptedExchange, channel
from zatotx.plugins.http.test.upstream_servers import Answering, Peer, Request, Upstream, ends, says, silent
from zatotx.processes.proxy_protocol_endpoint import ProxyProtocolFactory
from zatotx.schema.snapshot import Snapshot

_LISTEN = ('127.0.0.1:0',)


def echo(peer: Peer, request: Request) -> None:
    """Answer with the body of the request."""
    says(body=request.body)(peer, request)


class DataPathTests(TestCase):
    """The base class: a frontend on a real port, and servers in the same reactor."""

    timeout = 60

    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.log = RecordedLog()

    def listen(self, factory: Any) -> int:
        """Listen on a free port until the test ends."""
        port: IListeningPort = reactor.listenTCP(0, factory, backlog=2048, interface='127.0.0.1')
        self.addCleanup(port.stopListening)
        address: Any = port.getHost()
        return int(address.port)

    def upstream(self, answer: Answering = echo) -> Upstream:
        """Start a server."""
        server = Upstream(answer)
        server.port = self.listen(server)
        return server

    def serve(self, ports: Sequence[int], settings: Frontend | None = None, backend: Backend | None = None) -> int:
        """Start a frontend in front of servers; returns its port."""
        settings = settings or Frontend(listen=_LISTEN, default_backend='main')
        self.backend = RoundRobinBackend([f'server{port}' for port in ports], ports)
        self.frontend = RunningFrontend(FrontendContext(
            name='main', reactor=reactor, directory=str(self.directory), find_backend=lambda name: self.backend,
            exchange_log=self.log, local_responder=self.log,
        ))  # fmt: skip
        self.frontend.prepare(Configuration(
            main=MainSettings(cluster='test'), frontends={'main': settings},
            backends={'main': backend or Backend(mode=settings.mode)},
        )).commit()  # fmt: skip
        self.addCleanup(self._stop, self.frontend)
        return self.listen(self.frontend.factory)

    async def _stop(self, frontend: RunningFrontend) -> None:
        frontend.stop()
        await frontend.wait_idle()
        await deferLater(reactor, SWEEP_INTERVAL * 1.2)

    def ask(self, port: int, **fields: Any) -> Deferred[Any]:
        """Send a request in a thread; returns the response."""
        return deferToThread(self._ask, port, **fields)

    def _ask(self, port: int, method: str = 'GET', target: str = '/', headers: dict[str, str] | None = None,
             body: bytes = b'') -> Any:
        connection = Connection(port)
        try:
            connection.send(request_bytes(method, target, headers, body))
            return connection.answer(method=method)
        finally:
            connection.drop()


class SocketTests(DataPathTests):
    async def test_large_bodies(self) -> None:
        """Megabytes pass both ways unchanged, however the sockets cut them."""
        port = self.serve([self.upstream().port])
        body = hashlib.sha512(b'seed').digest() * 100_000  # 6.4 MB
        answer = await self.ask(port, method='POST', body=body)
        self.assertEqual((answer.status, answer.body == body), (200, True))
        record, = self.log
        self.assertEqual((record.received_bytes, record.termination), (len(body), '--'))

    async def test_servers_that_die(self) -> None:
        """While two of three servers refuse connections, every request is answered by the third one."""
        dead = [socket.socket(), socket.socket()]
        for each in dead:
            each.bind(('127.0.0.1', 0))
            self.addCleanup(each.close)
        port = self.serve([*(each.getsockname()[1] for each in dead), self.upstream().port])
        statuses = [(await self.ask(port, method='POST', body=b'x')).status for _ in range(6)]
        self.assertEqual(statuses, [200] * 6)

    async def test_idle_connection_that_the_server_closes(self) -> None:
        """A server that closes its idle connections as it stops costs no request, not even one that cannot be sent
        twice, although the reactor has not noticed the end of the connection yet."""
        server = self.upstream()
        port = self.serve([server.port])
        client = await deferToThread(socket.create_connection, ('127.0.0.1', port), 20)
        self.addCleanup(client.close)
        post = request_bytes('POST', '/', body=b'hello')
        client.sendall(post)
        while not self.log:
            await deferLater(reactor, 0.01)
        transport: Any = server.peers[0].transport
        transport.getHandle().shutdown(socket.SHUT_RDWR)
        connection: Any = next(iter(self.frontend._connections))
        connection.dataReceived(post)
        while len(self.log) < 2:
            await deferLater(reactor, 0.01)
        self.assertEqual([record.status for record in self.log], [200, 200])
        self.assertEqual((server.accepted, self.log[1].retries), (2, 0))

    async def test_frozen_server(self) -> None:
        """Requests to other servers are not delayed by one that never answers."""
        frozen, alive = self.upstream(silent), self.upstream()
        port = self.serve([frozen.port, alive.port])
        stuck = self.ask(port)
        while not frozen.requests:
            await deferLater(reactor, 0.01)
        self.backend.names.pop(0)
        started = time.monotonic()
        for _ in range(20):
            self.assertEqual((await self.ask(port)).status, 200)
        self.assertLess(time.monotonic() - started, allowed(5))
        frozen.peers[0].reset()
        self.assertEqual((await stuck).status, 200)  # it was sent again, to the other server

    async def test_client_that_hangs_up(self) -> None:
        """A client that closes its connection before the response ends the request at the server. One that has only
        ended its direction gets its response."""
        server = self.upstream(silent)
        port = self.serve([server.port])
        gone, waiting = (socket.create_connection(('127.0.0.1', port), 20) for _ in range(2))
        for client in (gone, waiting):
            client.sendall(request_bytes('GET', '/'))
        while len(server.requests) < 2:
            await deferLater(reactor, 0.01)
        gone.close()
        waiting.shutdown(socket.SHUT_WR)
        while len(server.peers) > 1:
            await deferLater(reactor, 0.02)
        self.assertEqual([(record.status, record.termination) for record in self.log], [(0, 'CH')])
        server.peers[0].say(b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok')

        def rest() -> bytes:
            data = b''
            while piece := waiting.recv(1000):
                data += piece
            waiting.close()
            return data

        self.assertTrue((await deferToThread(rest)).endswith(b'Connection: close\r\n\r\nok'))

    async def test_half_open_connections(self) -> None:
        """A thousand clients that send half a head do not keep others from being served, and are closed in time."""
        settings = Frontend(listen=_LISTEN, default_backend='main', timeouts=ClientTimeouts(request=2))
        port = self.serve([self.upstream().port], settings)
        clients = await deferToThread(self._open_halves, port, 1000)
        for client in clients:
            self.addCleanup(client.close)
        self.assertEqual((await self.ask(port)).status, 200)
        while self.frontend.connections:
            await deferLater(reactor, 0.05)
            for client in clients:
                client.close()
        self.assertEqual({record.status for record in self.log} - {200, 408, 0, 400}, set())

    def _open_halves(self, port: int, count: int) -> list[socket.socket]:
        clients = []
        for _ in range(count):
            client = socket.create_connection(('127.0.0.1', port))
            client.sendall(b'GET / HTTP/1.1\r\nHost')
            clients.append(client)
        return clients

    async def test_client_that_does_not_read(self) -> None:
        """A response that its client does not read is not read from the server either."""
        sent = [0]

        def endless(peer: Peer, request: Request) -> None:
            peer.say(b'HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n')
            peer.transport.registerProducer(Pump(peer, sent), False)  # type: ignore[union-attr]

        port = self.serve([self.upstream(endless).port])
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        client.connect(('127.0.0.1', port))
        client.sendall(request_bytes('GET', '/'))
        before = -1
        while before != sent[0]:
            before = sent[0]
            await deferLater(reactor, 0.3)
        self.assertLess(sent[0], 40_000_000)  # what the buffers of the sockets hold
        client.close()
        while self.frontend.connections:
            await deferLater(reactor, 0.02)
        self.assertEqual(self.log[0].termination, 'CD')


class Pump:
    """Writes without an end as fast as the transport accepts it."""

    def __init__(self, peer: Peer, sent: list[int]) -> None:
        self._peer, self._sent = peer, sent

    def resumeProducing(self) -> None:
        self._sent[0] += 65536
        self._peer.say(b'x' * 65536)

    def stopProducing(self) -> None:
        """Stop."""


class TlsTests(DataPathTests):
    def setUp(self) -> None:
        super().setUp()
        self.authority = Authority(self.directory / 'authority')
        self.certificates = self.directory / 'tls'
        self.certificates.mkdir()

    def install(self, name: str, *hosts: str) -> None:
        """Put a certificate into the directory of the frontend."""
        for file in self.authority.sign(name, *hosts):
            shutil.copy(file, self.certificates)

    def settings(self, **tls: Any) -> Frontend:
        return Frontend(listen=_LISTEN, default_backend='main', tls=ListenerTls(**tls))

    def _exchange(self, port: int, server_name: str, certificate: tuple[Path, Path] | None = None,
                  authority: Authority | None = None, alpn: str = 'http/1.1') -> tuple[str, str | None, bytes]:
        """One request over TLS: the name in the server's certificate, the protocol of ALPN, and the response."""
        context = ssl.create_default_context(cafile=str((authority or self.authority).path))
        context.set_alpn_protocols([alpn])
        if certificate is not None:
            context.load_cert_chain(*certificate)
        with socket.create_connection(('127.0.0.1', port), 10) as plain, context.wrap_socket(
            plain, server_hostname=server_name
        ) as tls:  # fmt: skip
            tls.sendall(request_bytes('GET', '/echo', {'Connection': 'close'}))
            data = b''
            while piece := tls.recv(65536):
                data += piece
            peer: Any = tls.getpeercert()
            return peer['subject'][0][0][1], tls.selected_alpn_protocol(), data

    def exchange(self, *args: Any, **more: Any) -> Deferred[tuple[str, str | None, bytes]]:
        return deferToThread(self._exchange, *args, **more)

    async def test_server_names(self) -> None:
        """The name that a client asks for selects the certificate, wildcards included, and the servers learn that the
        client uses TLS."""
        self.install('one', 'one.example')
        self.install('wild', '*.wild.example')
        server = self.upstream()
        port = self.serve([server.port], self.settings(default='one.crt'))
        name, alpn, data = await self.exchange(port, 'one.example')
        self.assertEqual((name, alpn, data[:15]), ('one', 'http/1.1', b'HTTP/1.1 200 OK'))
        self.assertEqual((await self.exchange(port, 'a.wild.example'))[0], 'wild')
        await self.assertFailure(self.exchange(port, 'other.example'), ssl.SSLCertVerificationError)
        await self.assertFailure(self.exchange(port, 'one.example', alpn='h2'), ssl.SSLError)
        self.assertEqual(server.requests[0].headers[b'x-forwarded-proto'], b'https')

    async def test_large_bodies_over_tls(self) -> None:
        """Megabytes pass both ways unchanged over TLS, to a client that pauses, in records of any size; small requests
        on the same connection follow."""
        self.install('one', 'one.example')
        port = self.serve([self.upstream().port], self.settings())
        bodies = [b'small', hashlib.sha512(b'seed').digest() * 50_000, b'x' * 16_380, b'last']

        def exchange(version: ssl.TLSVersion) -> list[bytes]:
            context = ssl.create_default_context(cafile=str(self.authority.path))
            context.minimum_version = context.maximum_version = version
            found = []
            with socket.create_connection(('127.0.0.1', port), 30) as plain, context.wrap_socket(
                plain, server_hostname='one.example'
            ) as tls:  # fmt: skip
                for body in bodies:
                    tls.sendall(request_bytes('POST', '/', body=body))
                    data = b''
                    while not data.endswith(b'\r\n\r\n' + body):
                        data += tls.recv(1000 if len(data) < 20_000 else 1_000_000)
                    found.append(data.partition(b'\r\n\r\n')[2])
            return found

        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            self.assertTrue(await deferToThread(exchange, version) == bodies, version)

    async def test_renewal(self) -> None:
        """A replaced certificate is used by new connections without a restart. A file that cannot be used changes
        nothing."""
        self.install('site', 'one.example')
        server = self.upstream()
        port = self.serve([server.port], self.settings())
        before = self.frontend._state.tls.contexts  # type: ignore[union-attr]
        self.install('site', 'one.example', 'two.example')
        await self._changed(before)
        self.assertEqual((await self.exchange(port, 'two.example'))[2][:15], b'HTTP/1.1 200 OK')
        (self.certificates / 'broken.pem').write_text('nonsense')
        await deferLater(reactor, WATCH_INTERVAL * 1.5)
        self.assertEqual((await self.exchange(port, 'two.example'))[2][:15], b'HTTP/1.1 200 OK')

    async def _changed(self, before: object) -> None:
        while self.frontend._state.tls.contexts is before:  # type: ignore[union-attr]
            await deferLater(reactor, 0.05)

    async def test_client_certificates(self) -> None:
        """A verified certificate reaches the server as RFC 9440 says; without one, or with one of another authority,
        the handshake fails, for every name that SNI can select."""
        self.install('one', 'one.example')
        self.install('two', 'two.example')
        shutil.copy(self.authority.path, self.directory / 'clients.crt')
        stranger = Authority(self.directory / 'stranger')
        server = self.upstream()
        port = self.serve([server.port], self.settings(client_certificates='required', client_ca='clients.crt'))
        mine, foreign = self.authority.sign('partner'), stranger.sign('partner')
        for name in ('one.example', 'two.example'):
            for certificate in (None, foreign):
                with self.assertRaises((ssl.SSLError, ConnectionError)):
                    await self.exchange(port, name, certificate)
            self.assertEqual((await self.exchange(port, name, mine))[2][:15], b'HTTP/1.1 200 OK')
        der = ssl.PEM_cert_to_DER_cert(mine[0].read_text())
        self.assertEqual([request.headers[b'client-cert'] for request in server.requests],
                         [b':%b:' % b64encode(der)] * 2)  # fmt: skip

    async def test_refused_clients(self) -> None:
        """Clients without a certificate, or with a foreign, expired or revoked one, are refused, and so is everybody
        while the revocation list is out of date. The log has the peer and the reason; one that does not speak TLS at
        all is logged too, one that sends nothing is not."""
        self.install('one', 'one.example')
        server = self.upstream()
        bank = Issuer('Bank CA')
        mine, revoked = bank.issue(), bank.issue()
        (self.directory / 'clients.crt').write_text(bank.own.pem)
        (self.directory / 'clients.crl').write_text(bank.revoked(revoked))
        settings = self.settings(client_certificates='required', client_ca='clients.crt', client_crl='clients.crl')
        port = self.serve([server.port], settings)
        reasons = {
            'it has no certificate': None,
            'is not signed by an authority that is trusted here': Issuer('Other CA').issue(),
            'has expired': bank.issue(begins=-2 * HOUR, ends=-60),
            'was revoked': revoked,
        }
        with capturedLogs() as events:
            for reason, certificate in reasons.items():
                with self.assertRaises((ssl.SSLError, ConnectionError)):
                    await self.exchange(port, 'one.example', self.written(certificate))
                await self.logged(events, reason)
            self.assertEqual((await self.exchange(port, 'one.example', self.written(mine)))[2][:15],
                             b'HTTP/1.1 200 OK')  # fmt: skip
            await self.talk(port, b'GET / HTTP/1.1\r\n\r\n')
            await self.logged(events, 'the TLS handshake failed: ')
            before = len(self.refusals(events))
            await self.talk(port, b'')
            refused = self.frontend._state.tls.contexts  # type: ignore[union-attr]
            (self.directory / 'clients.crl').write_text(bank.revoked(begins=-HOUR, ends=-60))
            await self._changed(refused)
            with self.assertRaises((ssl.SSLError, ConnectionError)):
                await self.exchange(port, 'one.example', self.written(mine))
            await self.logged(events, 'the revocation list has expired')
        self.assertEqual(len(self.refusals(events)), before + 1)
        self.assertEqual(len(server.requests), 1)

    def written(self, certificate: Issued | None) -> tuple[Path, Path] | None:
        """The files of a client's certificate."""
        if certificate is None:
            return None
        path = certificate.write(self.directory / 'client.pem')
        return path, path

    async def talk(self, port: int, data: bytes) -> None:
        """Send bytes without TLS, and end the connection."""
        with socket.create_connection(('127.0.0.1', port), 10) as plain:
            plain.sendall(data)
            if data:
                await deferToThread(plain.recv, 1000)

    def refusals(self, events: Sequence[LogEvent]) -> list[str]:
        return [text for event in events if 'refused a client at 127.0.0.1:' in (text := formatEvent(event))]

    async def logged(self, events: Sequence[LogEvent], reason: str) -> None:
        """Wait until a client is refused for a reason."""
        while not any(reason in text for text in self.refusals(events)):
            await deferLater(reactor, 0.02)

    async def test_bad_files(self) -> None:
        """All that is wrong with the files is reported at once, and what was in force stays."""
        self.install('one', 'one.example')
        self.serve([self.upstream().port], self.settings())
        (self.certificates / 'nokey.pem').write_bytes((self.certificates / 'one.crt').read_bytes())
        (self.certificates / 'text.pem').write_text('nonsense')
        settings = self.settings(client_certificates='required', client_ca='missing.crt')
        error = self.assertRaises(ValueError, self.frontend.prepare, Configuration(
            main=MainSettings(cluster='test'), frontends={'main': settings}, backends={'main': Backend()}
        ))  # fmt: skip
        for text in ('nokey.pem: there is no private key', 'text.pem: it holds no certificate', 'missing.crt: No such'):
            self.assertIn(text, str(error))

    async def test_tls_to_servers(self) -> None:
        """Connections to servers use TLS and verify them; one with another name gets no request."""
        from twisted.internet.ssl import PrivateCertificate
        from twisted.protocols.tls import TLSMemoryBIOFactory

        certificate, key = self.authority.sign('backend', 'backend.example')
        options = PrivateCertificate.loadPEM(certificate.read_bytes() + key.read_bytes()).options()
        upstream = Upstream(echo)
        secure = self.listen(TLSMemoryBIOFactory(options, False, upstream))
        ca = str(self.authority.path.relative_to(self.directory))
        for name, status in (('backend.example', 200), ('other.example', 503)):
            tls = ServerTls(ca=ca, server_name=name)
            server = Server(host='127.0.0.1', port=secure, tls=tls)
            port = self.serve([secure], backend=Backend(servers={f'server{secure}': server}))
            answer = await self.ask(port, method='POST', body=b'secret')
            self.assertEqual(answer.status, status)
        self.assertEqual(len(upstream.requests), 1)
        told = self.listen(ProxyProtocolFactory(reactor, TLSMemoryBIOFactory(options, False, upstream), None))
        tls = ServerTls(ca=ca, server_name='backend.example')
        server = Server(host='127.0.0.1', port=told, tls=tls)
        backend = Backend(servers={f'server{told}': server}, proxy_protocol='v2')
        self.assertEqual((await self.ask(self.serve([told], backend=backend))).status, 200)  # the header is before TLS

    async def test_tcp_mode(self) -> None:
        """TLS ends at the load balancer in TCP mode too. A client that does not finish the handshake gets no server,
        and is closed in time."""
        self.install('one', 'one.example')
        server = self.upstream(ends(b'HTTP/1.1 200 OK\r\n\r\n'))
        settings = Frontend(listen=_LISTEN, default_backend='main', mode='tcp', tls=ListenerTls(),
                            timeouts=ClientTimeouts(request=1))  # fmt: skip
        port = self.serve([server.port], settings)
        silent_client = socket.create_connection(('127.0.0.1', port), 10)
        self.addCleanup(silent_client.close)
        self.assertEqual((await self.exchange(port, 'one.example'))[2][:15], b'HTTP/1.1 200 OK')
        while self.frontend.connections:
            await deferLater(reactor, 0.05)
        self.assertEqual((len(self.backend.slots), {record.termination for record in self.log} & {'cR'}), (1, {'cR'}))

    async def test_mutual_tls_of_a_server(self) -> None:
        """A server that accepts Client-Cert from the load balancer sees the client's certificate as if the client had
        connected to it: what mutual TLS definitions check."""
        self.install('one', 'one.example')
        shutil.copy(self.authority.path, self.directory / 'clients.crt')
        dispatcher = ScriptedExchange()
        settings = {'listen': ['tcp:port=0:interface=127.0.0.1'], 'trusted_proxies': ['127.0.0.1'], 'client_cert': True,
                    'grace': 1}  # fmt: skip
        server = HTTPChannel(ChannelContext(
            reactor=reactor, settings=settings, line_sink=lambda name: Lines(), work_dir=str(self.directory),
            run_in_thread=deferToThread,
        ))  # fmt: skip
        self.addCleanup(server.stop)
        await server.apply(Snapshot(1, [channel()]))
        await server.start(dispatcher)
        address: Any = server.addresses[0]
        port = self.serve([address.port], self.settings(client_certificates='optional', client_ca='clients.crt'))
        partner = self.authority.sign('partner')
        for certificate in (partner, None):
            await self.exchange(port, 'one.example', certificate)
        views = [delivery.inbound.http for delivery in dispatcher.delivered]
        own = ssl.PEM_cert_to_DER_cert(partner[0].read_text())
        self.assertEqual([view.certificates[:1] for view in views if view is not None], [(own,), ()])

    async def test_proxy_header_before_tls(self) -> None:
        """A PROXY header comes before the handshake, and tells the client's address."""
        self.install('one', 'one.example')
        server = self.upstream()
        settings = Frontend(listen=_LISTEN, default_backend='main', tls=ListenerTls(), proxy_protocol=True)
        port = self.serve([server.port], settings)

        def exchange() -> bytes:
            context = ssl.create_default_context(cafile=str(self.authority.path))
            with socket.create_connection(('127.0.0.1', port), 10) as plain:
                plain.sendall(b'PROXY TCP4 198.51.100.7 10.0.0.1 5555 443\r\n')
                with context.wrap_socket(plain, server_hostname='one.example') as tls:
                    tls.sendall(request_bytes('GET', '/'))
                    return tls.recv(15)

        self.assertEqual(await deferToThread(exchange), b'HTTP/1.1 200 OK')
        self.assertEqual(server.requests[0].headers[b'x-forwarded-for'], b'198.51.100.7')


class Collector(Protocol):
    """Collects what it receives, and answers with its size when the peer has ended its direction."""

    def __init__(self) -> None:
        self._size = 0

    def dataReceived(self, data: bytes) -> None:
        self._size += len(data)

    def readConnectionLost(self) -> None:
        transport: Any = self.transport
        transport.write(b'%d' % self._size)
        transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """Do nothing."""


class TcpTests(DataPathTests):
    settings = Frontend(listen=_LISTEN, default_backend='main', mode='tcp')

    async def test_half_close(self) -> None:
        """A client that ends its direction gets the answer, whose server has received everything."""
        from twisted.internet.interfaces import IHalfCloseableProtocol
        from zope.interface import directlyProvides

        def build() -> Collector:
            collector = Collector()
            directlyProvides(collector, IHalfCloseableProtocol)
            return collector

        factory = Factory()
        factory.buildProtocol = lambda addr: build()  # type: ignore[method-assign]
        port = self.serve([self.listen(factory)], self.settings)

        def exchange() -> bytes:
            with socket.create_connection(('127.0.0.1', port), 20) as client:
                client.sendall(b'x' * 5_000_000)
                client.shutdown(socket.SHUT_WR)
                answer = b''
                while piece := client.recv(100):
                    answer += piece
                return answer

        self.assertEqual(await deferToThread(exchange), b'5000000')
        record, = self.log
        self.assertEqual((record.received_bytes, record.sent_bytes, record.termination), (5_000_000, 7, '--'))

    async def test_postgresql(self) -> None:
        """A real PostgreSQL through the load balancer: queries, a COPY of megabytes both ways, errors, and
        several connections at once."""
        port = self.serve([shared_postgresql().port], self.settings)

        def connect() -> psycopg.Connection[Any]:
            return psycopg.connect(host='127.0.0.1', port=port, user='admin', password=PASSWORD, dbname='postgres',
                                   connect_timeout=20, autocommit=True)  # fmt: skip

        def work() -> tuple[Any, ...]:
            with connect() as one, connect() as two:
                one.execute('CREATE TEMPORARY TABLE copied (text text)')
                with one.cursor().copy('COPY copied FROM STDIN') as copy:
                    for _ in range(200):
                        copy.write(b'x' * 20_000 + b'\n')
                with one.cursor().copy('COPY copied TO STDOUT') as out:
                    size = sum(len(piece) for piece in out)
                with self.assertRaises(psycopg.errors.UndefinedTable):
                    two.execute('SELECT * FROM copied')
                two.execute('SET statement_timeout = 50')
                with self.assertRaises(psycopg.errors.QueryCanceled):
                    two.execute('SELECT pg_sleep(10)')
                row = two.execute('SELECT 6 * 7').fetchone()
                assert row is not None
                return size, row[0]

        self.assertEqual(await deferToThread(work), (200 * 20_001, 42))
        self.assertEqual(self.frontend.total_connections, 2)

    async def test_amqp(self) -> None:
        """A real RabbitMQ through the load balancer: messages that the broker confirms and delivers, on connections
        that stay open in both directions."""
        port = self.serve([shared_rabbitmq().port], self.settings)
        bodies = [b'x' * size for size in (0, 1, 100_000, 1_000_000)]

        def work() -> list[Any]:
            parameters = pika.ConnectionParameters(
                '127.0.0.1', port, credentials=pika.PlainCredentials(USER, RABBITMQ_PASSWORD)
            )
            with closing(pika.BlockingConnection(parameters)) as connection:
                channel = connection.channel()
                channel.confirm_delivery()
                queue = channel.queue_declare('', exclusive=True).method.queue
                for body in bodies:
                    channel.basic_publish('', queue, body)
                return [channel.basic_get(queue, auto_ack=True)[2] for _ in bodies]

        self.assertEqual(await deferToThread(work), bodies)
