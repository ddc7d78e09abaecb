"""Listening sockets: bound once by a parent, adopted by many, their certificates changed while they stay."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer

from trial_tests.support.certificate import write_certificate
from trial_tests.support.reactor import reactor
from zatotx.connectors.tls_settings import INTERMEDIATE_CIPHERS
from zatotx.interfaces.connector_kind import listen_on_own_socket
from zatotx.interfaces.listener_options_provider import IListenerOptionsProvider
from zatotx.model.errors import StartError
from zatotx.plugins.http.channel import ServerConnectionFactory
from zatotx.plugins.http.test.server_doubles import ScriptedExchange, Server
from zatotx.processes import endpoint_spec
from zatotx.processes.endpoint_spec import BACKLOG, parse_endpoint
from zatotx.processes.listeners import Listeners
from zatotx.processes.workers.listening_sockets import ListeningSockets
from zatotx.processes.workers.shared_counters import SharedCounterRow
from zatotx.processes.workers.shared_listeners import AcceptBalancer


def short(case: SynchronousTestCase) -> Path:
    """Where a Unix socket may be: trial's own directories may have too long a name for one."""
    folder = Path(tempfile.mkdtemp())
    case.addCleanup(shutil.rmtree, folder)
    return folder / 'socket'


class Echo(Protocol):
    """Says what it is."""

    def __init__(self, text: bytes) -> None:
        self.text = text

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(self.text)
        self.transport.loseConnection()


class Echoes(Factory):
    noisy = False

    def __init__(self, text: bytes) -> None:
        self.text = text
        self.count = 0

    def buildProtocol(self, addr: Any) -> Echo:
        self.count += 1
        return Echo(self.text)


class Onion:
    """An endpoint of another library, which wants more of a reactor than to listen."""

    def __init__(self, reactor: Any, description: str) -> None:
        self.reactor = reactor

    def listen(self, factory: Factory) -> object:
        return self.reactor.connectTCP('localhost', 9051, factory)


class DescriptionTests(SynchronousTestCase):
    """What Twisted's own parsers make of a description."""

    def test_tcp(self) -> None:
        """Port, interface, and our backlog where none is given."""
        factory = Factory()
        wanted = parse_endpoint('tcp:8080:interface=127.0.0.1', factory)
        assert wanted is not None
        self.assertEqual((wanted.address, wanted.interface, wanted.backlog), (8080, '127.0.0.1', BACKLOG))
        self.assertEqual((wanted.family, wanted.tls_context), (socket.AF_INET, None))
        self.assertIs(wanted.factory, factory)
        given = parse_endpoint('tcp:8080:backlog=7', factory)
        assert given is not None
        self.assertEqual(given.backlog, 7)

    def test_tcp6(self) -> None:
        """By its interface."""
        wanted = parse_endpoint('tcp6:8080', Factory())
        assert wanted is not None
        self.assertEqual((wanted.interface, wanted.family), ('::', socket.AF_INET6))

    def test_unix(self) -> None:
        """Path and mode, which others than user and group get only where it is said."""
        for description, mode in (
            ('unix:/tmp/a', 0o660), ('unix:/tmp/a:mode=600', 0o600), ('unix:/tmp/a:666', 0o666),
            ('haproxy:unix:address=/tmp/a:backlog=5', 0o660),
        ):  # fmt: skip
            wanted = parse_endpoint(description, Factory())
            assert wanted is not None
            self.assertEqual((wanted.address, wanted.mode, wanted.use_lock_file), ('/tmp/a', mode, True), description)
            self.assertEqual(wanted.family, socket.AF_UNIX)

    def test_others(self) -> None:
        """What wraps another kind is seen through; what asks for no listening socket is none of ours; nonsense fails as
        Twisted has it."""
        factory = Factory()
        wanted = parse_endpoint('haproxy:tcp:8080:interface=127.0.0.1', factory)
        assert wanted is not None
        self.assertEqual(wanted.address, 8080)
        self.assertRaises(ValueError, parse_endpoint, 'nonsense:1', factory)
        self.patch(endpoint_spec, 'serverFromString', Onion)
        self.assertIsNone(parse_endpoint('onion:80', factory))


class SocketsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.sockets = ListeningSockets()
        self.addCleanup(self.sockets.close_except, ())

    def test_each_once(self) -> None:
        """A description is bound once, however often it is asked for; what is not kept is closed."""
        first, second = 'tcp:0:interface=127.0.0.1', 'tcp:0:interface=127.0.0.2'
        self.sockets.open([first])
        bound = self.sockets.bound[first]
        self.sockets.open([first, second])
        self.assertIs(self.sockets.bound[first], bound)
        self.assertEqual(list(self.sockets.descriptors()), [first, second])
        self.sockets.close_except([second])
        self.assertEqual(list(self.sockets.descriptors()), [second])

    def test_all_or_none(self) -> None:
        """One that cannot be had: a sentence with the description and the reason, and the others are given up again."""
        with socket.socket() as other:
            other.bind(('127.0.0.1', 0))
            other.listen()
            port = other.getsockname()[1]
            error = self.assertRaises(StartError, self.sockets.open,
                                      ['tcp:0:interface=127.0.0.1', f'tcp:{port}:interface=127.0.0.1'],
                                      {f'tcp:{port}:interface=127.0.0.1': 'lines'})
        self.assertIn(f"[lines] listen: cannot listen on 'tcp:{port}:interface=127.0.0.1': Address already in use",
                      str(error))
        self.assertEqual(self.sockets.bound, {})

    def test_what_cannot_be_shared(self) -> None:
        """Other kinds of endpoints, and files that are not there, are refused with a sentence."""
        error = self.assertRaises(StartError, self.sockets.open, ['nonsense:1'])
        self.assertTrue(str(error).startswith("cannot listen on 'nonsense:1'"), str(error))
        error = self.assertRaises(StartError, self.sockets.open, ['ssl:0:privateKey=/nowhere.pem'])
        self.assertIn('/nowhere.pem', str(error))
        self.patch(endpoint_spec, 'serverFromString', Onion)
        self.assertIn('supports tcp:, ssl:', str(self.assertRaises(StartError, self.sockets.open, ['onion:80'])))

    def test_not_for_programs(self) -> None:
        """What the parent starts besides workers does not inherit a socket."""
        self.sockets.open(['tcp:0:interface=127.0.0.1'])
        (descriptor,) = self.sockets.descriptors().values()
        self.assertFalse(os.get_inheritable(descriptor))

    def test_unix_file(self) -> None:
        """It has the mode that is asked for, is removed at the end, and what a killed process left is in nobody's
        way."""
        path = short(self)
        description = f'unix:{path}:mode=600'
        self.sockets.open([description])
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)
        error = self.assertRaises(StartError, ListeningSockets().open, [description])
        self.assertIn('lock', str(error))
        bound = self.sockets.bound.pop(description)
        bound._socket.close()  # as kill -9 does: the files stay, and the kernel gives the lock back
        assert bound._lock is not None
        os.close(bound._lock._fd)  # type: ignore[arg-type]
        self.assertTrue(path.exists() and Path(f'{path}.lock').exists())
        self.sockets.open([description])
        self.sockets.close_except(())
        self.assertEqual((path.exists(), Path(f'{path}.lock').exists()), (False, False))

    def test_a_lock_of_a_reused_process_id(self) -> None:
        """A lock that Twisted left, an older version of this server's, names a process. Whoever has that id by now is
        not its holder."""
        path = short(self)
        Path(f'{path}.lock').symlink_to(str(os.getpid()))
        self.sockets.open([f'unix:{path}'])
        self.assertEqual(path.stat().st_mode & 0o777, 0o660)

    def test_a_path_that_is_taken(self) -> None:
        """By a server that has no lock of ours, or by a file that is none: it stays as it is."""
        path = short(self)
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(path))
            other.listen()
            error = self.assertRaises(StartError, self.sockets.open, [f'unix:{path}'])
            self.assertIn('another process listens there', str(error))
        path.unlink()
        path.write_text('precious')
        self.assertIn('not a socket', str(self.assertRaises(StartError, self.sockets.open, [f'unix:{path}'])))
        self.assertEqual(path.read_text(), 'precious')


class TurnsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.told: list[int] = []
        self.least = 1  # of the others, who say one more than they have: somebody has none
        self.turns = AcceptBalancer(
            SharedCounterRow(set_own=self.told.append, sum_of_others=lambda: 0, minimum_of_others=lambda: self.least)
        )

    def test_who_has_more_lets_others(self) -> None:
        """With clearly more connections than another it is the other's turn, whoever that is."""
        self.turns.connections_accepted(4)
        self.assertTrue(self.turns.should_accept())
        self.turns.connections_accepted(2)
        self.assertFalse(self.turns.should_accept())
        self.least = 7
        self.assertTrue(self.turns.should_accept())
        self.assertEqual(self.told, [1, 5, 7])

    def test_brief_connections_even_out_by_themselves(self) -> None:
        """While most live for one request nobody waits; connections that stay are shared out again soon after."""
        for _ in range(50):
            self.turns.connections_accepted(8)
            for _ in range(8):
                self.turns.connection_closed(0.002)
        self.turns.connections_accepted(8)
        self.assertTrue(self.turns.should_accept())
        for _ in range(8):
            self.turns.connections_accepted(8)
        self.assertFalse(self.turns.should_accept())

    def test_a_crowd_that_leaves_is_no_brief_one(self) -> None:
        """Connections that stayed for a while leave together: those that come next are shared out at once."""
        self.turns.connections_accepted(100)
        for _ in range(100):
            self.turns.connection_closed(5.0)
        self.turns.connections_accepted(8)
        self.assertFalse(self.turns.should_accept())

    def test_alone(self) -> None:
        """It is always our turn, and after the end nobody is told anything."""
        alone = AcceptBalancer()
        alone.connections_accepted(1000)
        self.assertTrue(alone.should_accept())
        self.turns.stop()
        self.turns.connections_accepted(1000)
        self.assertEqual((self.turns.should_accept(), self.told[-1]), (True, 0))


class AdoptionTests(TestCase):
    """Two nodes, here in one process, over one socket."""

    async def adopted(self, description: str) -> tuple[ListeningSockets, list[IListeningPort], list[Echoes]]:
        sockets = ListeningSockets()
        sockets.open([description])
        self.addCleanup(sockets.close_except, ())
        ports, factories = [], [Echoes(b'one'), Echoes(b'two')]
        for factory in factories:
            ports.append(await Listeners(reactor, sockets.descriptors()).listen(description, factory))
        return sockets, ports, factories

    async def test_a_port_that_closes_leaves_the_socket(self) -> None:
        """The other one goes on, and what waits in the queue waits for it."""
        sockets, (one, two), _factories = await self.adopted('tcp:0:interface=127.0.0.1')
        port = sockets.bound['tcp:0:interface=127.0.0.1'].port
        await _closed(one)
        for _ in range(3):
            self.assertEqual(await deferToThread(_hear, ('127.0.0.1', port)), b'two')
        await _closed(two)
        waiting = socket.create_connection(('127.0.0.1', port), timeout=60)
        self.addCleanup(waiting.close)
        late = await Listeners(reactor, sockets.descriptors()).listen('tcp:0:interface=127.0.0.1', Echoes(b'three'))
        self.assertEqual(await deferToThread(waiting.recv, 10), b'three')
        await _closed(late)

    async def test_unix(self) -> None:
        """Likewise a Unix socket, whose file stays as long as the parent wants it."""
        path = short(self)
        sockets, (one, two), _ = await self.adopted(f'unix:{path}')
        await _closed(one)
        for _ in range(3):
            self.assertEqual(await deferToThread(_hear, str(path)), b'two')
        await _closed(two)
        self.assertTrue(path.exists())
        sockets.close_except(())
        self.assertFalse(path.exists())

    async def test_a_crowd_is_shared(self) -> None:
        """Of connections that come at the same time no port takes all."""
        sockets, ports, factories = await self.adopted('tcp:0:interface=127.0.0.1')
        port = sockets.bound['tcp:0:interface=127.0.0.1'].port
        crowd = [socket.create_connection(('127.0.0.1', port), timeout=60) for _ in range(40)]
        for client in crowd:
            self.addCleanup(client.close)
            await deferToThread(client.recv, 10)
        self.assertEqual(sum(factory.count for factory in factories), 40)
        self.assertGreater(min(factory.count for factory in factories), 5)
        for one in ports:
            await _closed(one)

    async def test_alone(self) -> None:
        """Without a parent it binds by itself, in plain or by a Unix socket, or with what Twisted knows besides."""
        path = short(self)
        for description, where in (('tcp:0:interface=127.0.0.1', None), (f'unix:{path}', str(path))):
            port = await Listeners(reactor).listen(description, Echoes(b'alone'))
            host: Any = port.getHost()
            self.assertEqual(await deferToThread(_hear, where or ('127.0.0.1', host.port)), b'alone')
            await _closed(port)
        self.assertEqual(list(path.parent.iterdir()), [])
        port = await listen_on_own_socket(reactor, 'tcp:0:interface=127.0.0.1', Echoes(b'plain'))
        await _closed(port)

    async def test_failures(self) -> None:
        """What cannot be had fails the Deferred."""
        with socket.socket() as other:
            other.bind(('127.0.0.1', 0))
            other.listen()
            port = other.getsockname()[1]
            with self.assertRaises(Exception) as caught:
                await Listeners(reactor).listen(f'tcp:{port}:interface=127.0.0.1', Factory())
        self.assertIn('Address already in use', str(caught.exception))


class CertificateTests(TestCase):
    """SIGHUP and the certificates of `ssl:` endpoints."""

    async def serve(self) -> None:
        self.certificate = write_certificate(Path(self.mktemp()))
        self.listeners = Listeners(reactor)
        self.port = await self.listeners.listen(
            f'ssl:0:interface=127.0.0.1:privateKey={self.certificate}:certKey={self.certificate}', Echoes(b'safe')
        )
        self.addCleanup(self.port.stopListening)

    async def seen(self) -> str:
        """The certificate that a new connection gets, as PEM."""
        host: Any = self.port.getHost()
        return await deferToThread(ssl.get_server_certificate, ('127.0.0.1', host.port))

    async def test_new_connections_get_the_new_one(self) -> None:
        """After `reload`, by the same port, without a moment in which it does not listen."""
        await self.serve()
        old = await self.seen()
        write_certificate(self.certificate)
        self.assertEqual(await self.seen(), old)
        self.listeners.reload()
        self.assertNotEqual(await self.seen(), old)
        self.assertIn((await self.seen()).strip(), self.certificate.read_text())

    async def test_closed(self) -> None:
        """The certificate of a closed port is forgotten, and that of a port that could not be opened is never known."""
        await self.serve()
        self.assertEqual(len(self.listeners.certificates), 1)
        host: Any = self.port.getHost()
        taken = f'ssl:{host.port}:interface=127.0.0.1:privateKey={self.certificate}:certKey={self.certificate}'
        await self.assertFailure(self.listeners.listen(taken, Echoes(b'none')), CannotListenError)
        self.assertEqual(len(self.listeners.certificates), 1)
        closing: Any = self.port.stopListening()
        await closing
        self.assertEqual(self.listeners.certificates, [])

    async def test_a_bad_one_is_not_taken(self) -> None:
        """The old one stays, and one sentence says what is wrong with the new one."""
        await self.serve()
        old = await self.seen()
        self.certificate.write_text('-----BEGIN NONSENSE-----')
        why = self.listeners.certificates[0].reload()
        self.assertIn(f'certKey={self.certificate}', why)
        self.assertIn('the old one stays', why)
        self.assertEqual(await self.seen(), old)
        self.certificate.unlink()
        self.assertIn('the old one stays', self.listeners.certificates[0].reload())
        self.listeners.reload()
        self.assertEqual(await self.seen(), old)


@implementer(IListenerOptionsProvider)
class Speaking(Echoes):
    """A factory that says what its listeners are to do."""

    application_protocols = (b'http/1.1', b'http/1.0')
    tls_ciphers = INTERMEDIATE_CIPHERS

    def trusts_proxy(self, address: Any) -> bool:
        return True


class HandshakeTests(TestCase):
    """What is agreed on with TLS clients."""

    async def serve(self, prefix: str = '', *, is_rsa: bool = False, ciphers: str = INTERMEDIATE_CIPHERS) -> int:
        path = write_certificate(Path(self.mktemp()), is_rsa=is_rsa)
        factory = Speaking(b'safe')
        factory.tls_ciphers = ciphers
        port = await Listeners(reactor).listen(
            f'{prefix}ssl:0:interface=127.0.0.1:privateKey={path}:certKey={path}', factory
        )
        self.addCleanup(port.stopListening)
        host: Any = port.getHost()
        number: int = host.port
        return number

    async def agreed(self, port: int, *, ciphers: str = '', protocols: Sequence[str] = (), head: bytes = b'') -> str:
        """Cipher suite and protocol of a handshake over TLS 1.2, or the alert that ends it."""
        return await deferToThread(_agreed, port, ciphers, protocols, head)

    async def test_suites(self) -> None:
        """Those with forward secrecy and authenticated encryption; RSA key exchange and CBC only where they are asked
        for."""
        weak = {False: ('ECDHE-ECDSA-AES128-SHA', 'ECDHE-ECDSA-AES256-SHA384'),
                True: ('AES128-SHA', 'AES256-GCM-SHA384', 'ECDHE-RSA-AES128-SHA256', 'DHE-RSA-AES128-GCM-SHA256')}
        for is_rsa, suites in weak.items():
            port = await self.serve(is_rsa=is_rsa)
            good = f'ECDHE-{"RSA" if is_rsa else "ECDSA"}-AES128-GCM-SHA256'
            self.assertEqual(await self.agreed(port, ciphers=good), f'{good} None')
            for suite in suites:
                self.assertEqual(await self.agreed(port, ciphers=f'{suite}:@SECLEVEL=0'), 'handshake failure', suite)
        port = await self.serve(is_rsa=True, ciphers=f'{INTERMEDIATE_CIPHERS}:AES128-SHA')
        self.assertEqual(await self.agreed(port, ciphers='AES128-SHA'), 'AES128-SHA None')

    async def test_no_suites(self) -> None:
        """What OpenSSL does not know is told with the setting's name."""
        with self.assertRaises(ValueError) as caught:
            await self.serve(ciphers='ROT13')
        self.assertIn("[http] tls_ciphers: OpenSSL knows none of 'ROT13'", str(caught.exception))

    async def test_protocols(self) -> None:
        """A client that asks for what is not spoken here is told so (RFC 7301 §3.2); one that does not ask is
        served."""
        port = await self.serve()
        for protocols, agreed in ((['h2', 'http/1.1'], 'http/1.1'), (['http/1.0'], 'http/1.0'), ([], 'None')):
            self.assertEqual((await self.agreed(port, protocols=protocols)).split()[1], agreed)
        self.assertEqual(await self.agreed(port, protocols=['h2']), 'no application protocol')
        self.assertEqual((await self.agreed(port)).split()[1], 'None')

    async def test_behind_a_proxy(self) -> None:
        """The PROXY header comes before the handshake, as HAProxy sends it."""
        port = await self.serve('haproxy:')
        head = b'PROXY TCP4 203.0.113.7 10.0.0.1 4711 443\r\n'
        self.assertEqual((await self.agreed(port, head=head, protocols=['http/1.1'])).split()[1], 'http/1.1')


class ProxiedTests(TestCase):
    """HTTP on `haproxy:` endpoints."""

    async def test_whose_request_it_is(self) -> None:
        """That of the client in the PROXY header: for services, and what goes by its address. A Unix socket will do."""
        for description in ('haproxy:tcp:0:interface=127.0.0.1', f'haproxy:unix:{short(self)}'):
            exchange = ScriptedExchange()
            port = await Listeners(reactor).listen(description, ServerConnectionFactory(Server(exchange).site))
            self.addCleanup(port.stopListening)
            host: Any = port.getHost()
            where = host.name if hasattr(host, 'name') else ('127.0.0.1', host.port)
            header = b'PROXY TCP4 203.0.113.7 198.51.100.1 4711 80\r\n'
            with socket.socket(socket.AF_UNIX if isinstance(where, bytes) else socket.AF_INET) as client:
                client.connect(where)
                client.sendall(header + b'GET /echo HTTP/1.1\r\nHost: evil\r\n\r\n')
                while not exchange.delivered:
                    await deferLater(reactor, 0.01)
            view = exchange.delivered[0].inbound.http
            assert view is not None
            self.assertEqual((view.peer, view.listener_url), ('203.0.113.7', 'http://198.51.100.1'))


def _agreed(port: int, ciphers: str, protocols: Sequence[str], head: bytes) -> str:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    if ciphers:
        context.set_ciphers(ciphers)
    if protocols:
        context.set_alpn_protocols(list(protocols))
    with socket.create_connection(('127.0.0.1', port), timeout=60) as plain:
        plain.sendall(head)
        try:
            with context.wrap_socket(plain) as secured:
                suite = secured.cipher()
                assert suite is not None
                return f'{suite[0]} {secured.selected_alpn_protocol()}'
        except ssl.SSLError as error:
            return str(error).partition(' alert ')[2].partition(' (')[0]


def _closed(port: IListeningPort) -> Deferred[Any]:
    closing: Any = port.stopListening()
    return closing if isinstance(closing, Deferred) else Deferred.fromCoroutine(_nothing())


async def _nothing() -> None:
    """Is over at once."""


def _hear(address: Any) -> bytes:
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family) as client:
        client.settimeout(60)
        client.connect(address)
        return client.recv(10)
