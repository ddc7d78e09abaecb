"""The runner of all tests: no failure is lost in it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from threading import Condition

from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.side_by_side import (
    MEMORY,
    MORE,
    Load,
    Result,
    available_memory,
    durations_file,
    modules_of,
    portions_of,
    run_all,
    seconds_waited,
    shared_environment,
    slowest,
)

GOOD = 'trial_tests.unit.rules.test_outgoing_retry'
SOURCE_TREE = 'trial_tests.packaging.test_source_tree'
BAD = f'{SOURCE_TREE}.NoSuchTests'
BROKEN = 'trial_tests.no_such_module'


class FixedLoad(Load):
    """A machine that always has room, or never."""

    def __init__(self, room: bool) -> None:
        super().__init__(lambda: 0.0, lambda: 0)
        self._room = room

    def has_room(self) -> bool:
        return self._room


class Tasks:
    """Each waits until as many run as are expected at a time."""

    def __init__(self, expected: int) -> None:
        self._expected, self._now, self.most = expected, 0, 0
        self._changed = Condition()

    def run(self) -> None:
        with self._changed:
            self._now += 1
            self.most = max(self.most, self._now)
            self._changed.notify_all()
            assert self._changed.wait_for(lambda: self.most >= self._expected, 60)
            self._now -= 1


class RunnerTests(SynchronousTestCase):
    def run_of(self, *names: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, '-m', 'trial_tests.support.side_by_side', '2', *names]
        root = Path(__file__).resolve().parents[2]
        return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False, timeout=240)

    def test_modules_of_packages(self) -> None:
        """All of them, in the order of their names, those of kinds too; classes and tests as they are."""
        found = list(modules_of(['trial_tests', 'zatotx.plugins', f'{SOURCE_TREE}.SourceTreeTests']))
        self.assertIn(__name__, found)
        self.assertIn('zatotx.plugins.http.test.server.test_request_body', found)
        self.assertEqual(found[-1], f'{SOURCE_TREE}.SourceTreeTests')
        self.assertEqual(len(found), len(set(found)))

    def test_portions(self) -> None:
        """No module is lost; modules of one environment stay together; the portions that take longest come first."""
        modules = list(modules_of(['trial_tests', 'zatotx.plugins']))
        found = portions_of(modules, {'trial_tests.acceptance.test_workers': 100.0})
        self.assertEqual(sorted(module for portion in found for module in portion), sorted(modules))
        self.assertIn('trial_tests.acceptance.test_workers', found[0])
        for portion in found:
            self.assertEqual(len({shared_environment(module) for module in portion}), 1, portion)
        self.assertEqual(portions_of(['no.such', 'a.b.C'], {}), [['no.such', 'a.b.C']])
        self.assertEqual(portions_of(['a.short', 'a.b', 'a.slow'], {'a.short': 1.0, 'a.slow': 39.5}),
                         [['a.slow'], ['a.short', 'a.b']])

    def test_durations(self) -> None:
        """The seconds of a module's tests are added up from trial's output, whatever tests print; the report names the
        slowest modules first, and the file lists those from a second on."""
        said = ('a.b.T.test_1 ... \nprinted\n[OK]\n(1.500 secs)\na.b.T.test_2 ... [FAIL]\n(0.250 secs)\n'
                'a.c.T.test_1 ... [OK]\n(0.125 secs)\n')
        found = Result(['a.b', 'a.c'], 3.0, 0, said).durations()
        self.assertEqual(found, {'a.b': 1.75, 'a.c': 0.125})
        self.assertEqual(slowest(found).split(), ['The', 'slowest', 'modules:', '1.8', 's', 'a.b', '0.1', 's', 'a.c'])
        self.assertEqual(durations_file(found).splitlines()[1:], ['"a.b" = 2'])

    def test_load(self) -> None:
        """There is room when no process had to wait for a processor for most of some seconds and there is memory;
        something that has just started is waited for."""
        now, found = [0.0], {'waited': 0.0, 'memory': MEMORY}
        load = Load(lambda: found['waited'], lambda: int(found['memory']))

        def room(waiting: float) -> list[bool]:
            said = []
            for _ in range(16):
                said.append(load.has_room())
                now[0] += 0.25
                found['waited'] += waiting * 0.25
                load.look(now[0])
            return [*said, load.has_room()]

        self.assertEqual(room(0.4), [False] * 16 + [True])
        load.forget()
        self.assertEqual(room(0.0), [False] * 16 + [True])
        found['memory'] = MEMORY - 1
        self.assertFalse(load.has_room())
        found['memory'] = MEMORY
        self.assertFalse(room(0.6)[-1])

    def test_pressure_and_memory(self) -> None:
        """Those of a container count, if it has limits; of any kernel, one gets numbers."""
        self.assertGreaterEqual(seconds_waited(), 0.0)
        self.assertGreater(available_memory(), 0)
        root = Path(self.mktemp())
        self.assertEqual((seconds_waited(root), available_memory(root)), (0.0, 0))
        for name, text in (
            ('proc/pressure/cpu', 'some avg10=1.00 avg60=1.00 avg300=1.00 total=2500000\nfull avg10=0.00 total=9\n'),
            ('proc/meminfo', 'MemTotal: 9 kB\nMemAvailable:    3145728 kB\n'),
        ):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        self.assertEqual((seconds_waited(root), available_memory(root)), (2.5, 3072))
        group = root / 'sys/fs/cgroup'
        group.mkdir(parents=True)
        for name, text in (('cpu.pressure', 'some avg10=0.00 total=500000\n'), ('memory.max', f'{2**31}\n'),
                           ('memory.current', f'{2**30}\n'), ('memory.stat', f'anon 1\ninactive_file {2**29}\n')):
            (group / name).write_text(text)
        self.assertEqual((seconds_waited(root), available_memory(root)), (0.5, 1536))
        (group / 'memory.max').write_text('max\n')
        self.assertEqual(available_memory(root), 3072)

    def test_more_portions_on_an_idle_machine(self) -> None:
        """As many as there are jobs run on a busy machine; an idle one gets more, up to a limit; all of them end."""
        for room, expected in ((False, 2), (True, 2 + MORE)):
            tasks, most = Tasks(expected), 2 + MORE + 1
            self.assertEqual(run_all([tasks.run] * most, 2, FixedLoad(room)), [None] * most)
            self.assertEqual(tasks.most, expected)

    def test_a_good_run(self) -> None:
        """Ends with 0 and says how many tests there were."""
        done = self.run_of(GOOD)
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertRegex(done.stdout, r'Ran \d+ tests in 1 portions: PASSED')

    def test_failures_and_missing_modules(self) -> None:
        """End with 1, and what trial says of them is there."""
        for name in (BAD, BROKEN):
            done = self.run_of(GOOD, name)
            self.assertEqual(done.returncode, 1)
            self.assertIn(name.rpartition('.')[2], done.stdout)

    def test_report(self) -> None:
        """The part of trial's output about failures: it is the last that a run prints."""
        said = 'test_a ... [OK]\ntest_b ... [FAIL]\n\n' + '=' * 79 + '\n[FAIL]\nbecause\nRan 2 tests in 1s\n'
        self.assertEqual(Result(['a.b'], 1.0, 1, said).report, said[said.index('=') :])
        self.assertEqual(Result(['a.b'], 1.0, 1, 'No module named a').report, 'No module named a')

    def test_no_tests_are_no_success(self) -> None:
        """A portion in which nothing ran has failed."""
        self.assertTrue(Result(['a.b'], 1.0, 0, 'Ran 0 tests in 0.0s').failed)
        self.assertTrue(Result(['a.b'], 1.0, 0, '').failed)
        self.assertFalse(Result(['a.b'], 1.0, 0, 'Ran 1 tests in 0.0s').failed)
        good = Result(['a.b', 'a.c'], 2.0, 0, 'Ran 7 tests in 1s')
        self.assertEqual(good.line(), 'ok         7 tests    2.0 s  b … c')
