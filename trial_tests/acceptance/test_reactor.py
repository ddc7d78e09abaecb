"""The reactor that our processes run on does what Twisted's does, only with less around it."""

from __future__ import annotations

import socket
from collections.abc import Callable

from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.broker import Broker
from trial_tests.support.served import one_server
from zatotx.tap.component_service import MonotonicEpollReactor


class _Reading:
    """A selectable over a socket whose reading does what it is told."""

    def __init__(self, reactor: MonotonicEpollReactor, read: Callable[[], object]) -> None:
        self._reactor = reactor
        self._read = read
        self.ours, self.theirs = socket.socketpair()
        self.lost: list[Failure] = []

    def fileno(self) -> int:
        return self.ours.fileno()

    def doRead(self) -> object:
        return self._read() if self.ours.recv(10) else ConnectionDone()

    def connectionLost(self, reason: Failure) -> None:
        self._reactor.removeReader(self)
        self.lost.append(reason)
        self.ours.close()

    def logPrefix(self) -> str:
        return 'reading'


class EventTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = MonotonicEpollReactor()
        self.addCleanup(self.close)

    def close(self) -> None:
        for reader in self.reactor.getReaders():  # those of the test, and what wakes the reactor up
            reader.connectionLost(Failure(ConnectionDone()))

    def reading(self, read: Callable[[], object]) -> _Reading:
        one = _Reading(self.reactor, read)
        self.addCleanup(one.theirs.close)
        self.reactor.addReader(one)
        one.theirs.send(b'x')
        return one

    def test_an_error_ends_its_connection_and_no_other(self) -> None:
        """A selectable that raises is disconnected with its error, which is in the log; the next is read."""
        seen: list[str] = []

        def fail() -> object:
            raise ValueError('this one')

        bad, good = self.reading(fail), self.reading(lambda: seen.append('read'))
        self.reactor.doIteration(1)
        self.reactor.doIteration(0)
        self.assertEqual([str(reason.value) for reason in bad.lost], ['this one'])
        self.assertEqual((seen, good.lost), (['read'], []))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_the_end_of_a_connection_is_told(self) -> None:
        """What reading gives as the reason of an end, and a peer that hangs up."""
        done, left = self.reading(lambda: ConnectionDone()), self.reading(lambda: None)
        left.theirs.close()
        for _ in range(3):
            self.reactor.doIteration(0.1)
        self.assertTrue(done.lost[0].check(ConnectionDone))
        self.assertEqual(len(left.lost), 1)

    def test_a_connection_that_another_event_closed_is_left_alone(self) -> None:
        """Two are ready in one turn, and the first closes the second."""
        seen: list[int] = []

        def close(number: int) -> None:
            seen.append(number)
            self.reactor.removeReader(both[1 - number])

        both = [self.reading(lambda: close(0)), self.reading(lambda: close(1))]
        self.reactor.doIteration(1)
        self.assertEqual(len(seen), 1)


_WHICH = """
from twisted.internet import reactor
from zatotx import Service

class Which(Service):
    name = 'test.which-reactor'
    async def handle(self):
        self.response.payload = {'reactor': type(reactor).__name__}
"""


class InstalledTests(SynchronousTestCase):
    def test_a_server_runs_on_it(self) -> None:
        """twistd starts it where nobody asked for another."""
        broker: Broker = one_server()
        broker.serve('which_reactor.py', _WHICH)
        self.assertIn(b'MonotonicEpollReactor', broker.invoke('test.which-reactor').body)
