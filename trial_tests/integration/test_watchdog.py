"""The watchdog on a real, stalled reactor in a separate process."""

from __future__ import annotations

import contextlib
import gc
import os
import re
import signal
import sys
import threading
from collections import Counter
from itertools import pairwise
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready, ProcessTerminated
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import Clock, deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from zatotx.metrics.gil_monitor import GilMonitor, is_waiting_for_gil
from zatotx.metrics.reactor_watchdog import (
    GcPauseMonitor,
    ReportedStall,
    StallReporter,
    Watchdog,
    stall_message,
    stall_shares_by_service,
)
from zatotx.metrics.stack_location import StackLocation, locate_frame, make_deployed_name
from zatotx.node.health_findings import find_reactor_stalls

SERVICES = """\
import time


def nap(seconds):
    time.sleep(seconds)  # line 5


class Sleepy:
    _zatotx_name = 'crm.sleepy'

    def handle(self):
        nap(0.12)


class Greedy:
    _zatotx_name = 'crm.greedy'

    def handle(self):
        return sum(range(12_000_000))  # line 19


class Endless:
    _zatotx_name = 'crm.endless'

    def handle(self):
        while True:
            self.turns = getattr(self, 'turns', 0) + 1  # lines 26 and 27


class Twice:
    _zatotx_name = 'crm.twice'

    def handle(self):
        from twisted.internet import reactor

        reactor.callLater(0.12, Sleepy().handle)  # due after the next beat
        time.sleep(0.13)  # line 37


class Background:
    _zatotx_name = 'crm.background'

    def __init__(self):
        from threading import Event, Thread

        self.left = Event()
        Thread(target=self.wait, daemon=True).start()  # which may take long on a busy machine: before it is watched

    def handle(self):
        from twisted.internet import reactor

        reactor.callLater(0, self.left.set)  # by then the reactor is out of here

    def wait(self):
        self.left.wait()
        print('begun', flush=True)
        time.sleep(30)


class Hog:
    _zatotx_name = 'crm.hog'

    def handle(self):
        from threading import Thread

        Thread(target=self.sum_up, daemon=True).start()

    def sum_up(self):
        for _ in range(20):  # where somebody else is quicker, it is seen the next time
            sum(range(20_000_000))


class Tidy:
    _zatotx_name = 'crm.tidy'
    rubbish = []

    def __init__(self):
        if not self.rubbish:
            self.rubbish.extend([number] for number in range(1_000_000))

    def handle(self):
        import gc

        for _ in range(3):
            gc.collect()
"""

NODE = """\
import re
import sys
from pathlib import Path
from time import monotonic
from twisted.internet import reactor
from zatotx.metrics.stack_location import make_deployed_name
from zatotx.metrics.reactor_watchdog import Watchdog

work, wanted, names = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
sys.path.insert(0, str(work / ('a' * 64)))
import crm

services = [getattr(crm, name)() for name in names]
said, end = set(), monotonic() + 60

def say(text):
    print(f'{monotonic():.3f} {text}', flush=True)
    said.add(re.match(r"service '[^']*'|.{20}", text)[0])

def look():  # a busy machine has it said later
    if len(said) >= wanted or monotonic() > end:
        reactor.stop()
    else:
        reactor.callLater(0.1, look)

watchdog = Watchdog(reactor, make_deployed_name(work), say)
watchdog.start()
for number, service in enumerate(services):
    reactor.callLater(0.2 + 0.3 * number, service.handle)
reactor.callLater(0.2 + 0.3 * len(names) + 1.5, look)
reactor.run()
watchdog.stop()
print('stalls', sum(watchdog.stalls.buckets[4:]), flush=True)
"""


class Node(ProcessProtocol):
    """A process whose output is collected; `over` fires with it, `line` with the first line that contains `word`."""

    def __init__(self, word: str) -> None:
        self._word = word
        self.over: Deferred[str] = Deferred()
        self.line: Deferred[str] = Deferred()
        self.text = ''

    def signal(self, number: int) -> None:
        """Send a signal; does nothing if the process has ended."""
        assert self.transport is not None
        with contextlib.suppress(ProcessExitedAlready):
            self.transport.signalProcess(number)

    def outReceived(self, data: bytes) -> None:
        self.text += data.decode()
        lines = [line for line in self.text.splitlines(keepends=True) if self._word in line and line.endswith('\n')]
        if lines and not self.line.called:
            self.line.callback(lines[0])

    def errReceived(self, data: bytes) -> None:
        self.text += data.decode()

    def processEnded(self, reason: Failure) -> None:
        if not self.line.called:
            self.line.errback(reason)
        if isinstance(reason.value, ProcessTerminated) and reason.value.signal is None:
            self.over.errback(AssertionError(self.text))
        else:
            self.over.callback(self.text)


def stalled(service: str, line: str) -> str:
    """Return a pattern for the report of a stall at that line, finished or, as on a busy machine, ongoing for a
    second."""
    return (rf"service 'crm\.{service}' (held|has been holding) the reactor for \d+\.\d\d s at crm\.py:{line}"
            r'( \(\d+ times, this is the longest\))?:')  # fmt: skip


class WatchdogTests(TestCase):
    timeout = 120

    def node(self, *services: str, wanted: int = 1, word: str = 'stalls') -> Node:
        """Start a process that runs these services until so many causes have been reported."""
        work = Path(self.mktemp()).absolute()
        deployed = work / ('a' * 64)
        deployed.mkdir(parents=True)
        (deployed / 'crm.py').write_text(SERVICES)
        node = Node(word)
        reactor.spawnProcess(
            node, sys.executable, [sys.executable, '-c', NODE, str(work), str(wanted), *services], env=dict(os.environ)
        )
        self.addCleanup(node.signal, signal.SIGKILL)
        return node

    async def test_named(self) -> None:
        """A service that blocks the reactor for 100 ms is reported with its file and innermost line."""
        text = await self.node('Sleepy').over
        self.assertRegex(text, stalled('sleepy', '5'))
        self.assertRegex(text, r'stalls [1-9]')

    async def test_keeps_the_gil(self) -> None:
        """So is one in code that holds the GIL."""
        text = await self.node('Greedy').over
        self.assertRegex(text, stalled('greedy', '19'))

    async def test_each_named_in_its_second(self) -> None:
        """Two stalls within one second are both reported, a second apart."""
        text = await self.node('Sleepy', 'Greedy', 'Sleepy', wanted=2).over
        said = [(float(at), name) for at, name in re.findall(r"^([\d.]+) service 'crm\.(\w+)'", text, re.MULTILINE)]
        self.assertEqual({name for _, name in said}, {'sleepy', 'greedy'})
        for (earlier, _), (later, _) in pairwise(said):
            self.assertGreaterEqual(later - earlier, 0.99)

    async def test_back_to_back(self) -> None:
        """Two stalls separated by a single timer call are distinguished."""
        text = await self.node('Twice', wanted=2).over
        self.assertRegex(text, stalled('twice', '37'))
        self.assertRegex(text, stalled('sleepy', '5'))

    async def test_endless(self) -> None:
        """An endless stall is reported while it lasts."""
        node = self.node('Endless', word='endless')
        line = await node.line
        self.assertRegex(line, r"service 'crm\.endless' has been holding the reactor for [1-9]\d*\.\d\d s at "
                               r'crm\.py:2[67]:')
        node.signal(signal.SIGKILL)
        await node.over

    async def test_quiet(self) -> None:
        """An idle reactor, or one whose process gets no CPU, is not reported."""
        node = self.node(wanted=0)
        await deferLater(reactor, 0.5)
        node.signal(signal.SIGSTOP)
        await deferLater(reactor, 0.3)
        node.signal(signal.SIGCONT)
        self.assertRegex(await node.over, r'^stalls \d+\n$')


    async def test_stopped_while_a_thread_waits(self) -> None:
        """Neither is a waiting service thread when the process gets no CPU."""
        node = self.node('Background', wanted=0, word='begun')
        await node.line
        node.signal(signal.SIGSTOP)
        await deferLater(reactor, 0.3)
        node.signal(signal.SIGCONT)
        text = await node.over
        self.assertRegex(text, r'stalls \d+\n$')
        self.assertNotIn('crm.background', text)

    async def test_another_thread_keeps_the_gil(self) -> None:
        """A service in a thread that holds the GIL is reported with its line."""
        text = await self.node('Hog').over
        self.assertRegex(text, stalled('hog', r'\d\d') + '|'
                               r'code of another thread, which did not let go of the interpreter')  # fmt: skip

    async def test_garbage_collection(self) -> None:
        """Stalls by the garbage collector are not attributed to a service."""
        text = await self.node('Tidy').over
        self.assertRegex(text, r'the garbage collector stopped the process for \d+\.\d\d s')
        self.assertNotIn('crm.tidy', text)


class PausesTests(SynchronousTestCase):
    def test_counted(self) -> None:
        """Each collection is counted while measuring, and not afterwards."""
        pauses = GcPauseMonitor()
        pauses.start()
        gc.collect()
        pauses.stop()
        pauses.stop()
        counted = pauses.pauses.count
        self.assertGreaterEqual(counted, 1)
        gc.collect()
        self.assertEqual(pauses.pauses.count, counted)

    def test_share(self) -> None:
        """The time that collections took in an interval includes parts of those at its ends."""
        pauses = GcPauseMonitor()
        pauses._long.extend([(10.0, 0.5), (11.0, 0.2), (20.0, 1.0)])  # (end, length)
        self.assertAlmostEqual(pauses.seconds_between(9.8, 11.5), 0.4)
        self.assertEqual(pauses.seconds_between(12.0, 19.0), 0.0)


    def test_under_way(self) -> None:
        """A collection whose end is not recorded yet counts once, up to now."""
        pauses = GcPauseMonitor()
        pauses._on_gc('start', {})
        began = pauses._started
        self.assertAlmostEqual(pauses.seconds_between(began - 1, began + 0.5), 0.5)
        pauses._on_gc('stop', {})
        self.assertEqual(pauses.seconds_between(began - 1, began + 0.5), 0.0)  # it was a short one


class StoppedProcessTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.said: list[str] = []
        self.watchdog = Watchdog(Clock(), str, self.said.append)
        self.monitor = self.watchdog._gil_monitor = GilMonitor(threading.get_ident(), str)
        self.monitor._pauses.append((10.06, 10.36))
        self.watchdog._samples = (10.0, Counter({StackLocation('crm.quick', 'crm.py:48'): 1}))

    def test_not_attributed_to_a_service(self) -> None:
        """If the process is stopped while a service runs, the time until it continues is not the service's."""
        self.watchdog._finish(10.0, 0.37)
        self.watchdog.reports.report_next(11.0)
        self.assertEqual(self.said, [])

    def test_the_rest_is(self) -> None:
        """What the service took besides is reported."""
        self.watchdog._finish(10.0, 0.5)
        self.watchdog.reports.report_next(11.0)
        self.assertEqual(self.said, [stall_message(StackLocation('crm.quick', 'crm.py:48'), 1, 0.2, False)])

    def test_parts_of_an_interval(self) -> None:
        """Only the part of a pause that lies in an interval counts."""
        self.assertAlmostEqual(self.monitor.paused(10.0, 11.0), 0.3)
        self.assertAlmostEqual(self.monitor.paused(10.1, 10.2), 0.1)
        self.assertEqual(self.monitor.paused(10.4, 11.0), 0)

    def test_how_it_is_noticed(self) -> None:
        """A thread that waits for the GIL wakes up often, one whose process is stopped does not."""
        self.assertTrue(is_waiting_for_gil(60, 0.3))
        self.assertTrue(is_waiting_for_gil(7, 0.3))
        self.assertFalse(is_waiting_for_gil(4, 0.3))
        self.assertFalse(is_waiting_for_gil(1, 0.05))


class FindingsTests(SynchronousTestCase):
    def test_of_the_last_hour(self) -> None:
        """Services that stalled the reactor within the last hour are findings with the time; older stalls, code outside
        services and the broker's own services are not."""
        said = [
            ReportedStall(1000.0, "service 'old' held", 'old'),
            ReportedStall(5000.0, "service 'crm' held", 'crm'),
            ReportedStall(5000.0, 'something other than a service held', ''),
            ReportedStall(5000.0, "service 'zato.x' held", 'zato.x'),
        ]
        (sentence_,) = find_reactor_stalls(said, now=5300.0)
        self.assertTrue(sentence_.startswith("service 'crm' held (01:23:20 UTC): "))

    def test_kept(self) -> None:
        """The last twenty reports are kept with their time."""
        reports = StallReporter(lambda text: None, clock=lambda: 1234.5)
        for number in range(30):
            reports.add(StackLocation('a', f'a.py:{number}'), 0.2, is_ongoing=False)
            reports.report_next(float(number * 2))
        self.assertEqual(len(reports.reported), 20)
        self.assertEqual((reports.reported[-1].when, reports.reported[-1].service), (1234.5, 'a'))
        self.assertIn('a.py:29', reports.reported[-1].message)


class ReportTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.said: list[str] = []
        self.reports = StallReporter(self.said.append)

    def test_pace(self) -> None:
        """At most one report per second; each location once, with its longest stall."""
        here, there = StackLocation('a', 'a.py:1'), StackLocation('b', 'b.py:2')
        self.reports.add(here, 0.2, is_ongoing=False)
        self.reports.add(there, 0.1, is_ongoing=False)
        self.reports.add(here, 0.3, is_ongoing=False)
        for now in (10.0, 10.5, 11.0, 11.5, 12.0):
            self.reports.report_next(now)
        self.assertEqual(self.said, [stall_message(here, 2, 0.3, False), stall_message(there, 1, 0.1, False)])

    def test_one_stall_once(self) -> None:
        """A long stall reported while it lasted counts as one stall after it ended."""
        here = StackLocation('a', 'a.py:1')
        self.reports.add(here, 1.0, is_ongoing=True)
        self.reports.add(here, 1.4, is_ongoing=False)
        self.reports.report_next(0.0)
        self.assertEqual(self.said, [stall_message(here, 1, 1.4, False)])

    def test_bounded(self) -> None:
        """The number of waiting reports is bounded."""
        for number in range(1000):
            self.reports.add(StackLocation('a', f'a.py:{number}'), 0.2, is_ongoing=False)
        for now in range(100):
            self.reports.report_next(float(now))
        self.assertEqual(len(self.said), 16)


class ShareTests(SynchronousTestCase):
    def test_one_after_the_other(self) -> None:
        """Services that ran one after the other each have their share of the stall, at their most frequent line."""
        seen = Counter(
            {
                StackLocation('a', 'a.py:1'): 2,
                StackLocation('b', 'b.py:5'): 1,
                StackLocation('b', 'b.py:6'): 3,
                StackLocation('', 'x:1'): 2,
            }
        )
        self.assertEqual(
            stall_shares_by_service(seen),
            [
                (StackLocation('a', 'a.py:1'), 0.25),
                (StackLocation('b', 'b.py:6'), 0.5),
                (StackLocation('', 'x:1'), 0.25),
            ],
        )


class PlaceTests(SynchronousTestCase):
    def test_files(self) -> None:
        """A deployed file has the name that its author uses, wherever the node stores it."""
        shown = make_deployed_name(Path('/env/work'))
        version = '0123456789abcdef' * 4
        self.assertEqual(shown(f'/env/work/deployed/{version}/crm.py'), 'crm.py')
        self.assertEqual(shown(f'/env/work/deployed/{version}/crm/util.py'), 'crm/util.py')
        self.assertEqual(shown('/env/work/crm.py'), 'crm.py')
        self.assertEqual(shown('/usr/lib/python3/crm.py'), '')

    def test_no_service(self) -> None:
        """Outside services, the innermost line is reported."""
        place = locate_frame(sys._getframe(), lambda _: '')
        assert place is not None
        self.assertEqual(place.service, '')
        self.assertRegex(place.position, r'integration/test_watchdog\.py:\d+')

    def test_runs_no_code_of_the_service(self) -> None:
        """Inspecting a stalled service calls none of its properties."""

        class Careful:
            _zatotx_name = 'careful'

            @property
            def name(self) -> str:
                raise AssertionError('called')

            def handle(self) -> StackLocation | None:
                return locate_frame(sys._getframe(), lambda _: '')

        place = Careful().handle()
        assert place is not None
        self.assertEqual(place.service, 'careful')
