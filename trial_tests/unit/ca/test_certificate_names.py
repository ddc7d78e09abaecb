"""Names in certificates."""

from __future__ import annotations

from ipaddress import ip_address

from cryptography.x509 import DNSName, IPAddress
from twisted.trial.unittest import SynchronousTestCase

from zatotx.ca.certificate_names import (
    CertificateSubject,
    check_file_name,
    make_alternative_names,
    make_distinguished_name,
)
from zatotx.ca.errors import AuthorityError


class SubjectTests(SynchronousTestCase):
    def error(self, function: object, *args: object) -> str:
        assert callable(function)
        return str(self.assertRaises(AuthorityError, function, *args))

    def test_order(self) -> None:
        """A distinguished name goes from country to common name; empty fields are left out."""
        name = make_distinguished_name(
            CertificateSubject('lb', 'Bank', organizational_unit='', locality='', state='', country='PL')
        )
        self.assertEqual(name.rfc4514_string(), 'CN=lb,O=Bank,C=PL')

    def test_unicode(self) -> None:
        """Fields may be in any script."""
        self.assertIn('Zażółć', make_distinguished_name(CertificateSubject('Zażółć')).rfc4514_string())

    def test_all_errors(self) -> None:
        """All wrong fields are named at once."""
        text = self.error(
            make_distinguished_name, CertificateSubject('', organization='x' * 65, locality=' Town', country='usa')
        )
        for part in ('The common name is empty', 'organization has 65 characters: at most 64',
                     "The locality ' Town'", "The country 'usa' is not a code of two capital letters"):
            self.assertIn(part, text)

    def test_control_characters(self) -> None:
        """A line end or a tab, which would damage the index, is rejected."""
        for value in ('a\nb', 'a\tb', 'a\0'):
            self.assertIn('control characters', self.error(make_distinguished_name, CertificateSubject(value)))

    def test_file_names(self) -> None:
        """A certificate's name is safe as a part of a file name."""
        self.assertEqual(check_file_name('qs-1.server_1'), 'qs-1.server_1')
        for name in ('', '.', '../x', 'a/b', '-a', 'a b', 'ż', 'a' * 65, 'a\n'):
            self.assertIn('cannot be part of a file name', self.error(check_file_name, name))

    def test_alternative_names(self) -> None:
        """Host names and addresses are told apart; host names are in lower case, duplicates are dropped."""
        self.assertEqual(
            make_alternative_names(('ESB.example.com', 'esb.example.com.', '*.example.com', '10.0.0.1', '[::1]')),
            (DNSName('esb.example.com'), DNSName('*.example.com'), IPAddress(ip_address('10.0.0.1')),
             IPAddress(ip_address('::1'))),
        )  # fmt: skip

    def test_wrong_alternative_names(self) -> None:
        """All wrong names are reported at once."""
        text = self.error(make_alternative_names, ('a b', 'x..y', '300.1.1.1', 'a.*', 'żółw.pl', '', 'http://x'))
        for part in ("'a b' is neither", "'x..y' is neither", "'300.1.1.1' is neither", "'a.*' is neither",
                     'write it as xn--w-uga1v8h.pl', "'' is neither", "'http://x' is neither"):
            self.assertIn(part, text)

    def test_count(self) -> None:
        """A certificate has at most a hundred alternative names."""
        self.assertIn('at most 100', self.error(make_alternative_names, [f'h{n}' for n in range(101)]))
