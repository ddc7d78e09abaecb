"""Levels of the log changed while nodes run: by service, by command, on every node, with and without Redis."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from zatotx.interfaces.node import ILogLevels
from zatotx.model.errors import ServiceUnavailable
from zatotx.node.log_files import LogFiles
from zatotx.node.log_levels import LiveLogLevels
from zatotx.node.settings import Log
from zatotx.testing.memory_node import MemoryBus


class AwayBus(MemoryBus):
    """Redis is away."""

    def publish(self, topic: str, message: str) -> Deferred[None]:
        return fail(ServiceUnavailable(None, 'Redis is away'))


class LiveLevelsTests(SynchronousTestCase):
    def node(self, bus: Any) -> LiveLogLevels:
        directory = Path(self.mktemp())
        directory.mkdir()
        book = LogFiles(directory, Clock(), Log())
        self.addCleanup(book.stop)
        levels = LiveLogLevels(book, bus)
        levels.start()
        return levels

    def test_every_node(self) -> None:
        """What is set on one node is set on all."""
        bus = MemoryBus()
        one, two = self.node(bus), self.node(bus)
        verifyObject(ILogLevels, one)
        self.assertTrue(self.successResultOf(one.set_level('crm', 'debug')))
        self.assertEqual((one.effective(), two.effective()), ({'': 'info', 'crm': 'debug'},) * 2)
        self.successResultOf(two.set_level('crm', ''))
        self.assertEqual((one.effective(), two.effective()), ({'': 'info'},) * 2)

    def test_without_redis(self) -> None:
        """Without Redis it is set where it was asked for, and for this node's other workers, and says so."""
        levels = self.node(AwayBus())
        told: list[tuple[str, str]] = []

        def tell(name: str, level: str) -> Deferred[None]:
            told.append((name, level))
            return succeed(None)

        levels.others = tell
        self.assertFalse(self.successResultOf(levels.set_level('', 'error')))
        self.assertEqual((levels.effective(), told), ({'': 'error'}, [('', 'error')]))

    def test_nonsense(self) -> None:
        """A level that does not exist is refused, here and from the bus; nothing changes and nobody is told."""
        bus = MemoryBus()
        one, two = self.node(bus), self.node(bus)
        with self.assertRaisesRegex(ValueError, "'loud' is not one of trace1, debug"):
            one.set_level('crm', 'loud')
        with self.assertRaisesRegex(ValueError, 'at most 200'):
            one.set_level('x' * 201, 'debug')
        for message in ('', '{}', '[1]', '["crm", "loud"]', 'null', '["a", "b", "c"]'):
            self.successResultOf(bus.publish('log-level', message))
        self.assertEqual((one.effective(), two.effective()), ({'': 'info'},) * 2)
