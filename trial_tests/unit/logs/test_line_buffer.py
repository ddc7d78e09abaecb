"""Line writers: one write per iteration in the reactor, immediate writes from other threads, no forged entries."""

from __future__ import annotations

import os
from pathlib import Path
from threading import Thread

from twisted.internet import reactor
from twisted.internet.task import Clock, deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from zatotx.interfaces.connector_kind import ILineSink
from zatotx.logs.line_writer import ReactorLineWriter, SharedLineWriter, escape_line
from zatotx.logs.log_file import LogFile


class LineWriterTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.path = Path(self.mktemp())
        self.writer = ReactorLineWriter(self.clock, LogFile(self.path))
        self.addCleanup(self.writer.close)

    def test_once_a_turn(self) -> None:
        """The lines of one iteration are written together at its end."""
        verifyObject(ILineSink, self.writer)
        self.writer.write_line('one')
        self.writer.write_line('two')
        self.assertEqual(self.path.read_text(), '')
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.advance(0)
        self.assertEqual(self.path.read_text(), 'one\ntwo\n')
        self.writer.write_line('three')
        self.clock.advance(0)
        self.assertEqual(self.path.read_text(), 'one\ntwo\nthree\n')

    def test_forged(self) -> None:
        """A line that contains line ends stays one line; others are unchanged."""
        self.writer.write_line('GET /a\r\n1.2.3.4 forged')
        self.writer.write_line('zażółć\tok')
        self.clock.advance(0)
        self.assertEqual(self.path.read_text().split('\n'), ['GET /a\\r\\n1.2.3.4 forged', 'zażółć\tok', ''])

    def test_flood(self) -> None:
        """Many lines in one iteration use bounded memory, and none is lost."""
        for number in range(25_000):
            self.writer.write_line(f'{number}')
        self.assertGreater(self.path.stat().st_size, 0)
        self.clock.advance(0)
        self.assertEqual(self.path.read_text(), ''.join(f'{n}\n' for n in range(25_000)))

    def test_close(self) -> None:
        """Closing writes buffered lines, leaves no delayed call, and may be repeated."""
        self.writer.write_line('last')
        self.writer.close()
        self.writer.close()
        self.assertEqual(self.path.read_text(), 'last\n')
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_reopen(self) -> None:
        """After the file was moved, buffered lines go to the new one."""
        self.writer.write_line('old')
        moved = self.path.with_suffix('.moved')
        self.path.rename(moved)
        self.writer.reopen()
        self.writer.write_line('new')
        self.clock.advance(0)
        self.assertEqual((moved.read_text(), self.path.read_text()), ('', 'old\nnew\n'))

    def test_lost(self) -> None:
        """Lines that could not be written are counted."""
        writer = ReactorLineWriter(self.clock, LogFile(Path('/dev/full')))
        writer.write_line('gone')
        self.clock.advance(0)
        self.assertEqual(writer.lost, 1)


class OneLineTests(SynchronousTestCase):
    def test_escapes(self) -> None:
        """Line ends, terminal controls and text direction marks are escaped; everything else is kept."""
        self.assertEqual(
            escape_line('a\nb\rc\x1b[2Jd\x00\x85\u2028\u202ee'), 'a\\nb\\rc\\x1b[2Jd\\x00\\x85\\u2028\\u202ee'
        )
        self.assertEqual(escape_line('zażółć\t\u00a0€'), 'zażółć\t\u00a0€')


class SharedLineWriterTests(TestCase):
    timeout = 120

    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.writer = SharedLineWriter(reactor, LogFile(self.path))
        self.addCleanup(self.writer.close)

    async def test_reactor(self) -> None:
        """Lines of the reactor's thread are written at the end of its iteration."""
        verifyObject(ILineSink, self.writer)
        self.writer.write_line('one')
        self.writer.write_line('two\n')
        self.assertEqual(self.path.read_text(), '')
        await deferLater(reactor, 0)
        self.assertEqual(self.path.read_text(), 'one\ntwo\\n\n')

    def test_stalled_reactor(self) -> None:
        """A thread's line is on disk when `line` returns, even if the reactor is stalled, after the reactor's earlier
        lines."""
        self.writer.write_line('reactor')
        thread = Thread(target=self.writer.write_line, args=('thread',))
        thread.start()
        thread.join(60)
        self.assertEqual(self.path.read_text(), 'reactor\nthread\n')

    async def test_many_threads(self) -> None:
        """Lines of many threads are complete, whole, and in order per thread."""

        def say(name: int) -> None:
            for number in range(500):
                self.writer.write_line(f'{name} {number}')

        threads = [deferToThread(say, name) for name in range(5)]
        for number in range(500):
            self.writer.write_line(f'9 {number}')
        for thread in threads:
            await thread
        self.writer.flush()
        lines = [tuple(map(int, line.split())) for line in self.path.read_text().splitlines()]
        self.assertEqual(len(lines), 3000)
        for name in (0, 1, 2, 3, 4, 9):
            self.assertEqual([number for who, number in lines if who == name], list(range(500)))

    def test_never_waits(self) -> None:
        """While another thread's write blocks, a line is accepted at once; that thread writes it, too."""
        read, write = os.pipe()
        self.addCleanup(os.close, read)
        os.set_blocking(write, True)
        writer = SharedLineWriter(reactor, LogFile(Path(f'/proc/self/fd/{write}')))
        os.close(write)
        slow = Thread(target=writer.write_line, args=('x' * 200_000,))  # more than a pipe holds
        slow.start()
        self.assertEqual(os.read(read, 1), b'x')
        writer.write_line('said meanwhile')
        writer.flush()
        got = b'x'
        while not got.endswith(b'said meanwhile\n'):
            got += os.read(read, 65536)
        slow.join(60)
        self.assertFalse(slow.is_alive())
        self.assertEqual(len(got), 200_001 + len('said meanwhile\n'))
        writer.close()

    async def test_close(self) -> None:
        """Closing writes buffered lines, and may be repeated."""
        self.writer.write_line('last')
        self.writer.close()
        self.writer.close()
        self.assertEqual(self.path.read_text(), 'last\n')

    async def test_reopen(self) -> None:
        """After the file was moved, buffered lines go to the new one."""
        self.writer.write_line('old')
        moved = self.path.with_suffix('.moved')
        self.path.rename(moved)
        self.writer.reopen()
        self.writer.write_line('new')
        self.writer.flush()
        self.assertEqual((moved.read_text(), self.path.read_text()), ('', 'old\nnew\n'))
        self.assertEqual(self.writer.lost, 0)
