"""docs/failures.md: each row names tests, and they exist."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

PAGE = Path(__file__).resolve().parents[2] / 'docs' / 'failures.md'
_NAME = re.compile(r'`((?:acceptance|integration|properties|unit)\.[\w.]+)`')


def find(name: str) -> Any:
    """Return the class or method of a test. Raises ImportError or AttributeError."""
    parts = name.split('.')
    modules = next(at for at, part in enumerate(parts) if part.startswith('test_')) + 1
    found: Any = import_module('.'.join(['trial_tests', *parts[:modules]]))
    for part in parts[modules:]:
        found = getattr(found, part)
    return found


class FailuresTests(SynchronousTestCase):
    def test_rows_name_tests(self) -> None:
        """Every row of every table names at least one test, and each of them exists."""
        rows = [line for line in PAGE.read_text('utf-8').splitlines()
                if line.startswith('| ') and not line.startswith(('| failure ', '| --- '))]  # fmt: skip
        self.assertGreater(len(rows), 30)
        for row in rows:
            names = _NAME.findall(row.rsplit('|', 2)[1])
            self.assertTrue(names, row)
            for name in names:
                try:
                    find(name)
                except (ImportError, AttributeError) as error:
                    self.fail(f'{name}: {error}')

    def test_missing_ones_are_found(self) -> None:
        """A name that does not exist is an error."""
        self.assertRaises(AttributeError, find, 'properties.test_election.ElectionTests.test_nothing')
        self.assertRaises(ImportError, find, 'acceptance.test_nothing.Tests')
