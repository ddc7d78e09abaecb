"""The examples of the pages about Redis in services are files that run as they stand."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

DOCS = Path(__file__).resolve().parents[2] / 'docs'
PAGES = ('kvdb.md', 'cache.md', 'data-dictionaries.md')


class RedisPagesTests(SynchronousTestCase):
    def test_examples(self) -> None:
        """Every test of the pages passes, with the services of the pages."""
        place, tests = Path(self.mktemp()).resolve(), 0
        for page in PAGES:
            blocks = [block.split('```')[0] for block in (DOCS / page).read_text('utf-8').split('```python\n')[1:]]
            files = {block.splitlines()[0].removeprefix('# '): block for block in blocks}
            self.assertEqual(len(files), len(blocks))
            for name, text in files.items():
                tests += len(re.findall(r'\bdef test_', text))
                (place / name).parent.mkdir(parents=True, exist_ok=True)
                (place / name).write_text(text, 'utf-8')
        done = subprocess.run(
            [sys.executable, '-m', 'pytest', '-q', 'tests'], cwd=place, capture_output=True, text=True, timeout=120,
            env={**os.environ, 'PYTEST_ADDOPTS': '-p no:cacheprovider'},
        )  # fmt: skip
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn(f'{tests} passed', done.stdout)
