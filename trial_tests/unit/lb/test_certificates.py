"""The certificate files of a frontend."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.authority import Authority
from zatotx.lb.config.model import ListenerTls
from zatotx.lb.tls.certificate_files import file_fingerprints, load_certificate_files
from zatotx.lb.tls.tls_listener import TlsContextSet


class CertificateFileTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.root = Path(self.mktemp())
        self.authority = Authority(self.root / 'authority')
        self.directory = self.root / 'tls'
        self.directory.mkdir()

    def install(self, name: str, *hosts: str) -> tuple[Path, Path]:
        certificate, key = (Path(shutil.copy(file, self.directory)) for file in self.authority.sign(name, *hosts))
        return certificate, key

    def test_forms(self) -> None:
        """A pair of files, or one file with certificate and key; hidden and other files are not read."""
        self.install('pair', 'pair.example')
        certificate, key = self.authority.sign('whole', 'whole.example', '127.0.0.1')
        (self.directory / 'whole.pem').write_bytes(certificate.read_bytes() + key.read_bytes())
        for name in ('.hidden.pem', 'README.txt'):
            (self.directory / name).write_text('nonsense')
        files = load_certificate_files(self.directory)
        self.assertEqual([(file.name, file.names) for file in files], [
            ('pair.crt', {'pair.example'}), ('whole.pem', {'whole.example', '127.0.0.1'})
        ])  # fmt: skip
        self.assertEqual(len(load_certificate_files(self.directory / 'whole.pem')), 1)

    def test_errors(self) -> None:
        """Each file that cannot be used is named, with its reason."""
        _, key = self.install('other', 'x.example')
        shutil.copy(key, self.install('swapped', 'y.example')[1])
        self.install('locked', 'z.example')
        secret = rsa.generate_private_key(65537, 2048)
        (self.directory / 'locked.key').write_bytes(
            secret.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b'x'))
        )
        self.install('foreign', 'w.example')
        (self.directory / 'foreign.key').write_bytes(
            secret.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )
        error = str(self.assertRaises(ValueError, load_certificate_files, self.directory))
        self.assertEqual(len(error.splitlines()), 3)
        for text in ('swapped.crt: the key in swapped.key is not the key of the certificate',
                     'locked.crt: the key in locked.key is encrypted', 'foreign.crt: the key in'):  # fmt: skip
            self.assertIn(text, error)
        self.assertNotIn('x.example', error)

    def test_empty_directory(self) -> None:
        """A directory without certificates, and one that does not exist, are errors."""
        self.assertIn('has no certificate', str(self.assertRaises(ValueError, load_certificate_files, self.directory)))
        self.assertIn('No such file', str(self.assertRaises(ValueError, load_certificate_files, self.root / 'none')))

    def test_names(self) -> None:
        """The name itself, then a wildcard of its domain, then the default."""
        self.install('a', 'one.example')
        self.install('b', '*.example', 'two.example')
        self.install('c', 'three.other')
        contexts = TlsContextSet(ListenerTls(default='c.crt'), self.root, ())
        found = {name: contexts.find(name) for name in (b'one.example', b'ONE.example.', b'two.example', b'x.example',
                                                        b'x.y.example', b'example', b'')}  # fmt: skip
        self.assertIs(found[b'one.example'], found[b'ONE.example.'])
        self.assertIs(found[b'two.example'], found[b'x.example'])
        self.assertIsNot(found[b'one.example'], found[b'two.example'])
        self.assertEqual({found[name] for name in (b'x.y.example', b'example', b'')}, {contexts.default})

    def test_settings(self) -> None:
        """Settings that cannot be fulfilled are errors."""
        self.install('a', 'one.example')
        for settings, text in ((ListenerTls(default='b.crt'), 'there is no certificate file b.crt'),
                               (ListenerTls(ciphers='NONSENSE'), 'OpenSSL knows none of'),
                               (ListenerTls(client_certificates='required'), 'tls.client_ca: is missing')):  # fmt: skip
            self.assertIn(text, str(self.assertRaises(ValueError, TlsContextSet, settings, self.root, ())))

    def test_changes_are_noticed(self) -> None:
        """A replaced, an added and a removed file change the versions; nothing else does."""
        certificate, _ = self.install('a', 'one.example')
        seen = [file_fingerprints([self.directory])]
        self.assertEqual(file_fingerprints([self.directory]), seen[0])
        os.utime(certificate, (1, 1))
        seen.append(file_fingerprints([self.directory]))
        self.install('b', 'two.example')
        seen.append(file_fingerprints([self.directory]))
        certificate.unlink()
        seen.append(file_fingerprints([self.directory]))
        self.assertEqual(len(set(seen)), 4)
