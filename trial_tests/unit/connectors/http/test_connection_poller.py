"""zatotx.connectors.http.connection_poller: reads many connections with one event of the reactor."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IReactorFDSet
from twisted.internet.protocol import Protocol
from twisted.internet.tcp import Connection
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from zatotx.connectors.http.connection_poller import ConnectionPoller, make_poller

_LOST = Failure(ConnectionLost())


@implementer(IReactorFDSet)
class DescriptorSet:
    """The descriptors of a reactor that never runs."""

    def __init__(self) -> None:
        self.readers: set[object] = set()
        self.writers: set[object] = set()
        self.addReader, self.removeReader = self.readers.add, self.readers.discard
        self.addWriter, self.removeWriter = self.writers.add, self.writers.discard

    def removeAll(self) -> list[Any]:
        """Return the descriptors and forget them."""
        every = [*self.readers, *self.writers]
        self.readers.clear()
        self.writers.clear()
        return every

    def getReaders(self) -> list[Any]:
        """Return what is read."""
        return list(self.readers)

    def getWriters(self) -> list[Any]:
        """Return what is written to."""
        return list(self.writers)


class Recorder(Protocol):
    """Keeps what it receives; `on_data` is called for each piece."""

    def __init__(self) -> None:
        self.received = b''
        self.reason: Failure | None = None
        self.on_data = lambda: None

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        self.on_data()

    def connectionLost(self, reason: Failure = _LOST) -> None:
        self.reason = reason


class ConnectionPollerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = DescriptorSet()
        self.rounds: list[bool] = []
        self.poller = ConnectionPoller(self.reactor, self.rounds.append)
        self.peers: list[socket.socket] = []

    def connect(self) -> tuple[Any, Recorder]:
        """A connection that the poller reads, and its protocol; its peer is the last of `peers`."""
        ours, peer = socket.socketpair()
        self.peers.append(peer)
        self.addCleanup(peer.close)
        protocol = Recorder()
        transport: Any = Connection(ours, protocol, self.reactor)
        transport.connected = 1
        transport.startReading()
        protocol.makeConnection(transport)
        self.poller.take_over(transport)
        self.addCleanup(transport.connectionLost, _LOST)
        return transport, protocol

    def test_one_event_reads_every_connection(self) -> None:
        """The reactor has one descriptor, whose event reads all connections that have data."""
        protocols = [self.connect()[1] for _ in range(3)]
        for number, peer in enumerate(self.peers[:2]):
            peer.sendall(b'%d' % number)
        self.assertEqual(self.reactor.readers, {self.poller})
        self.poller.doRead()
        self.assertEqual([protocol.received for protocol in protocols], [b'0', b'1', b''])
        self.assertEqual(self.rounds, [True, False])

    def test_an_ended_connection_is_given_back(self) -> None:
        """The reactor handles the end of a connection. A poller without connections is no descriptor."""
        transport, protocol = self.connect()
        self.peers[0].sendall(b'last')
        self.peers[0].shutdown(socket.SHUT_WR)
        self.poller.doRead()
        self.assertEqual((protocol.received, protocol.reason), (b'last', None))
        self.poller.doRead()
        self.assertEqual((self.reactor.readers, self.poller.fileno()), ({transport}, -1))
        transport.stopReading()
        self.assertEqual(self.reactor.readers, set())

    def test_a_reset_connection_is_given_back(self) -> None:
        """The reactor handles an error of a connection, too; the others are read."""
        transport, _ = self.connect()
        _, other = self.connect()
        self.peers[0].close()
        self.peers[1].sendall(b'data')
        self.poller.doRead()
        self.assertEqual((self.reactor.readers, other.received), ({transport, self.poller}, b'data'))

    def test_paused_connections_are_not_read(self) -> None:
        """A transport that pauses is not read until it resumes."""
        transport, protocol = self.connect()
        self.connect()
        transport.pauseProducing()
        self.peers[0].sendall(b'data')
        self.poller.doRead()
        self.assertEqual(protocol.received, b'')
        transport.resumeProducing()
        self.poller.doRead()
        self.assertEqual(protocol.received, b'data')

    def test_what_an_earlier_event_has_paused_is_skipped(self) -> None:
        """A connection that was paused in the same round is not read."""
        pairs = [self.connect(), self.connect()]
        for peer in self.peers:
            peer.sendall(b'data')
        for transport, _ in pairs:
            for _, protocol in pairs:
                if protocol is not transport.protocol:
                    protocol.on_data = transport.pauseProducing
        self.poller.doRead()
        self.assertEqual(sorted(protocol.received for _, protocol in pairs), [b'', b'data'])

    def test_an_error_disconnects_one_connection(self) -> None:
        """An exception of a protocol is logged and disconnects that connection; the others are read."""
        _, failing = self.connect()
        _, other = self.connect()

        def fail() -> None:
            raise ZeroDivisionError

        failing.on_data = fail
        for peer in self.peers:
            peer.sendall(b'data')
        self.poller.doRead()
        assert failing.reason is not None
        self.assertIsNotNone(failing.reason.check(ZeroDivisionError))
        self.assertEqual((other.received, other.reason), (b'data', None))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual((self.rounds, self.reactor.readers), ([True, False], {self.poller}))

    def test_all_connections_are_lost_with_the_reactor(self) -> None:
        """The poller passes on the loss of its descriptor, as when the reactor stops."""
        protocols = [self.connect()[1] for _ in range(2)]
        self.poller.connectionLost(_LOST)
        self.assertEqual([protocol.reason for protocol in protocols], [_LOST, _LOST])
        self.assertEqual(self.poller.fileno(), -1)

    def test_an_error_of_a_lost_connection_stays_with_it(self) -> None:
        """A protocol that fails when its connection is lost does not prevent that the others are lost, too."""
        protocols = [self.connect()[1] for _ in range(2)]

        def fail(reason: Failure) -> None:
            raise ZeroDivisionError

        protocols[0].connectionLost = fail  # type: ignore[method-assign,assignment]
        self.poller.connectionLost(_LOST)
        self.assertEqual((protocols[1].reason, self.poller.fileno()), (_LOST, -1))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_writing_is_left_to_the_reactor(self) -> None:
        """The poller is the reactor of its transports for all but reading."""
        transport, _ = self.connect()
        transport.startWriting()
        self.assertEqual(self.reactor.writers, {transport})

    def test_other_transports_are_left_to_the_reactor(self) -> None:
        """Only plain TCP connections are taken over."""
        self.poller.take_over(StringTransport())
        self.assertEqual((self.reactor.readers, self.poller.fileno()), (set(), -1))

    def test_no_poller_without_descriptors(self) -> None:
        """A clock is no reactor with descriptors."""
        self.assertIsNone(make_poller(object(), self.rounds.append))
        self.assertIsInstance(make_poller(self.reactor, self.rounds.append), ConnectionPoller)
