"""DNS lookups and connecting: in threads, cached, and with concurrent attempts."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from queue import Queue
from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectError, ConnectionRefusedError, NoRouteError
from twisted.internet.interfaces import IProtocol
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from trial_tests.support.reactor import as_reactor
from zatotx.connectors.tls_client import TlsClientFactory
from zatotx.connectors.tls_settings import TlsSettings
from zatotx.plugins.http.client.connector import AddressResolver, Connector, connect_to_first_address
from zatotx.plugins.http.client.errors import ConnectRefused, ConnectTimeout, NoSuchHost
from zatotx.plugins.http.client.http_messages import Origin
from zatotx.rules.http.dns_cache import DnsCache, LookupResult, interleave_families
from zatotx.rules.http.proxy_selection import ProxySelector
from zatotx.wire.http.host_names import Malformed, is_loopback, normalize_host

reactor: Any = global_reactor
PATIENCE = 60.0  # seconds after which a test that waits for a thread gives up


class Turns(MemoryReactorClock):
    """An in-memory reactor that receives calls from threads: `turn` waits for the next one."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: Queue[tuple[Callable[..., object], tuple[Any, ...]]] = Queue()

    def callFromThread(self, callable: Callable[..., object], *args: object, **kwargs: object) -> None:
        self._calls.put((callable, args))

    def turn(self) -> None:
        function, args = self._calls.get(timeout=PATIENCE)
        function(*args)


class NameServers:
    """Lookups that a test delays. `asked`: the names, in order."""

    def __init__(self, **known: Sequence[str]) -> None:
        self.known = known
        self.asked: list[str] = []
        self.held: dict[str, threading.Event] = {}

    def hold(self, name: str) -> None:
        self.held[name] = threading.Event()

    def let_go(self, name: str) -> None:
        self.held[name].set()

    def __call__(self, name: str) -> Sequence[str]:
        self.asked.append(name)
        if name in self.held:
            self.held[name].wait(PATIENCE)
        if name not in self.known:
            raise OSError(-2, 'Name or service not known')
        return self.known[name]


class HostTests(SynchronousTestCase):
    def test_one_form_of_a_name(self) -> None:
        """Case, brackets, long addresses and non-ASCII letters are normalized."""
        for written, form in (
            ('CRM.Example', 'crm.example'), ('[2001:DB8:0:0::1]', '2001:db8::1'), ('127.0.0.1', '127.0.0.1'),
            ('żółw.example', 'xn--w-uga1v8h.example'), ('BÜCHER.example', 'xn--bcher-kva.example'),
            ('my_service', 'my_service'), ('crm.example.', 'crm.example.'),
        ):  # fmt: skip
            self.assertEqual(normalize_host(written), form)

    def test_what_is_no_name(self) -> None:
        """Names with a different meaning in a URL, a head or a resolver are rejected."""
        for written in (
            '', '.', 'a..b', 'a b', 'a/b', 'a@b', 'a:b', 'a\r\nb', 'a%41', 'x' * 64, 'a.' * 130, '[::1', '☃' * 90,
        ):  # fmt: skip
            self.assertRaises(Malformed, normalize_host, written)

    def test_this_machine(self) -> None:
        """Loopback addresses are recognized in any notation."""
        for host, is_it in (
            ('localhost', True), ('crm.localhost', True), ('127.8.9.1', True), ('::1', True),
            ('localhost.example', False), ('128.0.0.1', False), ('127.example', False),
        ):  # fmt: skip
            self.assertEqual(is_loopback(host), is_it, host)


class AddressTests(SynchronousTestCase):
    def test_families_in_turn(self) -> None:
        """Address families alternate (RFC 8305 §4), beginning with the resolver's first."""
        self.assertEqual(
            interleave_families(['::1', '::2', '::3', '127.0.0.1', '::1']), ('::1', '127.0.0.1', '::2', '::3')
        )
        self.assertEqual(interleave_families(['127.0.0.1', '127.0.0.2']), ('127.0.0.1', '127.0.0.2'))
        self.assertEqual(interleave_families([]), ())

    def test_remembered_for_a_while(self) -> None:
        """Addresses are cached for 30 s, failures for 2 s."""
        book = DnsCache()
        book.put('good', LookupResult(('127.0.0.1',)), 100.0)
        book.put('bad', LookupResult((), 'why'), 100.0)
        self.assertEqual(book.get('good', 129.9), LookupResult(('127.0.0.1',)))
        self.assertEqual(book.get('bad', 101.9), LookupResult((), 'why'))
        self.assertIsNone(book.get('good', 130.0))
        self.assertIsNone(book.get('bad', 102.0))
        self.assertEqual(len(book), 0)

    def test_bounded(self) -> None:
        """The cache holds a thousand names, and drops the least recently used one."""
        book = DnsCache()
        for number in range(1000):
            book.put(f'n{number}', LookupResult(('127.0.0.1',)), 0.0)
        book.get('n0', 1.0)
        book.put('one more', LookupResult(('127.0.0.1',)), 1.0)
        self.assertEqual(len(book), 1000)
        self.assertIsNotNone(book.get('n0', 1.0))
        self.assertIsNone(book.get('n1', 1.0))


class ResolverTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = Turns()
        self.servers = NameServers(crm=('10.0.0.1', '10.0.0.2'), erp=('10.0.0.3',))
        self.resolver = AddressResolver(as_reactor(self.reactor), self.servers, max_concurrent=2)

    def found(self, name: str) -> tuple[str, ...]:
        asking = self.resolver.resolve(name)
        if not asking.called:
            self.reactor.turn()
        return self.successResultOf(asking)

    def test_an_address_needs_no_lookup(self) -> None:
        """An IP address needs no lookup."""
        for address in ('127.0.0.1', '::1', '2001:db8::1'):
            self.assertEqual(self.successResultOf(self.resolver.resolve(address)), (address,))
        self.assertEqual(self.servers.asked, [])

    def test_remembered(self) -> None:
        """A name is looked up once in 30 s."""
        self.assertEqual(self.found('crm'), ('10.0.0.1', '10.0.0.2'))
        self.reactor.advance(29)
        self.assertEqual(self.successResultOf(self.resolver.resolve('crm')), ('10.0.0.1', '10.0.0.2'))
        self.assertEqual(self.servers.asked, ['crm'])
        self.reactor.advance(1)
        self.found('crm')
        self.assertEqual(self.servers.asked, ['crm', 'crm'])

    def test_many_ask_one_lookup(self) -> None:
        """Concurrent requests for a name share its lookup."""
        asking = [self.resolver.resolve('crm') for _ in range(100)]
        self.reactor.turn()
        self.assertEqual({self.successResultOf(one) for one in asking}, {('10.0.0.1', '10.0.0.2')})
        self.assertEqual(self.servers.asked, ['crm'])

    def test_not_found(self) -> None:
        """A failure names the host and the reason; the next lookup is after 2 s."""
        asking = self.resolver.resolve('nobody')
        self.reactor.turn()
        error = self.failureResultOf(asking, NoSuchHost).value
        self.assertEqual(str(error), 'no address was found for the name nobody: Name or service not known')
        self.failureResultOf(self.resolver.resolve('nobody'), NoSuchHost)
        self.assertEqual(self.servers.asked, ['nobody'])
        self.reactor.advance(2)
        self.servers.known['nobody'] = ('10.0.0.9',)
        self.assertEqual(self.found('nobody'), ('10.0.0.9',))

    def test_a_name_of_no_address(self) -> None:
        """A lookup without addresses is a failure too."""
        self.servers.known['empty'] = ()
        asking = self.resolver.resolve('empty')
        self.reactor.turn()
        self.failureResultOf(asking, NoSuchHost)

    def test_silent_name_servers_hold_their_name_only(self) -> None:
        """Silent name servers delay only their own names, callers may give up, and a late result is cached."""
        self.servers.hold('crm')
        asking = self.resolver.resolve('crm')
        self.assertEqual(self.found('erp'), ('10.0.0.3',))
        asking.cancel()
        self.failureResultOf(asking, CancelledError)
        again = self.resolver.resolve('crm')
        self.assertEqual(self.resolver.running, 1)
        self.servers.let_go('crm')
        self.reactor.turn()
        self.assertEqual(self.successResultOf(again), ('10.0.0.1', '10.0.0.2'))
        self.assertEqual(self.servers.asked.count('crm'), 1)
        self.assertEqual(self.resolver.running, 0)

    def test_threads_are_few(self) -> None:
        """Names beyond the number of threads are queued; one without callers is not looked up."""
        for name in ('crm', 'erp'):
            self.servers.hold(name)
        held = [self.resolver.resolve(name) for name in ('crm', 'erp')]
        dropped, waiting = self.resolver.resolve('third'), self.resolver.resolve('fourth')
        self.assertEqual(self.resolver.running, 2)
        dropped.cancel()
        self.failureResultOf(dropped, CancelledError)
        self.servers.let_go('crm')
        self.reactor.turn()
        self.reactor.turn()
        self.failureResultOf(waiting, NoSuchHost)
        self.servers.let_go('erp')
        self.reactor.turn()
        self.assertEqual([self.successResultOf(one)[0] for one in held], ['10.0.0.1', '10.0.0.3'])
        self.assertEqual(sorted(self.servers.asked), ['crm', 'erp', 'fourth'])
        self.assertEqual(self.resolver.running, 0)


class RaceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()
        self.racing: Deferred[Any] = connect_to_first_address(
            as_reactor(self.reactor), ['10.0.0.1', '10.0.0.2', '10.0.0.3'], 80
        )

    def tried(self) -> list[str]:
        return [str(client[0]) for client in self.reactor.tcpClients]

    def fail_attempt(self, number: int, error: ConnectError) -> None:
        self.reactor.tcpClients[number][2].clientConnectionFailed(self.reactor.connectors[number], Failure(error))

    def connect(self, number: int) -> StringTransport | None:
        protocol = self.reactor.tcpClients[number][2].buildProtocol(None)
        if protocol is None:
            return None
        transport = StringTransport()
        protocol.makeConnection(transport)
        return transport

    def test_the_first_address_has_a_start(self) -> None:
        """The second address is tried after 250 ms, not earlier."""
        self.reactor.advance(0.249)
        self.assertEqual(self.tried(), ['10.0.0.1'])
        self.reactor.advance(0.001)
        self.assertEqual(self.tried(), ['10.0.0.1', '10.0.0.2'])

    def test_a_failure_brings_the_next_at_once(self) -> None:
        """After a refused connection the next address is tried at once."""
        self.fail_attempt(0, ConnectionRefusedError())
        self.assertEqual(self.tried(), ['10.0.0.1', '10.0.0.2'])

    def test_the_first_to_connect_wins(self) -> None:
        """When one attempt connects the others are cancelled, and no timer is left."""
        self.reactor.advance(0.25)
        transport = self.connect(1)
        self.assertIs(self.successResultOf(self.racing), transport)
        self.assertEqual([one.stoppedConnecting for one in self.reactor.connectors], [True, False])
        self.assertIsNone(self.connect(0))
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_all_failed(self) -> None:
        """If all attempts fail, the error of the machine that exists is reported."""
        self.fail_attempt(0, NoRouteError())
        self.fail_attempt(1, ConnectionRefusedError())
        self.assertNoResult(self.racing)
        self.fail_attempt(2, NoRouteError())
        self.failureResultOf(self.racing, ConnectionRefusedError)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_given_up(self) -> None:
        """Cancelling stops every attempt."""
        self.reactor.advance(0.25)
        self.racing.cancel()
        self.failureResultOf(self.racing, CancelledError)
        self.assertEqual([one.stoppedConnecting for one in self.reactor.connectors], [True, True])
        self.assertEqual(self.reactor.getDelayedCalls(), [])


class DeadlineTests(SynchronousTestCase):
    """Deadlines of connecting, in memory and exact."""

    def setUp(self) -> None:
        self.reactor = Turns()
        self.servers = NameServers(crm=('10.0.0.1', '10.0.0.2'))
        resolver = AddressResolver(as_reactor(self.reactor), self.servers)
        self.dialer = Connector(as_reactor(self.reactor), resolver, TlsClientFactory(TlsSettings()), ProxySelector())

    def dial(self) -> Deferred[IProtocol]:
        return self.dialer.connect(Origin('http', 'crm', 80), Factory.forProtocol(Protocol), self.reactor.seconds() + 3)

    def test_a_lookup_that_hangs(self) -> None:
        """The deadline applies while a lookup does not end."""
        self.servers.hold('crm')
        dialing = self.dial()
        self.reactor.advance(2.99)
        self.assertNoResult(dialing)
        self.reactor.advance(0.01)
        error = self.failureResultOf(dialing, ConnectTimeout).value
        self.assertEqual(str(error), 'no address for the name crm was found within 3 s')
        self.servers.let_go('crm')
        self.reactor.turn()
        self.assertEqual(self.reactor.tcpClients, [])

    def test_an_address_that_is_silent(self) -> None:
        """If neither of two addresses accepts, both attempts are cancelled at the deadline."""
        dialing = self.dial()
        self.reactor.turn()
        self.reactor.pump([0.25, 2.74])
        self.assertNoResult(dialing)
        self.reactor.advance(0.01)
        error = self.failureResultOf(dialing, ConnectTimeout).value
        self.assertEqual(str(error), 'crm:80 did not accept a connection within 3 s')
        self.assertEqual([one.stoppedConnecting for one in self.reactor.connectors], [True, True])
        self.assertEqual(self.reactor.getDelayedCalls(), [])


class RealTests(TestCase):
    """Tests with the system's resolver and sockets."""

    async def dial(self, host: str, port: int, *, known: NameServers | None = None) -> Any:
        resolver = AddressResolver(reactor) if known is None else AddressResolver(reactor, known)
        dialer = Connector(reactor, resolver, TlsClientFactory(TlsSettings()), ProxySelector())
        deadline = reactor.seconds() + PATIENCE
        return await dialer.connect(Origin('http', host, port), Factory.forProtocol(Protocol), deadline)

    def listen(self) -> int:
        port = reactor.listenTCP(0, Factory.forProtocol(Protocol), interface='127.0.0.1')
        self.addCleanup(port.stopListening)
        number: int = port.getHost().port
        return number

    async def test_a_name(self) -> None:
        """localhost is resolved as the system defines it."""
        protocol = await self.dial('localhost', self.listen())
        protocol.transport.loseConnection()

    async def test_a_name_that_is_none(self) -> None:
        """An invalid name has no address."""
        await self.assertFailure(Deferred.fromCoroutine(self.dial('x' * 64, 80)), NoSuchHost)

    async def test_an_address_that_refuses_beside_one_that_does_not(self) -> None:
        """The second address is used if the first one refuses."""
        protocol = await self.dial('crm', self.listen(), known=NameServers(crm=('::1', '127.0.0.9', '127.0.0.1')))
        self.assertEqual(protocol.transport.getPeer().host, '127.0.0.1')
        protocol.transport.loseConnection()

    async def test_nobody_there(self) -> None:
        """If all addresses refuse, the error names the host as it was requested."""
        dialing = Deferred.fromCoroutine(self.dial('crm', 1, known=NameServers(crm=('::1', '127.0.0.1'))))
        error = await self.assertFailure(dialing, ConnectRefused)
        self.assertEqual(str(error), 'nobody listens at crm:1')


