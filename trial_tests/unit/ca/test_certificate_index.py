"""The index of issued certificates."""

from __future__ import annotations

from datetime import UTC, datetime

from twisted.trial.unittest import SynchronousTestCase

from zatotx.ca.certificate_index import (
    EXPIRED,
    REVOKED,
    VALID,
    IndexEntry,
    InvalidIndexError,
    format_index,
    format_serial,
    format_subject,
    parse_index,
)
from zatotx.ca.certificate_names import CertificateSubject, make_distinguished_name

LINE = 'V\t271130143245Z\t\t02E188\tlb-agent-cert-2026-11-30_14-32-45.pem\t/CN=lb-agent\n'
END = datetime(2027, 11, 30, 14, 32, 45, tzinfo=UTC)


class IndexTests(SynchronousTestCase):
    def test_valid(self) -> None:
        """A line of OpenSSL's index becomes an entry, and the same line again."""
        (entry,) = parse_index(LINE)
        self.assertEqual(entry, IndexEntry(0x2E188, END, 'lb-agent-cert-2026-11-30_14-32-45.pem', '/CN=lb-agent'))
        self.assertEqual(format_index([entry]), LINE)

    def test_revoked(self) -> None:
        """A revoked entry has the time of revocation and the reason, if there is one."""
        for revocation, reason in (('261130143246Z,keyCompromise', 'keyCompromise'), ('261130143246Z', '')):
            line = f'R\t271130143245Z\t{revocation}\t02\tx\t/CN=x\n'
            (entry,) = parse_index(line)
            self.assertEqual((entry.revoked_at, entry.reason), (datetime(2026, 11, 30, 14, 32, 46, tzinfo=UTC), reason))
            self.assertEqual(format_index([entry]), line)

    def test_years(self) -> None:
        """Years from 2050 on have four digits; two digits mean 1950 to 2049."""
        (entry,) = parse_index('V\t20600101000000Z\t\t01\tx\t/CN=x\n')
        self.assertEqual(entry.not_after.year, 2060)
        self.assertIn('\t20600101000000Z\t', format_index([entry]))
        (entry,) = parse_index('V\t600101000000Z\t\t01\tx\t/CN=x\n')
        self.assertEqual(entry.not_after.year, 1960)

    def test_status(self) -> None:
        """The end of validity is not included in it; a revoked certificate stays revoked."""
        entry = IndexEntry(1, END, 'x', '/CN=x')
        before = END.replace(second=44)
        self.assertEqual([entry.status(before), entry.status(END)], [VALID, EXPIRED])
        self.assertEqual(entry._replace(revoked_at=before).status(END), REVOKED)

    def test_expired_lines(self) -> None:
        """E, which `openssl ca -updatedb` writes, is read."""
        self.assertEqual(len(parse_index('E' + LINE[1:])), 1)

    def test_damaged(self) -> None:
        """Every sort of damage is found, with its line."""
        for text, reason in (
            ('V\t271130143245Z\t02\tx\t/CN=x\n', '5 columns'),
            (LINE.replace('V', 'X', 1), "status is 'X'"),
            (LINE.replace('02E188', '02e1zz'), "'02e1zz' is not a serial number"),
            (LINE.replace('271130143245Z', '271330143245Z'), 'is not a time'),
            (LINE.replace('\t\t', '\t261130143246Z\t'), 'does not agree'),
            ('R' + LINE[1:], 'does not agree'),
            (LINE + LINE, 'line 2: the serial number 02E188 is there twice'),
            (LINE[:-5], 'in the middle of a line'),
            ('R\t271130143245Z\t261130143246Z,mood\t02\tx\t/CN=x\n', "'mood' is not a reason"),
            ('\n', '1 columns'),
        ):
            error = self.assertRaises(InvalidIndexError, parse_index, text)
            self.assertIn(reason, str(error))
            self.assertTrue(str(error).startswith('line '))

    def test_serials(self) -> None:
        """Serial numbers have an even number of digits."""
        self.assertEqual([format_serial(1), format_serial(0x10), format_serial(0xABC)], ['01', '10', '0ABC'])

    def test_subjects(self) -> None:
        """Subjects are written as OpenSSL writes them: ASCII, other bytes escaped."""
        name = make_distinguished_name(
            CertificateSubject('Żak', organization='A/B', organizational_unit='', locality='', state='')
        )
        self.assertEqual(format_subject(name), '/C=US/O=A/B/CN=\\xC5\\xBBak')
