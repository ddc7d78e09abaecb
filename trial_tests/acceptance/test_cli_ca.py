"""`zatotx ca`, as administrators use it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.command import Said, sentences, zatotx


class CaTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp()).absolute() / 'ca'

    def good(self, *args: object, **named: object) -> Said:
        said = zatotx('ca', *args, **named)  # type: ignore[arg-type]
        self.assertEqual((said.code, said.err), (0, ''), said.text)
        return said

    def refused(self, *args: object, code: int = 1) -> str:
        """One sentence, and nothing on stdout."""
        said = zatotx('ca', *args)
        self.assertEqual((said.code, said.out), (code, ''), said.text)
        (sentence,) = sentences(said.err)
        self.assertTrue(sentence.startswith('Error: '))
        self.assertTrue(sentence.endswith('.'))
        return sentence

    def test_the_whole_life(self) -> None:
        """Create, list, show, renew, revoke: each command prints what happened, for people and as JSON."""
        self.assertIn(f'Created the authority {self.path}', self.good('create', 'ca', self.path).out)
        for args, name, subject in (
            (('server', self.path, 'qs', 'server1', '--san', 'esb.example.com'), 'qs-server1', 'CN=server1'),
            (('lb-agent', self.path), 'lb-agent', 'CN=lb-agent'),
            (('web-admin', self.path, '--organization', 'Bank', '--country', 'PL'), 'web-admin', '/C=PL'),
            (('client', self.path, 'partner', '--common-name', 'Partner'), 'partner', 'CN=Partner'),
        ):
            made = json.loads(self.good('create', *args, '--format', 'json').out)
            self.assertEqual(made['name'], name)
            self.assertIn(subject, made['subject'])
            verified = subprocess.run(
                ['openssl', 'verify', '-x509_strict', '-CAfile', self.path / 'ca-material' / 'ca-cert.pem',
                 made['certificate']], capture_output=True, text=True, check=False,
            )  # fmt: skip
            self.assertEqual(verified.returncode, 0, verified.stderr)
        self.assertIn('alternative names: esb.example.com\n', self.good('show', self.path, 'qs-server1').out)
        self.assertIn('usages: authority\n', self.good('show', self.path, 'ca').out)
        self.assertIn('Renewed the certificate lb-agent', self.good('renew', self.path, 'lb-agent').out)
        options = '--reason', 'superseded', '--format', 'json'
        revoked = json.loads(self.good('revoke', self.path, 'lb-agent', *options).out)
        self.assertEqual(len(revoked['revoked']), 2)
        rows = json.loads(self.good('list', self.path, '--format', 'json').out)
        self.assertEqual([(row['name'], row['status'], row['reason']) for row in rows], [
            ('qs-server1', 'valid', None), ('lb-agent', 'revoked', 'superseded'), ('web-admin', 'valid', None),
            ('partner', 'valid', None), ('lb-agent', 'revoked', 'superseded'),
        ])  # fmt: skip
        self.assertRegex(self.good('list', self.path).out, r'(?m)^qs-server1 +\w+ +valid +\d{4}-\d\d-\d\d +/C=US')
        self.assertIn('with 2 revoked certificates', self.good('crl', self.path).out)

    def test_existing(self) -> None:
        """Nothing that exists is overwritten."""
        self.good('create', 'ca', self.path)
        key = (self.path / 'ca-material' / 'ca-key.pem').read_bytes()
        self.assertIn('is not empty', self.refused('create', 'ca', self.path))
        self.good('create', 'client', self.path, 'x')
        self.assertIn('There is a valid certificate x already', self.refused('create', 'client', self.path, 'x'))
        self.assertEqual((self.path / 'ca-material' / 'ca-key.pem').read_bytes(), key)

    def test_bad_names(self) -> None:
        """Each bad name is one sentence, all of one kind at once; nothing is written for them."""
        self.good('create', 'ca', self.path)
        for args, part in (
            (('client', self.path, '../../etc/x'), "The name '../../etc/x' cannot be part of a file name"),
            (('server', self.path, 'a/b', 'c'), "The name of the cluster 'a/b'"),
            (('server', self.path, 'a', 'ż'), "The name of the server 'ż'"),
            (('client', self.path, 'x', '--common-name', 'y' * 65), 'common name has 65 characters'),
            (('client', self.path, 'x', '--country', 'Poland', '--locality', 'a\nb'), 'control characters'),
            (('server', self.path, 'a', 'b', '--san', 'x y', '--san', '1.2.3'), "'1.2.3' is neither"),
        ):
            self.assertIn(part, self.refused('create', *args))
        self.assertEqual(json.loads(self.good('list', self.path, '--format', 'json').out), [])
        missing = self.path.with_name('other')
        self.assertIn('two capital letters', self.refused('create', 'ca', missing, '--country', 'x'))
        self.assertFalse(missing.exists())

    def test_what_is_not_there(self) -> None:
        """A directory that is no authority, and an unknown certificate, are named with what to do."""
        self.assertIn("create one with 'zatotx ca create ca", self.refused('list', self.path))
        self.good('create', 'ca', self.path)
        self.assertIn("'zatotx ca list' shows their names", self.refused('show', self.path, 'x'))
        self.assertIn('has issued no certificate x', self.refused('revoke', self.path, 'x'))
        self.assertIn('has issued no certificate x', self.refused('renew', self.path, 'x'))

    def test_damaged_index(self) -> None:
        """A damaged index is one sentence with its line, and stays as it is."""
        self.good('create', 'ca', self.path)
        index = self.path / 'ca-material' / 'ca-certindex'
        index.write_text('?\n')
        for args in (('list', self.path), ('create', 'client', self.path, 'x'), ('revoke', self.path, 'x')):
            self.assertIn(f'{index} is damaged in line 1', self.refused(*args))
        self.assertEqual(index.read_text(), '?\n')

    def test_passphrase(self) -> None:
        """A pass phrase comes from a file, a pipe or the environment, and is never shown."""
        file = self.path.with_name('phrase')
        file.parent.mkdir(exist_ok=True)
        file.write_text('correct horse\n')
        self.good('create', 'ca', self.path, '--passphrase', f'@{file}')
        self.assertIn('is encrypted: give the pass phrase', self.refused('create', 'client', self.path, 'x'))
        self.good('create', 'client', self.path, 'x', '--passphrase', f'@{file}')
        self.good('renew', self.path, 'x', '--passphrase', '-', stdin=b'correct horse\n')
        self.good('revoke', self.path, 'x', env={'ZATOTX_CA_PASSPHRASE': 'correct horse'})
        wrong = zatotx('ca', 'crl', self.path, env={'ZATOTX_CA_PASSPHRASE': 'battery staple'})
        self.assertEqual(wrong.code, 1)
        self.assertIn('cannot be decrypted with this pass phrase', wrong.err)
        self.assertNotIn('staple', wrong.text)

    def test_environment(self) -> None:
        """PATH may be an environment with an authority in ca/."""
        self.good('create', 'ca', self.path)
        self.good('create', 'client', self.path.parent, 'x')
        self.assertIn('x', self.good('list', self.path.parent).out)
