"""The server's log: one format for twisted.logger and stdlib logging."""

from __future__ import annotations

import io
import logging
import sys
from pathlib import Path

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import Logger, LogLevel, LogPublisher
from twisted.python.failure import Failure
from twisted.python.log import LogPublisher as LegacyPublisher
from twisted.trial.unittest import SynchronousTestCase

from zatotx.logs.levels import LEVELS, LogLevels
from zatotx.logs.line_writer import SharedLineWriter
from zatotx.logs.log_file import LogFile
from zatotx.logs.process_log import LoggedService, ProcessLogWriter

STAMP = r'\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}'


class ServerLogTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.writer = SharedLineWriter(Clock(), LogFile(self.path, mode=0o600))
        self.addCleanup(self.writer.close)
        self.publisher = LogPublisher()
        self.log = Logger('zatotx.test', observer=self.publisher)
        self.stderr = io.StringIO()
        self.patch(sys, '__stderr__', self.stderr)

    def install(self, level: str = 'info') -> ProcessLogWriter:
        server_log = ProcessLogWriter(self.writer, levels=LogLevels(level), publisher=self.publisher)
        server_log.install()
        self.addCleanup(server_log.uninstall)
        return server_log

    def lines(self) -> list[str]:
        self.writer.flush()
        return self.path.read_text().splitlines()

    def test_service(self) -> None:
        """A service's entry names it and the request, in Zato's format."""
        self.install()
        extra = {'service': 'crm.get-balance', 'cid': 'abc123'}
        logging.getLogger('crm.get-balance').info('Got %s', 7, extra=extra)
        (line,) = self.lines()
        self.assertRegex(line, rf'^{STAMP} - INFO - crm\.get-balance:abc123 - Got 7$')

    def test_twisted(self) -> None:
        """Twisted's events are written with their namespace or the service they name."""
        self.install()
        self.log.warn('{what} happened', what='It')
        self.log.error('{service} failed', service='crm.x', cid='c1')
        first, second = self.lines()
        self.assertRegex(first, rf'^{STAMP} - WARNING - zatotx\.test - It happened$')
        self.assertRegex(second, rf'^{STAMP} - ERROR - crm\.x:c1 - crm\.x failed$')

    def test_legacy(self) -> None:
        """Messages of twisted.python.log are written as Twisted's, with their own level."""
        server_log = self.install()
        legacy = LegacyPublisher(observerPublisher=self.publisher, publishPublisher=self.publisher)
        legacy.msg('Port', 'closed')
        server_log.levels.set_level('twisted', 'error')
        legacy.msg('quiet')
        (line,) = self.lines()
        self.assertRegex(line, rf'^{STAMP} - INFO - twisted - Port closed$')

    def test_tracebacks(self) -> None:
        """A traceback is indented below its line, and cannot be mistaken for another entry."""
        self.install()
        forged = '2026-01-01 00:00:00,000 - INFO - x - forged'
        try:
            raise ValueError(f'first\n{forged}\x1b[0m')
        except ValueError:
            logging.getLogger('x').exception('It broke\n%s', forged)
            failure = Failure()
        self.log.failure('So did this', failure)
        lines = self.lines()
        heads = [line for line in lines if not line.startswith('    ')]
        self.assertEqual([head.split(' - ')[1] for head in heads], ['ERROR', 'CRITICAL'])
        self.assertTrue(heads[0].endswith(f'It broke\\n{forged}'))
        self.assertIn('    ValueError: first', lines)
        self.assertIn(f'    {forged}\\x1b[0m', lines)
        self.assertTrue(any('test_process_log.py' in line for line in lines))

    def test_level(self) -> None:
        """Entries below the level are not written; every level of a setting is known."""
        self.install('warning')
        logging.getLogger('x').info('quiet')
        logging.getLogger('x').warning('loud')
        self.log.info('quiet')
        self.log.warn('loud')
        self.assertEqual([line.rsplit(' - ', 1)[1] for line in self.lines()], ['loud', 'loud'])
        self.assertEqual(LEVELS, ('trace1', 'debug', 'info', 'warning', 'error', 'critical'))
        for level in LogLevel.iterconstants():
            self.log.emit(level, 'each has a name')

    def test_cannot_be_formatted(self) -> None:
        """A record whose arguments do not fit is written as far as possible, and raises nothing."""
        self.install()
        logging.getLogger('x').info('%d items', 'many')
        (line,) = self.lines()
        self.assertIn("'%d items' with ('many',) cannot be formatted", line)

    def test_critical(self) -> None:
        """Critical entries also go to standard error."""
        self.install()
        logging.getLogger('x').critical('The end')
        logging.getLogger('x').error('Not yet')
        self.assertEqual(self.stderr.getvalue().count('\n'), 1)
        self.assertIn('CRITICAL - x - The end', self.stderr.getvalue())

    def test_uninstall(self) -> None:
        """Afterwards nothing is received, and logging is as before."""
        root = logging.getLogger()
        before = (root.level, list(root.handlers))
        self.install().uninstall()
        self.log.info('late')
        self.assertEqual((root.level, list(root.handlers)), before)
        self.assertEqual(self.lines(), [])


class Talker(Service):
    """Logs when it starts and when it has stopped, which takes a while."""

    log = Logger()

    def startService(self) -> None:
        self.log.info('begun')

    def stopService(self) -> Deferred[None]:
        self.stopped: Deferred[None] = Deferred()
        return self.stopped.addCallback(lambda _: self.log.info('ended'))


class LoggedTests(SynchronousTestCase):
    def test_to_the_last_line(self) -> None:
        """What a service logs from its start to the end of its stop is in its file, not readable by others."""
        path = Path(self.mktemp()) / 'logs' / 'redis.log'
        talker = Talker()
        logged = LoggedService(talker, path, Clock())
        logged.startService()
        stopping = logged.stopService()
        self.assertNoResult(stopping)
        talker.stopped.callback(None)
        self.successResultOf(stopping)
        Talker.log.info('not ours any more')
        said = [line.rsplit(' - ', 1)[1] for line in path.read_text().splitlines()]
        self.assertEqual(said, ['begun', 'ended'])
        self.assertEqual(path.stat().st_mode & 0o077, 0)
