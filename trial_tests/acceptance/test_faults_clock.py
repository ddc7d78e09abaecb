"""A clock that is an hour off, or jumps by one: nobody is taken for dead, no deadline passes, no deployment hangs."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime
from functools import partial
from threading import Event

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.broker import create, remove
from trial_tests.support.rawhttp import connected, request_bytes
from trial_tests.support.served import serve
from trial_tests.support.waiting import until
from zatotx.interfaces.config import NodeRow
from zatotx.node.live_config import NODE_TIMEOUT, LivenessMonitor
from zatotx.tap.component_service import MonotonicEpollReactor

HOUR = 3600.0
# A whole process's wall clock, set by a file. In Python: with libfaketime below it the server's first look at its ODB
# took more than four seconds in about one start of four.
SET_CLOCK = """
    import os
    import time

    _real, _where = time.time, os.environ['TEST_CLOCK_OFFSET']


    def _set():
        with open(_where) as file:
            return _real() + float(file.read())


    time.time = _set
"""


class PulseTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.pulse = LivenessMonitor(self.clock)

    def living(self, *rows: tuple[str, float, str]) -> list[str]:
        """Who lives, of (name, its own time at its last beat, status)."""
        nodes = [NodeRow(id=ord(name), name=name, seen_at=seen, up_status=status) for name, seen, status in rows]
        return [node.name for node in self.pulse.live_nodes(nodes)]

    def test_a_beat_is_a_change(self) -> None:
        """Whatever the time says: an hour ahead, an hour behind, jumping about."""
        for beat in range(20):
            jumping = (-1) ** beat * HOUR
            rows = [('a', HOUR + beat, 'running'), ('b', beat - HOUR, 'running'), ('c', jumping + beat, 'running')]
            self.assertEqual(self.living(*rows), ['a', 'b', 'c'])
            self.clock.advance(2)

    def test_silence_is_death(self) -> None:
        """Six seconds without a change, whatever time it says; a beat after it is life again."""
        row = ('a', HOUR, 'running')
        self.assertEqual(self.living(row), ['a'])
        self.clock.advance(NODE_TIMEOUT - 0.1)
        self.assertEqual(self.living(row), ['a'])
        self.clock.advance(0.2)
        self.assertEqual(self.living(row), [])
        self.assertEqual(self.living(('a', HOUR - 50, 'running')), ['a'])

    def test_a_clean_stop_is_known_at_once(self) -> None:
        """It is said, not guessed."""
        self.assertEqual(self.living(('a', 0.0, 'running'), ('b', 0.0, 'clean-down')), ['a'])

    def test_a_reader_that_slept_takes_nobody_for_dead(self) -> None:
        """It was stopped for a minute: those who beat meanwhile live."""
        self.living(('a', 1.0, 'running'), ('b', 1.0, 'running'))
        self.clock.advance(60)
        self.assertEqual(self.living(('a', 60.0, 'running'), ('b', 1.0, 'running')), ['a'])


class ReactorTests(SynchronousTestCase):
    def test_seconds_are_monotonic(self) -> None:
        """They go with the clock that nobody sets, timers too."""
        reactor = MonotonicEpollReactor()
        self.addCleanup(reactor.disconnectAll)
        self.assertLess(abs(reactor.seconds() - time.monotonic()), 5)
        self.assertLess(abs(reactor.callLater(100, print).getTime() - time.monotonic() - 100), 5)


class ServerTests(SynchronousTestCase):
    """Two servers; the clock of the second is a file."""

    def setUp(self) -> None:
        self.broker = serve(create(servers=2))
        self.addCleanup(remove, self.broker)
        self.offset = self.broker.path.parent / 'offset'
        hook = self.broker.write('sitecustomize.py', SET_CLOCK)  # Python imports it first of all
        self.faked = {'PYTHONPATH': str(hook.parent), 'TEST_CLOCK_OFFSET': str(self.offset)}
        self.set_clock(-HOUR)
        self.broker.must('stop', str(self.broker.directory(2)))
        self.broker.must('start', str(self.broker.directory(2)), env=self.faked)

    def set_clock(self, offset: float) -> None:
        """Set the clock of the second server by so many seconds, while it runs."""
        aside = self.offset.with_name('aside')
        aside.write_text(str(offset))
        aside.replace(self.offset)

    def is_off_by(self, hours: int) -> bool:
        """Whether the second server's clock is so many hours off, by the Date of its answers."""
        date = self.broker.ask('GET', '/zato/ping', server=2).field('date')
        return round((parsedate_to_datetime(date).timestamp() - time.time()) / HOUR) == hours

    def deployed(self, text: str) -> None:
        """A deployment through the first server is in both when it returns."""
        source = f"""
            from zatotx import Service
            class Said(Service):
                name = 'clock.said'
                async def handle(self):
                    self.response.payload = {text!r}
        """
        said = self.broker.deploy(self.broker.write('clock.py', source))
        self.assertEqual(said.code, 0, said.text)
        answers = [self.broker.invoke('clock.said', server=server).body for server in (1, 2)]
        self.assertEqual(answers, [text.encode()] * 2)

    def test_clocks_that_jump(self) -> None:
        """An hour behind from the start, then ahead, then behind again, while requests are under way: each is answered
        in its own time, deployments reach both servers, and a server that is really dead is found out all the same."""
        until(partial(self.is_off_by, -1), 'a clock an hour behind')
        self.deployed('wrong from the start')
        for hours in (1, -1):
            with connected(self.broker.port(2)) as client:
                fields = {'X-Zato-Deadline-Ms': '30000'}
                client.send(request_bytes('POST', '/acc/hangs.thread', fields, b'{}'))  # takes two seconds
                Event().wait(0.5)
                self.set_clock(hours * HOUR)
                until(partial(self.is_off_by, hours), f'a clock at {hours} h')
                self.assertEqual(client.answer().status, 200)
            self.deployed(f'the time is {hours} h off')
        self.broker.kill('server2')
        began = time.monotonic()
        said = self.broker.deploy(self.broker.write('other.py', 'from zatotx import Service\n'))
        self.assertLess(time.monotonic() - began, 35)
        self.assertNotIn('Traceback', said.text)
        self.assertEqual(self.broker.ask('GET', '/zato/ping').status, 200)
