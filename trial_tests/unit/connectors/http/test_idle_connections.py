"""The idle connections of a pool."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from zatotx.connectors.http.idle_connections import SOCKET_CHECK_AGE, IdleConnections


class RecordedConnection:
    """A connection that records how it ends."""

    def __init__(self, *, is_stale: bool = False) -> None:
        self.idle_since = 0.0
        self.end = ''
        self._stale = is_stale

    def is_stale(self) -> bool:
        return self._stale

    def close(self) -> None:
        self.end = 'closed'

    def abort(self) -> None:
        self.end = 'aborted'


class IdleConnectionsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.idle: IdleConnections[RecordedConnection] = IdleConnections(self.clock, 30)

    def test_last_used_first(self) -> None:
        """The connection that was used last is reused first, so that the others can expire."""
        first, second = RecordedConnection(), RecordedConnection()
        self.idle.add(first, 0)
        self.idle.add(second, 0)
        self.assertEqual([self.idle.take(0), self.idle.take(0), self.idle.take(0)], [second, first, None])

    def test_stale_connections_are_aborted(self) -> None:
        """A connection that the peer has closed is not returned, if it was idle long enough to be checked."""
        stale = RecordedConnection(is_stale=True)
        self.idle.add(stale, 0)
        self.assertIsNone(self.idle.take(SOCKET_CHECK_AGE))
        self.assertEqual(stale.end, 'aborted')

    def test_expired_connections_are_closed(self) -> None:
        """A connection is closed when its idle time is over, others later; then no timer is left."""
        first, second = RecordedConnection(), RecordedConnection()
        self.idle.add(first, 0)
        self.clock.advance(20)
        self.idle.add(second, self.clock.seconds())
        self.clock.advance(10)
        self.assertEqual((first.end, second.end, len(self.idle)), ('closed', '', 1))
        self.clock.advance(20)
        self.assertEqual((second.end, self.clock.getDelayedCalls()), ('closed', []))

    def test_close(self) -> None:
        """Closing the pool closes all, and leaves no timer."""
        connection = RecordedConnection()
        self.idle.add(connection, 0)
        self.idle.close()
        self.assertEqual((connection.end, len(self.idle), self.clock.getDelayedCalls()), ('closed', 0, []))
