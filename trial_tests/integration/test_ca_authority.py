"""The certificate authority: what it issues passes the strict checks of OpenSSL and Python, and what goes wrong is one
sentence."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread
from typing import Any

from cryptography.x509 import load_pem_x509_certificate, load_pem_x509_crl
from twisted.trial.unittest import SynchronousTestCase

from zatotx.ca import authority_directory
from zatotx.ca.certificate_authority import CertificateAuthority, IssuedCertificate
from zatotx.ca.certificate_builder import PROFILES, template_of
from zatotx.ca.certificate_names import CertificateSubject
from zatotx.ca.errors import AuthorityError

SUBJECT = CertificateSubject('Test CA', organization='Example')


class AuthorityTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.now = datetime.now(UTC)
        self.directory = Path(self.mktemp()).absolute()
        self.authority = CertificateAuthority.create(self.directory, SUBJECT, now=lambda: self.now)
        self.material = self.directory / 'ca-material'

    def issue(self, profile: str = 'lb-agent', name: str = '', days: int = 365) -> IssuedCertificate:
        return self.authority.issue(PROFILES[profile], name or profile, CertificateSubject(name or profile), days=days)

    def error(self, function: object, *args: object, **named: object) -> str:
        assert callable(function)
        return str(self.assertRaises(AuthorityError, function, *args, **named))

    def verify(self, certificate: Path, *options: str) -> str:
        """What `openssl verify` says, with strict checks and the revocation list."""
        done = subprocess.run(
            ['openssl', 'verify', '-x509_strict', '-crl_check', '-CAfile', self.material / 'ca-cert.pem', '-CRLfile',
             self.material / 'ca-crl.pem', *options, certificate], capture_output=True, text=True, check=False,
        )  # fmt: skip
        return done.stdout + done.stderr


class IssueTests(AuthorityTestCase):
    def test_openssl_accepts_every_profile(self) -> None:
        """`openssl verify -x509_strict` accepts each certificate for its purposes, and for no others."""
        for profile, is_server, is_client in (('server', True, False), ('lb-agent', True, True),
                                              ('web-admin', True, True), ('client', False, True)):  # fmt: skip
            path = self.issue(profile).certificate
            for purpose, expected in (('sslserver', is_server), ('sslclient', is_client)):
                said = self.verify(path, '-purpose', purpose)
                self.assertEqual(said.endswith(': OK\n'), expected, (profile, purpose, said))
        own = subprocess.run(
            ['openssl', 'verify', '-x509_strict', '-check_ss_sig', '-CAfile', self.material / 'ca-cert.pem',
             self.material / 'ca-cert.pem'], capture_output=True, text=True, check=False,
        )  # fmt: skip
        self.assertIn('OK', own.stdout)

    def test_python_accepts_them_in_strict_mode(self) -> None:
        """A handshake with VERIFY_X509_STRICT, the default of Python 3.13, succeeds on both sides, by host name and by
        address."""
        server, client = self.issue('server'), self.issue('client', 'partner')
        contexts = {}
        for side, issued in ((ssl.PROTOCOL_TLS_SERVER, server), (ssl.PROTOCOL_TLS_CLIENT, client)):
            context = ssl.SSLContext(side)
            context.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_CRL_CHECK_LEAF
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self.material / 'ca-cert.pem')
            context.load_verify_locations(self.material / 'ca-crl.pem')
            context.load_cert_chain(issued.certificate, issued.key)
            contexts[side] = context
        for host in ('localhost', '127.0.0.1', '::1'):
            self.assertEqual(handshake(contexts[ssl.PROTOCOL_TLS_SERVER], contexts[ssl.PROTOCOL_TLS_CLIENT], host),
                             'partner')  # fmt: skip

    def test_files(self) -> None:
        """The files have Zato's names, and links without a time lead to the newest; only the owner can read them."""
        issued = self.authority.issue(PROFILES['server'], 'qs-server1', CertificateSubject('server1'))
        time = self.now.strftime('%Y-%m-%d_%H-%M-%S')
        for kind in ('priv', 'pub', 'cert', 'csr'):
            path = self.directory / f'out-{kind}' / f'qs-server1-{kind}-{time}.pem'
            self.assertEqual(path.stat().st_mode & 0o777, 0o600)
            self.assertEqual((self.directory / f'out-{kind}' / f'qs-server1-{kind}.pem').readlink(), Path(path.name))
        self.assertEqual(issued.certificate.name, f'qs-server1-cert-{time}.pem')
        self.assertEqual((self.material / 'ca-key.pem').stat().st_mode & 0o777, 0o600)
        self.assertEqual({path.stat().st_mode & 0o777 for path in self.directory.rglob('*') if path.is_dir()}, {0o700})

    def test_requests(self) -> None:
        """The request for the same certificate, for another authority, is signed by the key."""
        self.issue()
        done = subprocess.run(['openssl', 'req', '-verify', '-noout', '-text', '-in',
                               self.directory / 'out-csr' / 'lb-agent-csr.pem'],
                              capture_output=True, text=True, check=True)  # fmt: skip
        self.assertIn('verify OK', done.stdout + done.stderr)
        self.assertIn('DNS:localhost', done.stdout)

    def test_content(self) -> None:
        """A certificate is for P-256, valid for a year, and names its hosts; its serial number is positive and new."""
        issued = self.authority.issue(
            PROFILES['server'], 's', CertificateSubject('s'), hosts=('esb.example.com', '10.0.0.7')
        )
        certificate = load_pem_x509_certificate(issued.certificate.read_bytes())
        names = template_of(certificate).alternative_names
        self.assertEqual([str(name.value) for name in names], ['esb.example.com', '10.0.0.7'])
        self.assertEqual(certificate.not_valid_after_utc, self.now.replace(microsecond=0) + timedelta(days=365))
        self.assertGreater(certificate.serial_number, 0)
        self.assertEqual(template_of(certificate).usages, PROFILES['server'].usages)

    def test_existing_certificate(self) -> None:
        """There is one valid certificate of a name: another one is refused, and nothing is overwritten."""
        issued = self.issue()
        before = issued.certificate.read_bytes()
        self.assertIn('There is a valid certificate lb-agent already', self.error(self.issue))
        self.assertEqual(issued.certificate.read_bytes(), before)

    def test_after_the_end(self) -> None:
        """An expired or revoked certificate leaves its name free."""
        self.issue(days=1)
        self.now += timedelta(days=2)
        self.issue()
        self.authority.revoke('lb-agent')
        self.issue()
        self.assertEqual([each.status for each in self.authority.entries()], ['E', 'R', 'V'])

    def test_existing_files(self) -> None:
        """A file of somebody else's is never overwritten."""
        link = self.directory / 'out-cert' / 'lb-agent-cert.pem'
        link.write_text('precious')
        self.assertIn(f'{link} exists and is not a link', self.error(self.issue))
        self.assertEqual(link.read_text(), 'precious')
        self.assertEqual(self.authority.entries(), [])
        link.unlink()
        timed = self.directory / 'out-priv' / f'lb-agent-priv-{self.now:%Y-%m-%d_%H-%M-%S}.pem'
        timed.write_text('precious')
        self.issue()
        self.assertEqual(timed.read_text(), 'precious')

    def test_not_beyond_the_authority(self) -> None:
        """No certificate outlives its authority, and an expired authority issues none."""
        issued = self.issue(days=36_500)
        self.assertEqual(issued.not_after, self.authority.certificate().not_valid_after_utc)
        self.now += timedelta(days=4000)
        self.assertIn("renew it with 'zatotx ca renew PATH ca'", self.error(self.issue, 'client', 'x'))

    def test_bad_names(self) -> None:
        """A name that is no file name is refused before anything is written."""
        self.assertIn('cannot be part of a file name', self.error(self.issue, 'client', '../x'))
        self.assertIn('is that of the authority itself', self.error(self.issue, 'client', 'ca'))
        self.assertEqual(self.authority.entries(), [])


class RenewTests(AuthorityTestCase):
    def test_copied_without_links(self) -> None:
        """After a copy of the directory that followed its links, certificates are renewed all the same."""
        self.issue()
        copied = Path(self.mktemp()).absolute()
        shutil.copytree(self.directory, copied)
        renewed = CertificateAuthority(copied).renew('lb-agent')
        self.assertEqual((copied / 'out-cert' / 'lb-agent-cert.pem').resolve(), renewed.certificate)

    def test_renewed(self) -> None:
        """A renewed certificate has the same names and usages, a new key and a new serial number; the old one stays
        valid."""
        old = self.issue('web-admin')
        new = self.authority.renew('web-admin')
        first, second = (load_pem_x509_certificate(each.certificate.read_bytes()) for each in (old, new))
        self.assertEqual(template_of(first), template_of(second))
        self.assertNotEqual(first.public_key(), second.public_key())
        self.assertNotEqual(old.serial, new.serial)
        self.assertNotEqual(old.certificate, new.certificate)
        for path in (old.certificate, new.certificate):
            self.assertTrue(self.verify(path).endswith(': OK\n'))
        self.assertEqual((self.directory / 'out-cert' / 'web-admin-cert.pem').resolve(), new.certificate)
        self.assertEqual([each.is_current for each in self.authority.entries()], [False, True])

    def test_renewed_authority(self) -> None:
        """A renewed authority keeps its key: what it has signed stays valid, its revocation list too."""
        issued = self.issue()
        serial = self.authority.certificate().serial_number
        self.now += timedelta(days=1)
        self.authority.renew('ca', days=5000)
        certificate = self.authority.certificate()
        self.assertNotEqual(certificate.serial_number, serial)
        self.assertEqual(certificate.not_valid_after_utc, self.now.replace(microsecond=0) + timedelta(days=5000))
        self.assertTrue(self.verify(issued.certificate, '-attime', str(int(self.now.timestamp()))).endswith(': OK\n'))

    def test_unknown(self) -> None:
        """An unknown name is answered with the known ones."""
        self.issue()
        self.assertIn('no certificate lb (known: lb-agent)', self.error(self.authority.renew, 'lb'))

    def test_missing_file(self) -> None:
        """A certificate that was moved away cannot be renewed; the sentence names its file."""
        issued = self.issue()
        issued.certificate.unlink()
        self.assertIn(f'{issued.certificate} is missing', self.error(self.authority.renew, 'lb-agent'))
        issued.certificate.write_text('?')
        self.assertIn('is not a certificate', self.error(self.authority.renew, 'lb-agent'))


class RevokeTests(AuthorityTestCase):
    def test_revoked(self) -> None:
        """OpenSSL refuses a revoked certificate, and accepts the others."""
        first, second = self.issue(), self.issue('client', 'x')
        self.authority.revoke('lb-agent', 'keyCompromise')
        self.assertIn('certificate revoked', self.verify(first.certificate))
        self.assertTrue(self.verify(second.certificate).endswith(': OK\n'))

    def test_by_name_and_by_serial(self) -> None:
        """A name means all valid certificates of it, a serial number one."""
        old, new = self.issue(), self.authority.renew('lb-agent')
        self.assertEqual(len(self.authority.revoke(old.serial.lower())), 1)
        self.assertTrue(self.verify(new.certificate).endswith(': OK\n'))
        self.assertEqual(len(self.authority.revoke('lb-agent')), 1)
        self.assertIn('certificate revoked', self.verify(new.certificate))
        self.assertIn('is revoked already', self.error(self.authority.revoke, 'lb-agent'))

    def test_unknown(self) -> None:
        """Nothing is revoked by an unknown name."""
        self.assertIn('has issued no certificate x', self.error(self.authority.revoke, 'x'))

    def test_numbers_grow(self) -> None:
        """Each revocation list has a greater number than the one before."""
        numbers = []
        for _ in range(3):
            self.authority.sign_revocation_list()
            text = subprocess.run(['openssl', 'crl', '-noout', '-crlnumber', '-in', self.material / 'ca-crl.pem'],
                                  capture_output=True, text=True, check=True).stdout  # fmt: skip
            numbers.append(int(text.strip().partition('=')[2], 16))
        self.assertEqual(numbers, sorted(set(numbers)))

    def test_expired_certificates_leave_the_list(self) -> None:
        """A revoked certificate stays on the list until a day after its end."""
        self.issue(days=2)
        self.authority.revoke('lb-agent')
        for days, count in ((2, 1), (2, 0)):
            self.now += timedelta(days=days)
            self.assertEqual(len(self.authority.sign_revocation_list()), count)

    def test_needs_signing(self) -> None:
        """The list is to be signed again when half of its validity is over, when it is missing, and when a revocation
        is not on it."""
        self.assertFalse(self.authority.list_needs_signing())
        self.now += timedelta(days=15)
        self.assertTrue(self.authority.list_needs_signing())
        self.authority.sign_revocation_list()
        self.assertFalse(self.authority.list_needs_signing())
        self.issue()
        before = self.authority.store.revocation_list.read_bytes()
        self.authority.revoke('lb-agent')
        self.authority.store.write_revocation_list(before)
        self.assertTrue(self.authority.list_needs_signing())
        self.authority.store.revocation_list.unlink()
        self.assertTrue(self.authority.list_needs_signing())

    def test_openssl_reads_the_index(self) -> None:
        """The index is OpenSSL's: `openssl ca -status` knows what was issued and revoked."""
        first, second = self.issue(), self.issue('client', 'x')
        self.authority.revoke('x')
        config = self.directory / 'openssl.cnf'
        config.write_text(f'[ca]\ndefault_ca = this\n[this]\ndatabase = {self.material}/ca-certindex\n'
                          f'serial = {self.material}/ca-serial\n')  # fmt: skip
        for serial, status in ((first.serial, 'Valid'), (second.serial, 'Revoked')):
            done = subprocess.run(['openssl', 'ca', '-config', config, '-status', serial],
                                  capture_output=True, text=True, check=False)  # fmt: skip
            self.assertIn(f'{serial}={status}', done.stdout + done.stderr)


class PassphraseTests(SynchronousTestCase):
    def test_passphrase(self) -> None:
        """An encrypted key is used with its pass phrase only; without it, the index can still be read."""
        directory = Path(self.mktemp())
        CertificateAuthority.create(directory, SUBJECT, passphrase='correct horse')
        self.assertIn(b'ENCRYPTED', (directory / 'ca-material' / 'ca-key.pem').read_bytes())
        for phrase, sentence in (('', 'is encrypted: give the pass phrase'), ('wrong', 'cannot be decrypted')):
            authority = CertificateAuthority(directory, phrase)
            error = self.assertRaises(AuthorityError, authority.issue, PROFILES['client'], 'x', CertificateSubject('x'))
            self.assertIn(sentence, str(error))
            self.assertNotIn('wrong', str(error))
            self.assertEqual(authority.entries(), [])
        authority = CertificateAuthority(directory, 'correct horse')
        authority.issue(PROFILES['client'], 'x', CertificateSubject('x'))
        self.assertEqual(len(authority.entries()), 1)


class DamageTests(AuthorityTestCase):
    def test_not_an_authority(self) -> None:
        """A directory without the marker is no authority."""
        self.assertIn("create one with 'zatotx ca create ca", self.error(CertificateAuthority, Path(self.mktemp())))

    def test_damaged_index(self) -> None:
        """A damaged or missing index stops everything that depends on it, with its name and line; no serial number is
        used."""
        self.issue()
        index, serial = self.material / 'ca-certindex', self.material / 'ca-serial'
        before = serial.read_bytes()
        content = index.read_bytes()
        for damage in (content[:-7], b'\0' * 30, content + content, b'\xff\n'):
            index.write_bytes(damage)
            for action in (lambda: self.issue('client', 'x'), lambda: self.authority.renew('lb-agent'),
                           lambda: self.authority.revoke('lb-agent'), self.authority.entries):  # fmt: skip
                text = self.error(action)
                self.assertIn(f'{index} is damaged', text)
                self.assertIn('restore it from a backup', text)
            self.assertEqual(index.read_bytes(), damage)
        index.unlink()
        self.assertIn('is missing: restore it from a backup', self.error(self.issue, 'client', 'x'))
        self.assertEqual(serial.read_bytes(), before)

    def test_damaged_files(self) -> None:
        """Each other file that is missing, or holds something else, is named."""
        for name, content, sentence in (
            ('ca-serial', b'x\n', 'must contain one hexadecimal number'), ('ca-serial', None, 'is missing'),
            ('ca-key.pem', b'', 'is damaged'), ('ca-key.pem', None, 'is missing: only where it is'),
            ('ca-cert.pem', b'', 'is damaged'), ('ca-cert.pem', None, 'is missing'),
        ):  # fmt: skip
            path = self.material / name
            before = path.read_bytes()
            path.unlink() if content is None else path.write_bytes(content)
            text = self.error(self.issue)
            self.assertIn(str(path), text)
            self.assertIn(sentence, text)
            path.write_bytes(before)

    def test_other_key(self) -> None:
        """A key that does not belong to the certificate signs nothing."""
        other = Path(self.mktemp())
        CertificateAuthority.create(other, SUBJECT)
        (self.material / 'ca-key.pem').write_bytes((other / 'ca-material' / 'ca-key.pem').read_bytes())
        self.assertIn('is not the key of', self.error(self.issue))

    def test_restored_from_a_backup(self) -> None:
        """A directory whose counter went back issues no serial number twice."""
        counter = (self.material / 'ca-serial').read_bytes()
        first = self.issue()
        (self.material / 'ca-serial').write_bytes(counter)
        second = self.issue('client', 'x')
        self.assertNotEqual(first.serial, second.serial)


class LockTests(AuthorityTestCase):
    def test_two_at_once(self) -> None:
        """Changes wait for each other: none is lost."""
        def work(number: int) -> None:
            CertificateAuthority(self.directory).issue(PROFILES['client'], f'c{number}', CertificateSubject('c'))

        threads = [Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        entries = self.authority.entries()
        self.assertEqual({each.name for each in entries}, {f'c{number}' for number in range(8)})
        self.assertEqual(len({each.entry.serial for each in entries}), 8)

    def test_timeout(self) -> None:
        """Whoever waits too long is told to try again."""
        self.patch(authority_directory, 'LOCK_TIMEOUT', 0.05)
        with self.authority.store.lock():
            text = self.error(CertificateAuthority(self.directory).sign_revocation_list)
        self.assertIn('Another process is changing', text)


def handshake(server: ssl.SSLContext, client: ssl.SSLContext, host: str) -> str:
    """Connect the two in memory; returns the common name that the server sees."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [client.wrap_bio(to_client, to_server, server_hostname=host),
             server.wrap_bio(to_server, to_client, server_side=True)]  # fmt: skip
    waiting = list(sides)
    for _ in range(10):
        for side in list(waiting):
            try:
                side.do_handshake()
                waiting.remove(side)
            except ssl.SSLWantReadError:
                continue  # the other side's turn
        if not waiting:
            break
    certificate = sides[1].getpeercert()
    assert certificate is not None
    subject: Any = certificate['subject']
    return str(dict(pair for (pair,) in subject)['commonName'])


class ListTests(AuthorityTestCase):
    def test_initial_list(self) -> None:
        """A new authority has an empty list, valid for thirty days."""
        crl = load_pem_x509_crl((self.material / 'ca-crl.pem').read_bytes())
        self.assertEqual(len(crl), 0)
        self.assertEqual(crl.next_update_utc, self.now.replace(microsecond=0) + timedelta(days=30))
