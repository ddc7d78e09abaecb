"""Levels by category and logger, the two formats of entries, and the request that an entry belongs to."""

from __future__ import annotations

import io
import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock
from twisted.logger import Logger, LogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from zatotx.logs.levels import ADMIN, ALL_CATEGORIES, KVDB, LEVELS, SERVER, LogLevels, category_of
from zatotx.logs.line_writer import SharedLineWriter
from zatotx.logs.log_entry_formats import JSON, TEXT
from zatotx.logs.log_file import LogFile
from zatotx.logs.process_log import ContextGetter, ProcessLogWriter, empty_log_context


class LevelsTests(SynchronousTestCase):
    def test_precedence(self) -> None:
        """A logger's own level takes precedence over its parents', its category's and the default."""
        levels = LogLevels(
            'error', {'crm': 'info', 'crm.get.balance': 'debug', 'kvdb': 'warning', 'server': 'critical'}
        )
        numbers = {
            'crm.get.balance': logging.DEBUG,
            'crm.get': logging.INFO,
            'crmx': logging.CRITICAL,
            'zatotx.redis.reconnecting_connection': logging.WARNING,
            'zato.server.edit': logging.ERROR,
            'twisted': logging.CRITICAL,
        }
        self.assertEqual({name: levels.level_of(name) for name in numbers}, numbers)

    def test_change(self) -> None:
        """A level may be set and removed at any time; cached levels are updated."""
        levels = LogLevels('info')
        self.assertEqual(levels.level_of('crm.x'), logging.INFO)
        levels.set_level('crm', 'debug')
        self.assertEqual((levels.level_of('crm.x'), levels.level_of('other')), (logging.DEBUG, logging.INFO))
        levels.set_level('crm', '')
        levels.set_level('', 'error')
        self.assertEqual((levels.level_of('crm.x'), levels.as_dict()), (logging.ERROR, {'': 'error'}))

    def test_all_mistakes_at_once(self) -> None:
        """Every invalid level is named, with its setting and the valid levels."""
        with self.assertRaises(ValueError) as caught:
            LogLevels('loud', {'kvdb': 'debug', 'crm': 'LOUDER'})
        known = ', '.join(LEVELS)
        self.assertEqual(
            str(caught.exception),
            f"[log] level: 'loud' is not one of {known}; [log.levels] crm: 'LOUDER' is not one of {known}",
        )
        levels = LogLevels()
        for name, level in (('crm', 'loud'), ('', '')):
            with self.assertRaises(ValueError):
                levels.set_level(name, level)
        self.assertEqual(levels.as_dict(), {'': 'info'})

    def test_memory_is_bounded(self) -> None:
        """The cache of levels is bounded and correct."""
        levels = LogLevels('info', {'crm': 'debug'})
        for number in range(20_000):
            self.assertEqual(levels.level_of(f'crm.{number}'), logging.DEBUG)
        self.assertLessEqual(len(levels._cache), 10_000)

    def test_areas(self) -> None:
        """Loggers belong to categories by dotted names, not by prefixes; each category has its own file."""
        self.assertEqual(category_of('zatotx.redis.reconnecting_connection'), KVDB)
        self.assertEqual(category_of('zato.ping'), ADMIN)
        self.assertEqual((category_of('zatotx.node'), category_of('zatox'), category_of('')), (SERVER,) * 3)
        self.assertEqual(len({area.file for area in ALL_CATEGORIES}), len(ALL_CATEGORIES))


class Strange:
    def __str__(self) -> str:
        raise RuntimeError


class Chatty(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.publisher = LogPublisher()
        self.writers = {name: self.writer(f'{name}.log') for name in ('server', 'kvdb')}
        self.who = ('', '')
        self.patch(sys, '__stderr__', io.StringIO())  # critical entries stand there too

    def writer(self, name: str) -> SharedLineWriter:
        writer = SharedLineWriter(Clock(), LogFile(self.directory / name))
        self.addCleanup(writer.close)
        return writer

    def install(self, form: str = TEXT, whose: ContextGetter = empty_log_context, **levels: Any) -> ProcessLogWriter:
        log = ProcessLogWriter(
            self.writers['server'],
            levels=LogLevels(**levels),
            category_writers={'kvdb': self.writers['kvdb']},
            get_context=whose,
            publisher=self.publisher,
        )
        log.set_format(form)
        log.install()
        self.addCleanup(log.uninstall)
        return log

    def twisted(self, namespace: str) -> Logger:
        return Logger(namespace, observer=self.publisher)

    def lines(self, name: str = 'server') -> list[str]:
        self.writers[name].flush()
        return (self.directory / f'{name}.log').read_text().splitlines()

    def said(self, name: str = 'server') -> list[str]:
        return [line.rsplit(' - ', 1)[1] for line in self.lines(name)]

    def objects(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines()]


class RoutingTests(Chatty):
    def test_by_area(self) -> None:
        """Entries of a category are in its file; warnings and errors are also in server.log."""
        self.install()
        self.twisted('zatotx.redis.reconnecting_connection').info('it answers')
        self.twisted('zatotx.redis.reconnecting_connection').warn('it is unavailable')
        logging.getLogger('crm.x').info('hello')
        self.assertEqual(self.said('kvdb'), ['it answers', 'it is unavailable'])
        self.assertEqual(self.said(), ['it is unavailable', 'hello'])

    def test_levels(self) -> None:
        """Levels apply to both kinds of loggers; stdlib loggers skip entries below them early."""
        self.install(default='warning', table={'crm': 'debug', 'kvdb': 'error', 'some.lib': 'error'})
        self.twisted('crm').debug('heard 1')
        logging.getLogger('crm.x').debug('heard 2')
        logging.getLogger('other').info('quiet')
        self.twisted('zatotx.redis.cluster_announcements').warn('quiet')
        logging.getLogger('some.lib.part').warning('quiet')
        self.assertEqual(self.said(), ['heard 1', 'heard 2'])
        self.assertTrue(logging.getLogger('crm.x').isEnabledFor(logging.DEBUG))
        self.assertFalse(logging.getLogger('other').isEnabledFor(logging.INFO))
        self.assertFalse(logging.getLogger('some.lib.part').isEnabledFor(logging.WARNING))

    def test_changed_while_it_runs(self) -> None:
        """A changed level applies from the next entry on, and loggers are restored afterwards."""
        log = self.install()
        crm, root = logging.getLogger('crm'), logging.getLogger()
        logging.getLogger('crm.x').debug('quiet')
        log.levels.set_level('crm', 'debug')
        log.apply_levels()
        logging.getLogger('crm.x').debug('heard')
        log.levels.set_level('crm', '')
        log.apply_levels()
        logging.getLogger('crm.x').debug('quiet again')
        self.assertEqual(self.said(), ['heard'])
        self.assertEqual((crm.level, root.level), (logging.NOTSET, logging.INFO))

    def test_trace1(self) -> None:
        """Zato's level below debug exists under its name."""
        self.install(default='trace1')
        logging.getLogger('crm').log(6, 'fine')
        self.assertIn(' - TRACE1 - crm - fine', self.lines()[0])


class WhoseTests(Chatty):
    def whose(self) -> tuple[str, str]:
        return self.who

    def test_within_a_request(self) -> None:
        """Entries of libraries during a service carry the service, the cid, and the library's name."""
        self.install(whose=self.whose)
        self.who = ('crm.x', 'abc12345')
        logging.getLogger('urllib3').info('connecting')
        logging.getLogger('crm.y').info('mine', extra={'service': 'crm.y', 'cid': 'other123'})
        self.who = ('', '')
        logging.getLogger('urllib3').info('idle')
        sources = [line.split(' - ')[2] for line in self.lines()]
        self.assertEqual(sources, ['crm.x:abc12345 (urllib3)', 'crm.y:other123', 'urllib3'])


class JsonTests(Chatty):
    def test_fields(self) -> None:
        """Time in UTC, level, logger, service, cid, message, and the extras of a service."""
        self.install(JSON)
        extra = {'service': 'crm.x', 'cid': 'abc12345', 'amount': 3, 'tags': ['a', 'b'], 'level': 'mine'}
        logging.getLogger('crm.x').info('Paid %s', 'it', extra=extra)
        (found,) = self.objects()
        self.assertEqual(found.pop('pid'), os.getpid())
        self.assertRegex(found.pop('ts'), r'^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$')
        self.assertEqual(found, {
            'level': 'INFO', 'logger': 'crm.x', 'message': 'Paid it', 'service': 'crm.x', 'cid': 'abc12345',
            'amount': 3, 'tags': ['a', 'b'], 'level_': 'mine',
        })  # fmt: skip

    def test_twisted(self) -> None:
        """An event's fields are included if they are strings or numbers; other objects are not."""
        self.install(JSON)
        self.twisted('zatotx.x').warn('{what} at {port}', what='It', port=7, protocol=object())
        (found,) = self.objects()
        del found['ts'], found['pid']
        said = {'level': 'WARNING', 'logger': 'zatotx.x', 'message': 'It at 7'}
        self.assertEqual(found, {**said, 'what': 'It', 'port': 7})

    def test_tracebacks(self) -> None:
        """A traceback is a field of its entry."""
        self.install(JSON)
        try:
            raise ValueError('deep')
        except ValueError:
            logging.getLogger('x').exception('It broke')
            self.twisted('x').failure('So did this', Failure())
        for found in self.objects():
            self.assertIn('ValueError: deep', found['traceback'])

    def test_nothing_can_be_forged(self) -> None:
        """An entry is one line in every viewer and cannot control terminals, whatever its text."""
        self.install(JSON)
        text = 'a\r\n{"level": "INFO"}\u2028b\x85c\x1b[2J\u202e'
        logging.getLogger('x').info('%s', text, extra={'what': text, 'te\nxt': 1})
        (line,) = self.lines()
        self.assertTrue(line.isprintable())
        self.assertEqual((json.loads(line)['message'], json.loads(line)['what']), (text, text))

    def test_values_that_cannot_be_written(self) -> None:
        """No value of a service prevents its entry from being written."""
        self.install(JSON)
        knot: dict[str, Any] = {}
        knot['self'] = knot
        values = {'strange': Strange(), 'half': '\udcff', 'big': 1 << 70, 'knot': knot, 'path': Path('/a'), 'n': 1}
        logging.getLogger('x').info('all', extra=values)
        (found,) = self.objects()
        self.assertEqual((found['message'], found['n'], found['path'], found['half']), ('all', 1, '/a', '\\udcff'))
        self.assertEqual(found['big'], str(1 << 70))
        self.assertIn('cannot be written', found['strange'])

    def test_missing_lines(self) -> None:
        """The notice about missing entries is an object, too, so that readers can parse it."""
        file = LogFile(Path('/dev/full'))
        self.writers['server'] = SharedLineWriter(Clock(), file)
        log = self.install(JSON)
        logging.getLogger('x').info('lost')
        self.writers['server'].flush()
        self.assertEqual(json.loads(file.make_notice(3, 'full'))['lost'], 3)
        log.set_format(TEXT)
        self.assertEqual(file.make_notice(3, 'full'), 'Lines of this log missing here: 3 (full)')
