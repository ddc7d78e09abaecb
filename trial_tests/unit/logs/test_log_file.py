"""Log files: rotated, complete, and harmless when the disk is full."""

from __future__ import annotations

import fcntl
import os
import resource
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from zatotx.logs.log_file import ROTATION_LOCK, LogFile


class LogFileTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        self.path = self.directory / 'server.log'
        self.now = 100.0

    def file(self, max_bytes: int = 20_000_000, keep: int = 10, mode: int = 0o640) -> LogFile:
        file = LogFile(self.path, max_bytes=max_bytes, keep=keep, mode=mode, clock=lambda: self.now)
        self.addCleanup(file.close)
        return file

    def limited(self, size: int, act: Callable[[], None]) -> None:
        """Call a function while no file of this process may grow beyond `size` bytes."""
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            act()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    def test_appends(self) -> None:
        """Entries are appended with their line ends, whatever characters they contain."""
        self.path.write_text('before\n')
        file = self.file()
        file.append(['one', 'zażółć \udcff'])
        file.append(['three'])
        self.assertEqual(self.path.read_text('utf-8'), 'before\none\nzażółć \\udcff\nthree\n')

    def test_mode(self) -> None:
        """A new file is not readable by others."""
        before = os.umask(0)
        self.addCleanup(os.umask, before)
        self.file(mode=0o600)
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o600)

    def test_rotation(self) -> None:
        """A full file becomes .1, that one .2 and so on; the oldest is removed, and no line is lost."""
        file = self.file(max_bytes=10, keep=3)
        for number in range(6):
            file.append([f'line-{number}'])
        names = {path.name: path.read_text() for path in self.directory.iterdir() if path.name != ROTATION_LOCK}
        self.assertEqual(
            names,
            {
                'server.log': 'line-5\n',
                'server.log.1': 'line-4\n',
                'server.log.2': 'line-3\n',
                'server.log.3': 'line-2\n',
            },
        )

    def test_rotation_after_restart(self) -> None:
        """The size of the file before the process started counts."""
        self.path.write_text('x' * 30)
        self.file(max_bytes=32).append(['new'])
        self.assertEqual(self.path.read_text(), 'new\n')

    def test_no_rotation_possible(self) -> None:
        """If files cannot be renamed, the log continues in the present one."""
        file = self.file(max_bytes=10, keep=1)
        (self.directory / 'server.log.1').mkdir()
        for number in range(4):
            file.append([f'line-{number}'])
        self.assertEqual(self.path.read_text(), ''.join(f'line-{n}\n' for n in range(4)))
        self.assertEqual(file.lost_entries, 0)

    def test_reopen(self) -> None:
        """After the file was moved, lines go to a new one of its name."""
        file = self.file()
        file.append(['old'])
        self.path.rename(self.directory / 'moved')
        file.reopen()
        file.append(['new'])
        self.assertEqual((self.path.read_text(), (self.directory / 'moved').read_text()), ('new\n', 'old\n'))

    def test_full_disk(self) -> None:
        """A full disk loses the lines that do not fit, without an error; later the log says how many are missing, on a
        separate line even after an incomplete one."""
        file = self.file()
        file.append(['first'])
        self.limited(12, lambda: file.append(['second', 'third', 'fourth']))
        self.assertEqual(self.path.read_text(), 'first\nsecond')
        self.assertEqual(file.lost_entries, 3)
        file.append(['too early'])
        self.assertEqual(file.lost_entries, 4)
        self.now += 1.1
        file.append(['fifth'])
        file.append(['sixth'])
        self.assertEqual(
            self.path.read_text().splitlines(),
            ['first', 'second', 'Lines of this log missing here: 4 (File too large)', 'fifth', 'sixth'],
        )

    def test_full_for_long(self) -> None:
        """Lines lost in several attempts are reported once, in total."""
        file = self.file()
        for _ in range(3):
            self.limited(0, lambda: file.append(['a', 'b']))
            self.now += 2
        file.append(['back'])
        self.assertEqual(self.path.read_text(), 'Lines of this log missing here: 6 (File too large)\nback\n')
        self.assertEqual(file.lost_entries, 6)

    def test_full_in_the_notice(self) -> None:
        """Complete lines that were written to a filling disk are not counted as lost."""
        file = self.file()
        self.limited(0, lambda: file.append(['a', 'b']))
        self.now += 2
        self.limited(64, lambda: file.append(['good', 'lost for ever']))
        self.assertEqual(file.lost_entries, 3)
        self.now += 2
        file.append(['end'])
        self.assertEqual(
            self.path.read_text().splitlines(),
            [
                'Lines of this log missing here: 2 (File too large)',
                'good',
                'lost for',
                'Lines of this log missing here: 1 (File too large)',
                'end',
            ],
        )

    def test_full_device(self) -> None:
        """A full device causes no error either."""
        self.path.symlink_to('/dev/full')
        file = self.file()
        file.append(['lost'])
        self.assertEqual(file.lost_entries, 1)

    def test_cannot_open(self) -> None:
        """A path that cannot be written to is an error in the constructor."""
        with self.assertRaises(OSError):
            LogFile(self.directory / 'nowhere' / 'server.log')

    def test_closed(self) -> None:
        """After closing, lines are lost without an error."""
        file = self.file()
        file.close()
        file.append(['late'])
        self.assertEqual(file.lost_entries, 1)

    def test_moved_by_another(self) -> None:
        """If the file is moved (by another worker or logrotate), the next line is in a new file without a signal."""
        ours, theirs = self.file(), self.file()
        ours.append(['old'])
        self.path.rename(self.directory / 'moved')
        theirs.append(['new'])
        ours.append(['newer'])
        self.assertEqual((self.path.read_text(), (self.directory / 'moved').read_text()), ('new\nnewer\n', 'old\n'))

    def test_size_of_all(self) -> None:
        """The size includes what all writers wrote."""
        ours, theirs = self.file(max_bytes=20), self.file(max_bytes=20)
        for number in range(3):
            theirs.append([f'their-{number}'])
        ours.append(['ours'])
        self.assertEqual(self.path.read_text(), 'their-2\nours\n')
        theirs.append(['their-3'])
        self.assertEqual(self.path.read_text(), 'their-3\n')

    def test_another_rotates(self) -> None:
        """While another process rotates, even a frozen one, no writer waits: lines go to the present file."""
        file = self.file(max_bytes=10)
        file.append(['line-0'])
        with (self.directory / ROTATION_LOCK).open('w') as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            file.append(['line-1'])
            self.assertEqual(self.path.read_text(), 'line-0\nline-1\n')
        file.append(['line-2'])
        self.assertEqual(self.path.read_text(), 'line-2\n')

    def test_deleted(self) -> None:
        """A deleted file is created again with the next line, including its directory."""
        file = self.file()
        file.append(['one'])
        self.path.unlink()
        file.append(['two'])
        self.assertEqual(self.path.read_text(), 'two\n')
        shutil.rmtree(self.directory)
        file.append(['three'])
        self.assertEqual((self.path.read_text(), file.lost_entries), ('three\n', 0))

    def test_no_way_back(self) -> None:
        """While a deleted file cannot be created, lines are counted as lost and reported later."""
        file = self.file()
        shutil.rmtree(self.directory)
        self.directory.touch()
        file.append(['lost'])
        file.append(['lost too'])
        self.assertEqual(file.lost_entries, 2)
        self.directory.unlink()
        self.now += 1.1
        file.append(['back'])
        self.assertEqual(self.path.read_text(), 'Lines of this log missing here: 2 (Not a directory)\nback\n')

    def test_moved_and_no_way_back(self) -> None:
        """If the file was moved and no new one can be created, lines go to the moved file."""
        file = self.file()
        self.directory.rename(moved := self.directory.with_suffix('.moved'))
        self.directory.touch()
        file.append(['on'])
        self.assertEqual(((moved / 'server.log').read_text(), file.lost_entries), ('on\n', 0))

    def test_emptied(self) -> None:
        """A file truncated by logrotate's copytruncate is continued from its beginning."""
        file = self.file(max_bytes=10)
        file.append(['line-0'])
        os.truncate(self.path, 0)
        file.append(['line-1'])
        self.assertEqual(self.path.read_text(), 'line-1\n')

    def test_new_limits(self) -> None:
        """Limits may be changed while the file is in use."""
        file = self.file()
        file.append(['x' * 30])
        file.set_limits(10, 1)
        file.append(['new'])
        self.assertEqual(self.path.read_text(), 'new\n')
