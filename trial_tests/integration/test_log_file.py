"""Several processes that write one log file."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from twisted.internet.defer import gatherResults
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import TestCase

from zatotx.logs.log_file import ROTATION_LOCK

# Writes its lines in bursts of changing size, with its name and a number on each.
WRITER = '''
import sys
from pathlib import Path
from zatotx.logs.log_file import LogFile
name, path, count, max_bytes = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
file = LogFile(path, max_bytes=max_bytes, keep=500)
number = 0
while number < count:
    burst = range(number, min(count, number + 1 + number % 7))
    file.append([f'{name} {n} ' + 'x' * (n % 50) + ' end' for n in burst])
    number = burst[-1] + 1
print(file.lost_entries)
'''


class ProcessesTests(TestCase):
    async def test_two_processes(self) -> None:
        """Two processes write thousands of lines into one file that is rotated hundreds of times meanwhile: none is
        lost, none torn, none is written twice."""
        directory = Path(self.mktemp())
        directory.mkdir()
        path, count = directory.absolute() / 'server.log', 15_000
        results = await gatherResults([
            getProcessOutputAndValue(sys.executable, ['-c', WRITER, name, str(path), str(count), '20000'],
                                     env=dict(os.environ))
            for name in ('a', 'b')
        ])  # fmt: skip
        self.assertEqual([result[:3] for result in results], [(b'0\n', b'', 0)] * 2)
        files = sorted((file for file in directory.iterdir() if file.name != ROTATION_LOCK), key=_age, reverse=True)
        self.assertGreater(len(files), 30)
        found: dict[str, list[int]] = {'a': [], 'b': []}
        for file in files:
            for line in file.read_text().splitlines():
                name, number, filling, end = line.split(' ')
                self.assertEqual((filling, end), ('x' * (int(number) % 50), 'end'))
                found[name].append(int(number))
        for numbers in found.values():
            self.assertEqual(sorted(numbers), list(range(count)))


def _age(path: Path) -> int:
    return int(path.suffix[1:]) if path.suffix != '.log' else 0
