"""Directories that are created atomically."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from zatotx.cli.environment.atomic_files import PREFIX, atomic_directory, rename_directory_into_place
from zatotx.cli.errors import CommandError


class AtomicDirectoryTests(SynchronousTestCase):
    """atomic_directory() creates a complete directory, or leaves the path unchanged."""

    def setUp(self) -> None:
        self.parent = Path(self.mktemp()).absolute()
        self.parent.mkdir()
        self.target = self.parent / 'env'

    def make(self) -> None:
        with atomic_directory(self.target, 'last') as directory:
            self.assertEqual(list(directory.iterdir()), [])
            (directory / 'a').write_text('1')
            (directory / 'last').write_text('2')

    def left(self) -> list[str]:
        return sorted(entry.name for entry in self.parent.iterdir())

    def test_absent_and_empty(self) -> None:
        """An absent and an empty directory are filled, and no temporary directory remains."""
        self.make()
        self.assertEqual(self.left(), ['env'])
        self.assertEqual(sorted(entry.name for entry in self.target.iterdir()), ['a', 'last'])
        self.target = self.parent / 'empty'
        self.target.mkdir()
        self.make()
        self.assertEqual((self.target / 'a').read_text(), '1')

    def test_parents_are_made(self) -> None:
        """Missing parents are created, as with mkdir -p."""
        self.target = self.parent / 'x' / 'y' / 'env'
        self.make()
        self.assertTrue((self.target / 'last').is_file())

    def test_what_is_in_the_way(self) -> None:
        """A file, a non-empty directory and a dangling link each give one sentence and stay unchanged."""
        self.target.write_text('mine')
        for expected in ('is a file', 'is not empty', 'is a symbolic link'):
            error = self.assertRaises(CommandError, self.make)
            self.assertIn(expected, error.format_message())
            self.target.unlink() if expected != 'is not empty' else None
            if expected == 'is a file':
                self.target.mkdir()
                (self.target / 'mine').write_text('')
            elif expected == 'is not empty':
                (self.target / 'mine').unlink()
                self.target.rmdir()
                self.target.symlink_to(self.parent / 'nowhere')

    def test_a_failure_leaves_nothing(self) -> None:
        """An exception in the block leaves nothing behind."""

        def fail() -> None:
            with atomic_directory(self.target, 'last') as directory:
                (directory / 'a').write_text('1')
                raise KeyboardInterrupt

        self.assertRaises(KeyboardInterrupt, fail)
        self.assertEqual(self.left(), [])

    def test_a_directory_that_cannot_be_moved(self) -> None:
        """If the target is a mount point, its entries are moved, the one that marks a complete environment last."""
        self.target.mkdir()
        aside = self.target / f'{PREFIX}x'
        aside.mkdir()
        order: list[str] = []
        for name in ('last', 'a', 'b'):
            (aside / name).write_text(name)
        rename = Path.rename

        def watched(path: Path, to: Path) -> Path:
            order.append(path.name)
            return rename(path, to)

        self.patch(Path, 'rename', watched)
        rename_directory_into_place(aside, self.target, 'last')
        self.assertEqual(order[-1], 'last')
        self.assertEqual((self.target / 'last').read_text(), 'last')

    def test_inside_where_the_parent_is_closed(self) -> None:
        """A directory in a parent that is not writable is filled from within."""
        self.target.mkdir()
        access = os.access
        self.patch(os, 'access', lambda path, mode: path != self.parent and access(path, mode))
        self.make()
        self.assertEqual(sorted(entry.name for entry in self.target.iterdir()), ['a', 'last'])

    def test_a_parent_that_is_closed(self) -> None:
        """A parent that is not writable gives one sentence that names it."""
        access = os.access
        self.patch(os, 'access', lambda path, mode: path != self.parent and access(path, mode))
        error = self.assertRaises(CommandError, self.make)
        self.assertIn(f'{self.parent} is not writable', error.format_message())
