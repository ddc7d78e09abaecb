"""What the driver does by its own clock: a connection that the broker blocks."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from zatotx.plugins.amqp.driver import BrokerConnection
from zatotx.plugins.amqp.schema.definition_amqp import AmqpDefinition


class BlockedTests(SynchronousTestCase):
    def connect(self, blocked_timeout: float) -> StringTransport:
        """A connection that the broker has blocked: its transport."""
        self.clock, transport = Clock(), StringTransport()
        definition = AmqpDefinition(name='r', host='h', blocked_timeout=blocked_timeout)
        self.connection = BrokerConnection(definition, 'x', self.clock, lambda reason: None)
        self.connection.makeConnection(transport)
        self.connection._on_blocked(None, None)
        return transport

    def test_timeout(self) -> None:
        """A connection that stays blocked for blocked_timeout is closed, to be opened anew."""
        transport = self.connect(5.0)
        self.assertTrue(self.connection.is_blocked)
        self.clock.advance(4.9)
        self.assertFalse(transport.disconnecting)
        self.clock.advance(0.1)
        self.assertTrue(transport.disconnecting)

    def test_unblocked_in_time(self) -> None:
        """One that is unblocked before, or has no blocked_timeout, is kept."""
        for blocked_timeout in (5.0, 0.0):
            transport = self.connect(blocked_timeout)
            self.clock.advance(4.0)
            self.connection._on_unblocked(None, None)
            self.clock.advance(100.0)
            self.assertEqual((transport.disconnecting, self.connection.is_blocked), (False, False))
