"""What `zatotx doctor` finds in the certificate authority of an environment."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.broker import free_offset, quickstart
from trial_tests.support.command import zatotx
from zatotx.ca.certificate_authority import CertificateAuthority
from zatotx.cli.checks import certificate_authority, tls_files
from zatotx.cli.checks.check_definition import BROKEN, WARNING, CheckContext
from zatotx.cli.doctor import run_checks
from zatotx.cli.environment.environment_authority import link_certificate
from zatotx.cli.environment.environment_layout import find_environment

DAY = 86400


class AuthorityCheckTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp()).absolute() / 'qs'
        quickstart(self.path, '--servers', 1, '--port-offset', free_offset())
        self.material = self.path / 'ca' / 'ca-material'

    def findings(self, days: float = 0) -> list[tuple[str, str]]:
        """Severity and text of each finding, on a day in the future."""
        context = CheckContext(find_environment(str(self.path)), now=lambda: time.time() + days * DAY)
        return [(found.severity, found.text) for found in run_checks(context, certificate_authority.CHECKS)]

    def finds(self, severity: str, *parts: str, days: float = 0) -> None:
        findings = self.findings(days)
        self.assertTrue(any(found == severity and all(part in text for part in parts) for found, text in findings),
                        (severity, parts, findings))  # fmt: skip

    def test_fresh(self) -> None:
        """A fresh environment has nothing to report, nor has one without an authority."""
        self.assertEqual(self.findings(), [])
        (self.path / 'ca').rename(self.path.with_name('elsewhere'))
        self.assertEqual(self.findings(), [])

    def test_expiring_certificates(self) -> None:
        """Each certificate that expires within thirty days is named with the command that renews it; within a week it
        is broken."""
        for name in ('lb-agent', 'web-admin', 'cli'):
            self.finds(WARNING, f'out-cert/{name}-cert-', f"'zatotx ca renew {self.path} {name}'", days=345)
            self.finds(BROKEN, 'expires in', f"'zatotx ca renew {self.path} {name}'", days=360)
            self.finds(BROKEN, 'expired on', f"'zatotx ca renew {self.path} {name}'", days=370)
        self.finds(WARNING, 'ca-cert.pem expires', f"'zatotx ca renew {self.path} ca'", days=3630)

    def test_renewed_and_revoked(self) -> None:
        """What was renewed or revoked is no finding any more."""
        later = datetime.fromtimestamp(time.time() + 340 * DAY, UTC)
        ca = CertificateAuthority(self.path / 'ca', now=lambda: later)
        ca.renew('lb-agent')
        ca.revoke('web-admin')
        texts = [text for _, text in self.findings(345)]
        self.assertEqual(len(texts), 1, texts)
        self.assertIn('/cli-cert-', texts[0])

    def test_revocation_list(self) -> None:
        """A list that is about to expire is a warning; one that has expired, is missing, or lacks revocations is
        broken."""
        command = f"'zatotx ca crl {self.path}'"
        self.finds(WARNING, 'expires in', command, days=25)
        self.finds(BROKEN, 'so everybody is refused', command, days=31)
        crl = self.material / 'ca-crl.pem'
        before = crl.read_bytes()
        self.assertEqual(zatotx('ca', 'revoke', self.path, 'cli').code, 0)
        self.assertEqual(self.findings(), [])
        crl.write_bytes(before)
        self.finds(BROKEN, 'lacks 1 revoked certificates', command)
        crl.unlink()
        self.finds(BROKEN, 'is missing or damaged', command)
        self.assertEqual(zatotx('ca', 'crl', self.path).code, 0)
        self.assertEqual(self.findings(), [])

    def component(self, name: str = 'load-balancer') -> Path:
        """A load balancer whose agent has copies of its files."""
        directory = self.path / name
        (directory / 'config').mkdir(parents=True)
        (directory / 'tls-agent').mkdir()
        (directory / '.zato-info').write_text('{"component": "LOAD_BALANCER"}')
        (directory / 'config' / 'lb.toml').write_text(
            '[agent]\nenabled = true\ncrl = "tls-agent/zato-lba-crl.pem"\n'
        )
        for suffix, source in (('cert', 'out-cert/lb-agent-cert.pem'), ('priv-key', 'out-priv/lb-agent-priv.pem'),
                               ('ca-certs', 'ca-material/ca-cert.pem'), ('crl', 'ca-material/ca-crl.pem')):  # fmt: skip
            target = directory / 'tls-agent' / f'zato-lba-{suffix}.pem'
            target.write_bytes((self.path / 'ca' / source).read_bytes())
            target.chmod(0o600)
        return directory

    def tls_findings(self, days: float = 0) -> list[tuple[str, str]]:
        context = CheckContext(find_environment(str(self.path)), now=lambda: time.time() + days * DAY)
        return [(found.severity, found.text) for found in run_checks(context, tls_files.CHECKS)]

    def test_copied_files(self) -> None:
        """Certificates and revocation lists that a component has copies of are found, too; those that are links are
        reported once, by their authority."""
        directory = self.component()
        self.assertEqual(self.tls_findings(), [])
        ((severity, text),) = self.tls_findings(25)
        self.assertEqual(severity, WARNING)
        self.assertIn(f'the revocation list {directory}/tls-agent/zato-lba-crl.pem expires in', text)
        texts = [text for _, text in self.tls_findings(345)]
        self.assertEqual([part in text for text in texts for part in ('zato-lba-cert.pem expires',)].count(True), 1)
        for path in (directory / 'tls-agent').iterdir():
            path.unlink()
        link_certificate(directory / 'tls-agent', 'zato-lba', 'lb-agent')
        self.assertEqual(self.tls_findings(345), [])

    def test_agent_files(self) -> None:
        """Files with which the agent would not start are found, unless it is disabled."""
        directory = self.component()
        key = directory / 'tls-agent' / 'zato-lba-priv-key.pem'
        key.write_bytes((self.path / 'ca' / 'out-priv' / 'cli-priv.pem').read_bytes())
        ((severity, text),) = self.tls_findings()
        self.assertEqual(severity, BROKEN)
        self.assertIn(f'the agent refuses to start: {key} is not the key of', text)
        key.unlink()
        self.assertIn('cannot be read: No such file', self.tls_findings()[0][1])
        key.write_bytes((self.path / 'ca' / 'out-priv' / 'lb-agent-priv.pem').read_bytes())
        settings = directory / 'config' / 'lb.toml'
        settings.write_text(settings.read_text() + 'verify_fields = {mood = "x"}\n')
        self.assertIn("'mood' is not a field of a subject", self.tls_findings()[0][1])
        settings.write_text(settings.read_text().replace('true', 'false'))
        self.assertEqual(self.tls_findings(), [])

    def test_damage(self) -> None:
        """A damaged index is one finding."""
        (self.material / 'ca-certindex').write_text('?\n')
        ((severity, text),) = self.findings()
        self.assertEqual(severity, BROKEN)
        self.assertIn('is damaged in line 1', text)

    def test_permissions(self) -> None:
        """A private key that others can read is broken, with the command that closes it."""
        key = self.material / 'ca-key.pem'
        key.chmod(0o644)
        self.finds(BROKEN, f"'chmod 600 {key}'")
        out = (self.path / 'ca' / 'out-priv' / 'cli-priv.pem').resolve()
        out.chmod(0o640)
        self.finds(BROKEN, f"'chmod 600 {out}'")
