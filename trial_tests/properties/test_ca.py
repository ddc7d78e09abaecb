"""Properties of the certificate authority: its index, and the names in its certificates."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from cryptography.x509 import load_pem_x509_certificate
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.properties import holds
from zatotx.ca.authority_directory import parse_issued_file
from zatotx.ca.certificate_authority import CertificateAuthority
from zatotx.ca.certificate_builder import PROFILES, template_of
from zatotx.ca.certificate_index import REASONS, IndexEntry, InvalidIndexError, format_index, parse_index
from zatotx.ca.certificate_names import CertificateSubject, make_alternative_names, make_distinguished_name
from zatotx.ca.errors import AuthorityError

TIMES = st.datetimes(datetime(1990, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)).map(
    lambda time: time.replace(microsecond=0)
)
LINE = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30)
ENTRIES = st.builds(
    IndexEntry, serial=st.integers(1, 2**80), not_after=TIMES, file=LINE, subject=LINE,
    revoked_at=st.none() | TIMES, reason=st.just(''),
) | st.builds(
    IndexEntry, serial=st.integers(1, 2**80), not_after=TIMES, file=LINE, subject=LINE, revoked_at=TIMES,
    reason=st.sampled_from(sorted(REASONS)),
)  # fmt: skip
DAMAGE = st.text(st.sampled_from('VRE\t\n0123456789ABCDEFZ,/=x '), max_size=60)


class IndexTests(SynchronousTestCase):
    @holds(entries=st.lists(ENTRIES, max_size=5, unique_by=lambda entry: entry.serial))
    def test_written_and_read(self, entries: list[IndexEntry]) -> None:
        """What is written is what is read."""
        self.assertEqual(parse_index(format_index(entries)), entries)

    @holds(300, text=DAMAGE, entries=st.lists(ENTRIES, max_size=2, unique_by=lambda entry: entry.serial),
           position=st.integers(0, 200))
    def test_damage(self, text: str, entries: list[IndexEntry], position: int) -> None:
        """A damaged index is rejected with a line number, or it is an index that is written as it was read."""
        whole = format_index(entries)
        damaged = whole[:position] + text + whole[position:]
        try:
            read = parse_index(damaged)
        except InvalidIndexError as error:
            self.assertTrue(str(error).startswith('line '))
            return
        self.assertEqual(parse_index(format_index(read)), read)


class NameTests(SynchronousTestCase):
    """What people type becomes a certificate that says it, or one sentence."""

    def setUp(self) -> None:
        self.patch(os, 'fsync', lambda _: None)  # there is no power failure here
        self.authority = CertificateAuthority.create(Path(self.mktemp()).absolute(), CertificateSubject('CA'))

    @holds(fields=st.lists(st.text(max_size=70), min_size=6, max_size=6))
    def test_subjects(self, fields: list[str]) -> None:
        """A subject that is accepted has the texts that were given."""
        try:
            name = make_distinguished_name(CertificateSubject(*fields))
        except AuthorityError as error:
            self.assertNotIn('\n', str(error))
            return
        self.assertEqual([each.value for each in name], [text for text in reversed(fields) if text])

    @holds(30, name=st.text(st.sampled_from('abcżź .,+="#<>;\\/é漢'), min_size=1, max_size=20),
           hosts=st.lists(st.text(st.sampled_from('ab1.-*:_é/ '), max_size=8), max_size=3))  # fmt: skip
    def test_certificates(self, name: str, hosts: list[str]) -> None:
        """A certificate that is issued is in the index under its file's name, can be read, and has all hosts."""
        count = len(self.authority.entries())
        try:
            issued = self.authority.issue(PROFILES['server'], f'c{count}', CertificateSubject(name), hosts=hosts)
        except AuthorityError as error:
            self.assertNotIn('\n', str(error))
            self.assertEqual(len(self.authority.entries()), count)
            return
        template = template_of(load_pem_x509_certificate(issued.certificate.read_bytes()))
        self.assertEqual(template.subject, make_distinguished_name(CertificateSubject(name)))
        self.assertEqual(template.alternative_names, make_alternative_names(hosts or PROFILES['server'].hosts))
        entry = self.authority.entries()[-1]
        self.assertEqual((entry.name, entry.path, entry.is_current), (f'c{count}', issued.certificate, True))

    @holds(name=st.text(max_size=20), time=st.text(st.sampled_from('0123456789-_'), max_size=20))
    def test_file_names(self, name: str, time: str) -> None:
        """A file name is parsed into what it was made of."""
        found = parse_issued_file(f'{name}-cert-{time}.pem')
        if found is not None:
            self.assertEqual(found.file('cert'), f'{name}-cert-{time}.pem')
