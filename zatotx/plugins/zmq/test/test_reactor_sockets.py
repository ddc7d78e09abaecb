"""The end of a ZeroMQ context, which must not keep a node from ending."""

from __future__ import annotations

from typing import Any

import zmq
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from zatotx.plugins.zmq.reactor_sockets import END_TIMEOUT, ReactorSocket, SocketError, SocketFactory
from zatotx.testing.log_recorder import LogRecorder


class EndTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.ending: Deferred[Any] = Deferred()
        self.factory = SocketFactory(self.clock, lambda function: self.ending)
        self.addCleanup(self.factory.context.term)

    def test_overdue(self) -> None:
        """Where ZeroMQ does not close its sockets, the end is over after END_TIMEOUT, and the log says so."""
        recorder = LogRecorder()
        globalLogPublisher.addObserver(recorder)
        self.addCleanup(globalLogPublisher.removeObserver, recorder)
        ended = self.factory.end()
        self.clock.advance(END_TIMEOUT - 0.1)
        self.assertNoResult(ended)
        self.clock.advance(0.1)
        self.successResultOf(ended)
        (message,) = (record.getMessage() for record in recorder.records if record.levelname == 'ERROR')
        self.assertIn('ZeroMQ has not closed its sockets within 5.0 s', message)
        self.ending.callback(None)  # a late end has no effect

    def test_no_socket_afterwards(self) -> None:
        """A socket that is opened afterwards, which nobody would close, is an error."""
        self.factory.end()
        self.ending.callback(None)
        error = self.assertRaises(SocketError, ReactorSocket, self.factory, zmq.PUSH, None)
        self.assertEqual(str(error), 'it is being closed')
        self.successResultOf(self.factory.end())
