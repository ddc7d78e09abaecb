"""Connections over the limit of all wait, and none is dropped; those over the limit of an address are aborted."""

from __future__ import annotations

import resource
import socket
import sys
from errno import EAGAIN, EMFILE
from typing import Any

from twisted.internet import reactor as the_reactor
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock, deferLater
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase, TestCase

from zatotx.plugins.http.metrics import HttpCounters
from zatotx.plugins.http.server.connection_limits import AcceptLimiter, first_reserved_descriptor
from zatotx.plugins.http.test.server_doubles import Client, ScriptedExchange, Server, get

reactor: Any = the_reactor


class Listening:
    """A listening socket with clients in its queue."""

    def __init__(self, *found: Any) -> None:
        self.found = list(found)
        self.accepts = 0

    def accept(self) -> Any:
        self.accepts += 1
        if not self.found:
            raise BlockingIOError(EAGAIN, 'nobody')
        client = self.found.pop(0)
        if isinstance(client, OSError):
            raise client
        return client, ('127.0.0.1', 1)

    def getsockname(self) -> str:
        return 'its name'


class AcceptedSocket:
    """The socket of a client, with its file descriptor."""

    def __init__(self, number: int) -> None:
        self.number = number

    def fileno(self) -> int:
        return self.number


class Port:
    """The parts of a port that AcceptLimiter uses."""

    def __init__(self, listening: Listening) -> None:
        self.socket: Any = listening
        self.reading = True

    def startReading(self) -> None:
        self.reading = True

    def stopReading(self) -> None:
        self.reading = False


class DoormanTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock, self.counters, self.limit = Clock(), HttpCounters(), 100_000
        self.doorman = AcceptLimiter(3, self.counters, self.clock.seconds, lambda: self.limit)
        self.listening = Listening()
        self.port = Port(self.listening)
        self.doorman.add_port(self.port)

    def come(self, *found: Any) -> list[int]:
        """Return the clients that the port accepts at once."""
        self.listening.found += found
        taken: list[int] = []
        while True:
            try:
                client, _ = self.port.socket.accept()
            except BlockingIOError as error:
                self.assertEqual(error.args[0], EAGAIN)
                return taken
            taken.append(client.fileno())
            self.counters.open += 1

    def test_at_max_connections_accepting_pauses(self) -> None:
        """After the last connection allowed accepting pauses: further clients stay in the queue and the port is not
        polled."""
        self.assertEqual(self.come(*(AcceptedSocket(n) for n in range(5))), [0, 1, 2])
        self.assertEqual((self.port.reading, len(self.listening.found), self.counters.paused), (False, 2, 1))
        accepts = self.listening.accepts
        self.come()
        self.assertEqual(self.listening.accepts, accepts)

    def test_it_goes_on_when_somebody_leaves(self) -> None:
        """When a connection closes the next client is accepted, and accepting pauses again."""
        self.come(*(AcceptedSocket(n) for n in range(5)))
        self.doorman.resume_if_possible()
        self.assertFalse(self.port.reading)
        self.counters.open -= 1
        self.doorman.resume_if_possible()
        self.assertTrue(self.port.reading)
        self.assertEqual(self.come(), [3])
        self.assertEqual((self.port.reading, self.counters.pauses), (False, 2))

    def test_some_descriptors_are_left(self) -> None:
        """Some file descriptors are kept free: the kernel's numbers tell how many are in use."""
        self.limit = 400
        self.doorman = AcceptLimiter(1000, self.counters, self.clock.seconds, lambda: self.limit)
        self.port.socket = self.listening
        self.doorman.add_port(self.port)
        self.assertEqual(self.come(*(AcceptedSocket(n) for n in (10, 335, 336, 11))), [10, 335, 336])
        self.assertFalse(self.port.reading)
        self.doorman.resume_if_possible()
        self.assertTrue(self.port.reading, 'this process has low numbers free')

    def test_nothing_left_drops_nobody(self) -> None:
        """If the kernel has no descriptor left, clients keep waiting, without a busy loop."""
        self.assertEqual(self.come(AcceptedSocket(5), OSError(EMFILE, 'Too many open files'), AcceptedSocket(6)), [5])
        self.assertEqual((self.port.reading, len(self.listening.found)), (False, 1))
        self.doorman.resume_if_possible()
        self.assertTrue(self.port.reading)
        self.assertEqual(self.come(), [6])

    def test_other_errors_are_the_ports_own(self) -> None:
        """Errors of other kinds are passed on."""
        self.listening.found.append(ConnectionAbortedError(103, 'gone'))
        self.assertRaises(ConnectionAbortedError, self.port.socket.accept)
        self.assertTrue(self.port.reading)

    def test_told_once(self) -> None:
        """A pause is logged once, however often it repeats; doctor reports it until accepting is stable again."""
        for number in range(5):
            self.counters.open = 2
            self.doorman.resume_if_possible()
            self.come(AcceptedSocket(number))
            self.clock.advance(1)
        self.assertEqual(self.counters.pauses, 5)
        (finding,) = self.doorman.findings()
        self.assertIn('max_connections', finding)
        self.counters.open = 0
        self.doorman.resume_if_possible()
        self.clock.advance(4)
        self.doorman.resume_if_possible()
        self.assertEqual(len(list(self.doorman.findings())), 1)
        self.clock.advance(2)
        self.doorman.resume_if_possible()
        self.assertEqual(list(self.doorman.findings()), [])

    def test_closed_ports_are_let_be(self) -> None:
        """A draining node does not resume listening."""
        self.come(*(AcceptedSocket(n) for n in range(5)))
        self.doorman.forget_ports()
        self.counters.open = 0
        self.doorman.resume_if_possible()
        self.assertFalse(self.port.reading)

    def test_the_socket_is_itself_otherwise(self) -> None:
        """The wrapped socket behaves as usual, and objects other than Twisted's ports are left alone."""
        self.assertEqual(self.port.socket.getsockname(), 'its name')
        self.doorman.add_port(object())

    def test_reserve(self) -> None:
        """64 descriptors are reserved, of a small limit a quarter, none without a limit."""
        self.assertEqual([first_reserved_descriptor(n) for n in (100_000, 1024, 256, 40)], [99_936, 960, 192, 30])
        self.assertEqual(first_reserved_descriptor(resource.RLIM_INFINITY), sys.maxsize)


class PortTests(TestCase):
    """Twisted's port with real clients."""

    async def test_more_clients_than_room(self) -> None:
        """Of ten clients for three connections all are served, never more than three at once."""
        counters = HttpCounters()
        doorman = AcceptLimiter(3, counters, reactor.seconds)
        most, done = [0], Deferred[None]()

        class Serving(Protocol):
            def connectionMade(self) -> None:
                counters.accepted += 1
                counters.open += 1
                most[0] = max(most[0], counters.open)
                transport: Any = self.transport
                transport.write(b'hello')
                reactor.callLater(0.02, transport.loseConnection)

            def connectionLost(self, reason: Any = None) -> None:
                counters.open -= 1
                doorman.resume_if_possible()
                if counters.accepted == 10 and not counters.open:
                    done.callback(None)

        class Making(Factory):
            noisy = False

            protocol = Serving

        port = reactor.listenTCP(0, Making(), interface='127.0.0.1')
        doorman.add_port(port)
        self.addCleanup(port.stopListening)
        clients = [socket.create_connection(('127.0.0.1', port.getHost().port)) for _ in range(10)]
        await done.addTimeout(60, reactor)
        for client in clients:
            self.assertEqual(client.recv(100), b'hello')
            client.close()
        self.assertEqual((most, counters.accepted), ([3], 10))
        await deferLater(reactor, 0.05)


class AddressLimitTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.server = Server(ScriptedExchange(), max_connections_per_address=2, head_timeout=1000.0)
        self.counters = self.server.site.counters

    def come(self, host: str) -> Client:
        made = IPv6Address if ':' in host else IPv4Address
        return self.server.connect(made('TCP', host, 50_000))

    def served(self, *clients: Client) -> list[bool]:
        """Return which connections are served; the others are aborted without a response."""
        found = [not client.closed for client in clients]
        for client in clients:
            if client.closed:
                self.assertEqual((client.wire.aborted, client.received()), (True, b''))
            else:
                self.assertEqual(client.ask(get('/zato/ping')).status, 200)
        return found

    def test_one_address_has_so_many(self) -> None:
        """The third connection of an address is aborted; another address is served; a closed connection frees a
        slot."""
        first, second, third = (self.come('10.0.0.1') for _ in range(3))
        self.assertEqual(self.served(first, second, third, self.come('10.0.0.2')), [True, True, False, True])
        self.assertEqual((self.counters.open, self.counters.accepted, self.counters.connections_refused), (3, 4, 1))
        first.wire.loseConnection()
        self.assertEqual(self.served(self.come('10.0.0.1'), self.come('10.0.0.1')), [True, False])

    def test_an_ipv6_network_is_one_client(self) -> None:
        """Addresses of one /64 count together, those of another do not."""
        hosts = '2001:db8::1', '2001:db8::2', '2001:db8:0:0:ffff::3', '2001:db8:0:1::1'
        self.assertEqual(self.served(*map(self.come, hosts)), [True, True, False, True])

    def test_unix_sockets_have_no_address(self) -> None:
        """Connections to Unix sockets are not counted."""
        clients = [self.server.connect(UNIXAddress(None)) for _ in range(5)]
        self.assertEqual(self.served(*clients), [True] * 5)
        for client in clients:
            client.wire.loseConnection()
        self.assertEqual(self.counters.open, 0)

    def test_trusted_proxies_speak_for_many(self) -> None:
        """Connections of a trusted proxy are not counted."""
        self.server = Server(ScriptedExchange(), max_connections_per_address=2, trusted_proxies=['10.0.0.1'])
        self.assertEqual(self.served(*(self.come('10.0.0.1') for _ in range(4))), [True] * 4)

    def test_nothing_is_kept_of_who_left(self) -> None:
        """No state is kept of closed connections."""
        for number in range(300):
            self.come(f'10.0.{number // 256}.{number % 256}').wire.loseConnection()
        self.assertEqual(self.server.site.address_limit._open, {})

    def test_said_once(self) -> None:
        """The log names the address once while the problem lasts; doctor reports it until a minute after the last
        rejection."""
        with capturedLogs() as events:
            for _ in range(5):
                self.come('10.0.0.1')
            self.server.wait(50)
            self.come('10.0.0.1')
        self.assertEqual(['10.0.0.1' in str(formatEvent(event)) for event in events], [True])
        for seconds, count in ((59, 1), (2, 0)):
            self.server.clock.advance(seconds)
            findings = list(self.server.site.address_limit.findings())
            self.assertEqual(len(findings), count)
            self.assertTrue(all('max_connections_per_address' in finding for finding in findings))
