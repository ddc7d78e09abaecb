"""Writing files atomically."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from zatotx.system.atomic_file import write_file


class WriteTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.path = self.directory / 'a'

    def test_content_and_mode(self) -> None:
        """The file has the content and mode 0600, whatever the umask and the mode of the old file."""
        self.path.write_text('older')
        self.path.chmod(0o644)
        self.addCleanup(os.umask, os.umask(0o777))
        self.assertEqual(write_file(self.path, b'one'), 3)
        self.assertEqual((self.path.read_bytes(), self.path.stat().st_mode & 0o777), (b'one', 0o600))
        self.assertEqual(write_file(self.path, iter((b'tw', b'o', b'!')), durable=True), 4)
        self.assertEqual(self.path.read_bytes(), b'two!')

    def test_a_failure_leaves_the_old_file(self) -> None:
        """If the content cannot be produced, the old file stays, and no temporary file remains."""

        def pieces() -> Iterator[bytes]:
            yield b'new'
            raise ValueError

        write_file(self.path, b'old')
        self.assertRaises(ValueError, write_file, self.path, pieces())
        self.assertEqual((self.path.read_bytes(), list(self.directory.iterdir())), (b'old', [self.path]))

    def test_errors_name_the_file(self) -> None:
        """An error shows the path that the caller gave, not the temporary one."""
        target = self.directory / 'no' / 'file'
        self.assertEqual(self.assertRaises(OSError, write_file, target, b'').filename, str(target))
        self.path.mkdir()
        self.assertEqual(self.assertRaises(OSError, write_file, self.path, b'').filename, str(self.path))
        self.assertEqual(list(self.directory.iterdir()), [self.path])
