"""A process that is killed while it fills a directory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from zatotx.cli.environment.atomic_files import PREFIX, atomic_directory
from zatotx.cli.errors import CommandError

STUCK = """
import sys
from pathlib import Path
from zatotx.cli.environment.atomic_files import atomic_directory
with atomic_directory(Path(sys.argv[1]), 'last') as directory:
    (directory / 'half').write_text('done')
    print('in it', flush=True)
    sys.stdin.read()
"""


class KilledProcessTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.parent = Path(self.mktemp()).absolute()
        self.parent.mkdir()
        self.target = self.parent / 'env'

    def make(self) -> None:
        with atomic_directory(self.target, 'last') as directory:
            (directory / 'last').write_text('2')

    def left(self) -> list[str]:
        return sorted(entry.name for entry in self.parent.iterdir())

    def test_the_next_run_removes_the_temporary_directory(self) -> None:
        """After SIGKILL the path is absent; the next run removes the temporary directory, but only after its creator
        has ended."""
        process = subprocess.Popen(
            [sys.executable, '-c', STUCK, str(self.target)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert process.stdout is not None
        assert process.stdin is not None
        process.stdout.readline()
        (aside,) = self.left()
        self.assertTrue(aside.startswith(f'.env{PREFIX}'), aside)
        self.make()
        self.assertEqual(self.left(), [aside, 'env'])
        process.kill()
        process.wait(60)
        process.stdin.close()
        process.stdout.close()
        self.assertRaises(CommandError, self.make)  # it is there by now; the sweep comes first all the same
        self.assertEqual(self.left(), ['env'])
