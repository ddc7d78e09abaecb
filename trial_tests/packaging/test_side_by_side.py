"""The runner of all tests: no failure is lost in it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.side_by_side import Result, modules_of, portions_of

GOOD = 'trial_tests.unit.rules.test_backoff'
SOURCE_TREE = 'trial_tests.packaging.test_source_tree'
BAD = f'{SOURCE_TREE}.NoSuchTests'
BROKEN = 'trial_tests.no_such_module'


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
        """Nothing is lost between them; neighbours stay together; those that start brokers come first."""
        modules = list(modules_of(['trial_tests', 'zatotx.plugins']))
        found = portions_of(modules)
        self.assertEqual(sorted(module for portion in found for module in portion), sorted(modules))
        first = {module: place for place, portion in enumerate(found) for module in portion}
        self.assertLess(first['trial_tests.acceptance.test_workers'], first['trial_tests.unit.node.test_log_files'])
        for portion in found:
            begin = modules.index(portion[0])
            self.assertEqual(portion, modules[begin : begin + len(portion)])
        self.assertEqual(portions_of(['no.such', 'a.b.C']), [['no.such', 'a.b.C']])

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

    def test_why(self) -> None:
        """Of what trial says, the part on failures: it is the last that a run prints."""
        said = 'test_a ... [OK]\ntest_b ... [FAIL]\n\n' + '=' * 79 + '\n[FAIL]\nbecause\nRan 2 tests in 1s\n'
        self.assertEqual(Result(['a.b'], 1.0, 1, said).why, said[said.index('=') :])
        self.assertEqual(Result(['a.b'], 1.0, 1, 'No module named a').why, 'No module named a')

    def test_no_tests_are_no_success(self) -> None:
        """A portion in which nothing ran has failed."""
        self.assertTrue(Result(['a.b'], 1.0, 0, 'Ran 0 tests in 0.0s').failed)
        self.assertTrue(Result(['a.b'], 1.0, 0, '').failed)
        self.assertFalse(Result(['a.b'], 1.0, 0, 'Ran 1 tests in 0.0s').failed)
        good = Result(['a.b', 'a.c'], 2.0, 0, 'Ran 7 tests in 1s')
        self.assertEqual(good.line(), 'ok         7 tests    2.0 s  b … c')
