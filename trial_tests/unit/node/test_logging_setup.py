"""The log files of a node: settings, live changes, and whose request a line belongs to."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.logger import Logger
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from zatotx.interfaces.node import ILogLevels
from zatotx.model.errors import ServiceUnavailable, StartError
from zatotx.node.logging_setup import LiveLogLevels, LogFiles
from zatotx.node.settings import Log, parse_settings
from zatotx.testing.memory_node import MemoryPubSub


class LogbookTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.clock = Clock()

    def book(self, **settings: Any) -> LogFiles:
        book = LogFiles(self.directory, self.clock, Log(**settings))
        book.start()
        self.addCleanup(book.stop)
        return book

    def read(self, name: str = 'server.log') -> list[str]:
        self.clock.advance(0)
        return (self.directory / name).read_text().splitlines()

    def test_files(self) -> None:
        """Each area has its file from the start on, in Zato's names."""
        self.book().line_sink('http_access.log')
        names = {path.name for path in self.directory.iterdir()}
        self.assertEqual(names, {'server.log', 'kvdb.log', 'admin.log', 'http_access.log'})

    def test_reload(self) -> None:
        """A reload takes over levels, form and sizes, for lines of kinds too, and opens files that were moved."""
        book = self.book()
        sink = book.line_sink('http_access.log')
        logging.getLogger('crm').debug('quiet')
        logging.getLogger('crm').info('before')
        self.clock.advance(0)
        (self.directory / 'server.log').rename(self.directory / 'moved')
        book.reload(Log(levels={'crm': 'debug'}, form='json', max_size=10_000, keep=1))
        self.assertTrue(sink.json)
        logging.getLogger('crm').debug('heard')
        (line,) = self.read()
        self.assertEqual(json.loads(line)['message'], 'heard')
        for _ in range(3):
            logging.getLogger('crm').info('x' * 8_000)
            self.clock.advance(0)
        names = {path.name for path in self.directory.iterdir()}
        self.assertIn('server.log.1', names)
        self.assertNotIn('server.log.2', names)

    def test_wrong_reload(self) -> None:
        """Settings that are wrong change nothing, and every mistake is named."""
        book = self.book(levels={'crm': 'debug'})
        with self.assertRaises(StartError) as caught:
            book.reload(Log(level='loud', levels={'kvdb': 'x'}, form='xml'))
        for part in ("[log] level: 'loud'", "[log.levels] kvdb: 'x'", "[log] form: 'xml' is not one of text, json"):
            self.assertIn(part, str(caught.exception))
        self.assertEqual(book.levels(), {'': 'info', 'crm': 'debug'})
        logging.getLogger('crm').debug('heard')
        self.assertEqual(len(self.read()), 1)

    def test_set_level(self) -> None:
        """A level that is set counts at once, until the next reload."""
        book = self.book()
        book.set_level('crm', 'debug')
        logging.getLogger('crm.x').debug('one')
        book.set_level('', 'error')
        Logger('zatotx.x').warn('quiet')
        logging.getLogger('crm.x').debug('two')
        self.assertEqual(book.levels(), {'': 'error', 'crm': 'debug'})
        book.reload(Log())
        logging.getLogger('crm.x').debug('quiet')
        Logger('zatotx.x').warn('three')
        self.assertEqual([line.rsplit(' - ', 1)[1] for line in self.read()], ['one', 'two', 'three'])
        self.assertEqual(book.levels(), {'': 'info'})

    def test_wrong_settings(self) -> None:
        """A node with wrong settings, or whose directory cannot be written, does not start."""
        with self.assertRaises(StartError):
            LogFiles(self.directory, self.clock, Log(level='loud'))
        with self.assertRaisesRegex(StartError, 'cannot be written'):
            LogFiles(self.directory / 'nowhere', self.clock, Log())

    def test_lost(self) -> None:
        """Lines that the disk did not take are counted, whatever file they were for."""
        for name in ('kvdb.log', 'http_access.log'):
            (self.directory / name).symlink_to('/dev/full')
        book = self.book()
        book.line_sink('http_access.log').write_line('lost')
        Logger('zatotx.redis').info('lost')
        logging.getLogger('crm').info('kept')
        self.clock.advance(0)
        self.assertEqual((book.lost(), len(self.read())), (2, 1))

    def test_in_the_settings_file(self) -> None:
        """[log] and [log.levels] of server.toml."""
        base = {'main': {'name': 's', 'cluster': 'c'}, 'odb': {'url': 'u'}, 'kvdb': {'url': 'u'}}
        log = {'level': 'warning', 'form': 'json', 'max_size': 50_000, 'keep': 3, 'levels': {'crm.x': 'debug'}}
        settings, mistakes = parse_settings({**base, 'log': log})
        assert settings is not None
        self.assertEqual((settings.log.levels, settings.log.form, mistakes), ({'crm.x': 'debug'}, 'json', []))
        settings, mistakes = parse_settings(
            {**base, 'log': {'max_size': 1, 'keep': 0, 'levels': {'a': 1}, 'colour': 'red'}}
        )
        self.assertEqual({mistake.split(':')[0] for mistake in mistakes},
                         {'log.max_size', 'log.keep', 'log.levels', 'log.colour'})


class AwayBus(MemoryPubSub):
    """Redis is unavailable."""

    def publish(self, topic: str, message: str) -> Deferred[None]:
        return fail(ServiceUnavailable(None, 'Redis is unavailable'))


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
        bus = MemoryPubSub()
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
        bus = MemoryPubSub()
        one, two = self.node(bus), self.node(bus)
        with self.assertRaisesRegex(ValueError, "'loud' is not one of trace1, debug"):
            one.set_level('crm', 'loud')
        with self.assertRaisesRegex(ValueError, 'at most 200'):
            one.set_level('x' * 201, 'debug')
        for message in ('', '{}', '[1]', '["crm", "loud"]', 'null', '["a", "b", "c"]'):
            self.successResultOf(bus.publish('log-level', message))
        self.assertEqual((one.effective(), two.effective()), ({'': 'info'},) * 2)
