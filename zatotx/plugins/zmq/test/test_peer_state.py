"""What the events of a socket monitor say about peers. The sequences are those of libzmq 4.3.5."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from zatotx.plugins.zmq import peer_state
from zatotx.plugins.zmq.peer_state import EVENT, MonitorEvent, PeerState

ADDRESS, OTHER = 'tcp://127.0.0.1:1', 'tcp://127.0.0.1:2'


class PeerStateTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock, self.changes = Clock(), 0
        self.peers = PeerState(self.clock.seconds, self.count)

    def count(self) -> None:
        self.changes += 1

    def events(self, *events: tuple[str, int], address: str = ADDRESS) -> None:
        """Events by name, with their values."""
        for name, value in events:
            self.peers.handle([EVENT.pack(MonitorEvent[name], value), address.encode()])

    def test_comes_and_goes(self) -> None:
        """A peer counts from the end of its handshake to its disconnection."""
        self.events(('CONNECT_DELAYED', 115), ('CONNECTED', 16))
        self.assertEqual((self.peers.ready, self.peers.has_pending), (0, True))
        self.events(('HANDSHAKE_SUCCEEDED', 0))
        self.assertEqual((self.peers.ready, self.peers.has_pending, self.peers.failure), (1, False, ''))
        self.events(('DISCONNECTED', 16))
        self.assertEqual((self.peers.ready, self.peers.ended), (0, {ADDRESS}))
        self.events(('CONNECT_RETRIED', 100), ('CONNECT_DELAYED', 115), ('CONNECTED', 16), ('HANDSHAKE_SUCCEEDED', 0))
        self.assertEqual((self.peers.ready, self.peers.ended), (1, set()))

    def test_wrong_type(self) -> None:
        """ZeroMQ reports only that the connection has ended, and does not connect again."""
        self.events(('CONNECTED', 16), ('DISCONNECTED', 16))
        self.assertEqual((self.peers.failure, self.peers.failed_handshakes), (peer_state.FAILED, 1))
        self.assertEqual(self.peers.ended, {ADDRESS})

    def test_reported_failures(self) -> None:
        """A failure that has an event of its own counts once, and the last cause is kept until a success."""
        self.clock.advance(7)
        for name, value, cause in (
            ('HANDSHAKE_FAILED_AUTH', 400, peer_state.REJECTED_KEY),
            ('HANDSHAKE_FAILED_PROTOCOL', 0x11000001, 'its CURVE keys do not fit: compare the key of the server'),
            ('HANDSHAKE_FAILED_PROTOCOL', 0x11000002, 'only one of both sides uses CURVE'),
            ('HANDSHAKE_FAILED_NO_DETAIL', 32, peer_state.FAILED),
        ):
            self.events(('ACCEPTED', 17), (name, value), ('DISCONNECTED', 17))
            self.assertEqual((self.peers.failure, self.peers.failed_at), (cause, 7))
        self.assertEqual((self.peers.failed_handshakes, self.peers.has_pending), (4, False))
        self.events(('ACCEPTED', 17), ('HANDSHAKE_SUCCEEDED', 0))
        self.assertEqual((self.peers.failure, self.peers.ready), ('', 1))

    def test_several(self) -> None:
        """The success of a handshake belongs to the oldest connection of the address without one."""
        self.events(('ACCEPTED', 17), ('ACCEPTED', 18))
        self.events(('ACCEPTED', 19), address=OTHER)
        self.events(('HANDSHAKE_SUCCEEDED', 0))
        self.events(('DISCONNECTED', 18))
        self.assertEqual((self.peers.ready, self.peers.failed_handshakes, self.peers.has_pending), (1, 1, True))
        self.events(('DISCONNECTED', 17))
        self.events(('HANDSHAKE_SUCCEEDED', 0), address=OTHER)
        self.assertEqual((self.peers.ready, self.peers.has_pending), (1, False))

    def test_unreachable(self) -> None:
        """An address where nobody listens is a failure, unless another peer is connected."""
        self.events(('CONNECT_DELAYED', 115), ('CLOSED', 13), ('CONNECT_RETRIED', 110))
        self.assertEqual(self.peers.failure, f'nobody is at the address {ADDRESS}')
        self.events(('CONNECTED', 16), ('HANDSHAKE_SUCCEEDED', 0), address=OTHER)
        self.events(('CLOSED', 13))
        self.assertEqual(self.peers.failure, '')

    def test_unknown(self) -> None:
        """Other events, and the end of a connection that nobody knows, change nothing."""
        self.events(('LISTENING', 15), ('DISCONNECTED', 99), ('MONITOR_STOPPED', 0), ('HANDSHAKE_SUCCEEDED', 0))
        self.assertEqual((self.peers.ready, self.peers.failed_handshakes, self.changes), (0, 0, 0))
