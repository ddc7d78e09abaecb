"""`zatotx create load-balancer` with an agent."""

from __future__ import annotations

import tomllib
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.command import Said, sentences, zatotx
from zatotx.lb.config.parser import parse_configuration


class CreateTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.parent = Path(self.mktemp()).absolute()
        self.parent.mkdir()
        self.ca, self.path = self.parent / 'ca', self.parent / 'lb'
        for words in (('ca', self.ca), ('lb-agent', self.ca)):
            self.assertEqual(zatotx('ca', 'create', *words).code, 0)

    def create(self, **files: str) -> Said:
        options = [word for name, file in files.items() for word in (f'--agent-{name}', self.ca / file)]
        return zatotx('create', 'load-balancer', self.path, '--server', '127.0.0.1:17010', *options)

    def agent(self) -> dict[str, object]:
        source = (self.path / 'config' / 'lb.toml').read_text()
        _, errors = parse_configuration(source, self.path)
        self.assertEqual(errors, [])
        found: dict[str, object] = tomllib.loads(source)['agent']
        return found

    def test_with_an_agent(self) -> None:
        """The files are copied, only their owner can read them, and the agent can use them."""
        said = self.create(cert='out-cert/lb-agent-cert.pem', key='out-priv/lb-agent-priv.pem',
                           ca='ca-material/ca-cert.pem', crl='ca-material/ca-crl.pem')  # fmt: skip
        self.assertEqual(said.code, 0, said.text)
        self.assertIn('Agent          https://127.0.0.1:20151\n', said.out)
        self.assertEqual((self.agent()['enabled'], self.agent()['crl']), (True, 'tls-agent/zato-lba-crl.pem'))
        copied = sorted((self.path / 'tls-agent').iterdir())
        self.assertEqual([path.name for path in copied],
                         [f'zato-lba-{name}.pem' for name in ('ca-certs', 'cert', 'crl', 'priv-key')])
        self.assertEqual([path.is_symlink() or path.stat().st_mode & 0o777 for path in copied], [0o600] * 4)
        self.assertEqual(zatotx('check-config', self.path).code, 0)

    def test_without(self) -> None:
        """Without these options there is no agent; without a revocation list none is checked."""
        self.assertEqual(self.create().code, 0)
        self.assertIs(self.agent()['enabled'], False)
        self.path = self.parent / 'second'
        said = self.create(cert='out-cert/lb-agent-cert.pem', key='out-priv/lb-agent-priv.pem',
                           ca='ca-material/ca-cert.pem')  # fmt: skip
        self.assertEqual(said.code, 0, said.text)
        self.assertEqual((self.agent()['enabled'], self.agent()['crl']), (True, ''))

    def test_wrong_files(self) -> None:
        """Files that do not belong together, or are not all there, are one sentence; nothing is created."""
        for files, code, sentence in (
            ({'cert': 'out-cert/lb-agent-cert.pem'}, 2, 'The agent needs --agent-key, --agent-ca, too'),
            ({'cert': 'out-cert/lb-agent-cert.pem', 'key': 'ca-material/ca-key.pem', 'ca': 'ca-material/ca-cert.pem'},
             1, 'is not the key of'),
            ({'cert': 'missing', 'key': 'out-priv/lb-agent-priv.pem', 'ca': 'ca-material/ca-cert.pem'}, 1,
             'cannot be read'),
        ):  # fmt: skip
            said = self.create(**files)
            self.assertEqual((said.code, len(sentences(said.err))), (code, 1), said.text)
            self.assertIn(sentence, said.err)
            self.assertFalse(self.path.exists())
