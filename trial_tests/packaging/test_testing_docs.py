"""The examples of docs/testing.md are files that run as they stand."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from twisted.trial.runner import TestLoader
from twisted.trial.unittest import SynchronousTestCase

PAGE = Path(__file__).resolve().parents[2] / 'docs' / 'testing.md'
TRIAL = 'tests/test_reactor.py'  # the one that needs a reactor


class TestingPageTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.place = Path(self.mktemp()).resolve()
        blocks = [block.split('```')[0] for block in PAGE.read_text('utf-8').split('```python\n')[1:]]
        self.files = {block.splitlines()[0].removeprefix('# '): block for block in blocks}
        self.assertEqual(len(self.files), len(blocks))
        for name, text in self.files.items():
            file = self.place / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, 'utf-8')

    def run_by(self, *words: str) -> str:
        done = subprocess.run(
            [sys.executable, '-m', *words], cwd=self.place, capture_output=True, text=True, timeout=120,
            env={**os.environ, 'PYTEST_ADDOPTS': '-p no:cacheprovider'},
        )  # fmt: skip
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout + done.stderr

    def test_under_pytest(self) -> None:
        """Every test of the page passes."""
        tests = sum(len(re.findall(r'\bdef test_', text)) for name, text in self.files.items() if name != TRIAL)
        self.assertGreater(tests, 10)
        files = [name for name in self.files if name.startswith('tests/') and name != TRIAL]
        said = self.run_by('pytest', '-q', *files)
        self.assertIn(f'{tests} passed', said)

    def test_under_trial(self) -> None:
        """The asynchronous one, and those that are test cases."""
        said = self.run_by('twisted.trial', TRIAL, 'tests/test_crm.py', 'tests/test_time.py')
        self.assertIn('PASSED (successes=4)', said)


class LoadingTests(SynchronousTestCase):
    def test_one_test_by_its_name(self) -> None:
        """`trial module.Class.test_x`, which is also how trial's jobs are given their tests."""
        found = TestLoader().loadByName('trial_tests.unit.testing.test_kit.CallTests.test_answer')
        self.assertEqual(found.countTestCases(), 1)
