"""Listings of real servers, and of hostile ones."""

from __future__ import annotations

from datetime import UTC, datetime

from twisted.trial.unittest import SynchronousTestCase

from zatotx.connectors.remote_files import DIRECTORY, FILE, LINK, OTHER, FileInfo
from zatotx.plugins.ftp.listing import parse_facts, parse_listing, parse_machine_listing, parse_time

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def entries(*lines: str, now: datetime = NOW) -> list[tuple[str, str, int | None]]:
    return [(info.name, info.type, info.size) for info in parse_listing(lines, now)]


def modified(line: str, now: datetime = NOW) -> datetime | None:
    (info,) = parse_listing([line], now)
    return info.modified


class UnixTests(SynchronousTestCase):
    def test_forms(self) -> None:
        """The forms of usual Unix servers: with and without links, groups, access lists, devices."""
        self.assertEqual(
            entries(
                'total 12',
                '-rw-r--r--    1 1000     1000         1234 Feb 28 11:59 report.csv',
                'drwxr-xr-x   2 ftp      ftp           4096 Nov 30  2025 in box',
                'lrwxrwxrwx    1 0        0               7 Jan 01 00:00 latest -> report.csv',
                '-rw-r--r--+ 1 user group with 99 Feb  1 10:00 acl',
                '-rw-rw-rw-   1 owner 5 Feb  1 10:00 nogroup',
                'crw-rw----   1 root tty 4, 64 Feb  1 10:00 ttyS0',
                '-rw-r--r--   1 1 2 3 Feb  1 10:00  leading and trailing ',
            ),
            [
                ('report.csv', FILE, 1234), ('in box', DIRECTORY, None), ('latest', LINK, None), ('acl', FILE, 99),
                ('nogroup', FILE, 5), ('ttyS0', OTHER, None), (' leading and trailing ', FILE, 3),
            ],
        )  # fmt: skip

    def test_years(self) -> None:
        """A time without a year is the latest one that is not in the future, but for a day of clocks and zones."""
        line = '-rw-r--r-- 1 a b 1 {} x'
        self.assertEqual(modified(line.format('Mar  1 11:00')), datetime(2026, 3, 1, 11, 0, tzinfo=UTC))
        self.assertEqual(modified(line.format('Mar  2 11:00')), datetime(2026, 3, 2, 11, 0, tzinfo=UTC))
        self.assertEqual(modified(line.format('Mar  3 11:00')), datetime(2025, 3, 3, 11, 0, tzinfo=UTC))
        self.assertEqual(modified(line.format('Feb 29 11:00')), datetime(2024, 2, 29, 11, 0, tzinfo=UTC))
        self.assertEqual(modified(line.format('Jan  1 00:10'), datetime(2025, 12, 31, 23, 50, tzinfo=UTC)),
                         datetime(2026, 1, 1, 0, 10, tzinfo=UTC))  # fmt: skip
        self.assertEqual(modified(line.format('May  5  1999')), datetime(1999, 5, 5, tzinfo=UTC))
        self.assertIsNone(modified(line.format('Feb 31  1999')))

    def test_unknown_lines(self) -> None:
        """Lines in no known form are skipped."""
        found = entries('', 'hello', '-rw-r--r-- 1 a b c Feb  1 10:00 x', '-rw-r--r-- 1 a b 1 Foo  1 10:00 x')
        self.assertEqual(found, [])


class OtherFormTests(SynchronousTestCase):
    def test_dos(self) -> None:
        """The form of IIS, with twelve or twenty-four hours, and two or four digits of the year."""
        self.assertEqual(
            entries('11-30-26  01:05PM                 1,234 a b.txt', '11-30-2026  13:05       <DIR>          in',
                    '11-30-26  01:05PM       <SYMLINKD>     there', '11-30-26  12:05AM                 5 x'),
            [('a b.txt', FILE, 1234), ('in', DIRECTORY, None), ('there', LINK, None), ('x', FILE, 5)],
        )  # fmt: skip
        self.assertEqual(modified('11-30-26  12:05AM                 5 x'), datetime(2026, 11, 30, 0, 5, tzinfo=UTC))
        self.assertEqual(modified('11-30-99  01:05PM                 5 x'), datetime(1999, 11, 30, 13, 5, tzinfo=UTC))
        self.assertIsNone(modified('13-30-99  01:05PM                 5 x'))

    def test_eplf(self) -> None:
        """Easily Parsed LIST Format."""
        self.assertEqual(entries('+i8388621.29609,m824255902,/,\tdev', '+i1.2,r,s280,m824255907,\ta b', '+i1\t', '+x'),
                         [('dev', DIRECTORY, None), ('a b', FILE, 280)])  # fmt: skip

    def test_machine_listing(self) -> None:
        """MLSD: facts in any order and case; the directory itself and its parent are left out."""
        found = list(parse_machine_listing([
            'type=cdir;modify=20260101000000; .', 'Type=pdir; ..',
            'modify=20261130120000.5;SIZE=12;Type=file;x=y; a; b ',
            'type=dir; in', 'type=OS.unix=slink:/etc; link', ' bare', 'nonsense', 'type=file;size=1; ',
        ]))  # fmt: skip
        self.assertEqual(found, [
            FileInfo(name='a; b ', type=FILE, size=12, modified=datetime(2026, 11, 30, 12, 0, 0, 500_000, tzinfo=UTC)),
            FileInfo(name='in', type=DIRECTORY), FileInfo(name='link', type=LINK),
        ])  # fmt: skip

    def test_facts(self) -> None:
        """Sizes and times that are none are unknown."""
        info = parse_facts('type=file;size=-1;modify=20261399000000; x')
        self.assertEqual(info, FileInfo(name='x', type=FILE))
        self.assertIsNone(parse_time('2026113012000'))
        self.assertIsNone(parse_time('٢٠٢٦١١٣٠١٢٠٠٠٠'))


class HostileNameTests(SynchronousTestCase):
    NAMES = ('..', '.', '../../etc/passwd', '/etc/passwd', 'a/b', 'a\0b', 'a\rb')

    def test_names_that_lead_elsewhere(self) -> None:
        """Names that are paths are skipped in every form: a program would read, write or remove something else."""
        lines = [f'-rw-r--r-- 1 a b 1 Feb  1 10:00 {name}' for name in self.NAMES]
        lines += [f'11-30-26  01:05PM                 5 {name}' for name in self.NAMES]
        lines += [f'+r,s5,\t{name}' for name in self.NAMES]
        self.assertEqual(entries(*lines), [])
        self.assertEqual(list(parse_machine_listing(f'type=file;size=1; {name}' for name in self.NAMES)), [])

    def test_other_names(self) -> None:
        """Any other name is taken as it is."""
        for name in ('-rf', '*', '$(reboot)', '; rm', 'a\\b', '\u202egnp.exe', 'x' * 255, "'", ' '):
            self.assertEqual(entries(f'-rw-r--r-- 1 a b 1 Feb  1 10:00 {name}'), [(name, FILE, 1)])
            self.assertEqual([one.name for one in parse_machine_listing([f'type=file; {name}'])], [name])
