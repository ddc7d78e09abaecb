"""What `zatotx doctor` finds in the certificate authority of an environment."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.broker import free_offset, quickstart
from trial_tests.support.command import zatotx
from zatotx.ca.authority import CertificateAuthority
from zatotx.cli.checks import authority
from zatotx.cli.checks.finding import BROKEN, WARNING, CheckContext
from zatotx.cli.doctor import run_checks
from zatotx.cli.environment.layout import find_environment

DAY = 86400


class AuthorityCheckTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp()).absolute() / 'qs'
        quickstart(self.path, '--servers', 1, '--port-offset', free_offset())
        self.material = self.path / 'ca' / 'ca-material'

    def findings(self, days: float = 0) -> list[tuple[str, str]]:
        """Severity and text of each finding, on a day in the future."""
        context = CheckContext(find_environment(str(self.path)), now=lambda: time.time() + days * DAY)
        return [(found.severity, found.text) for found in run_checks(context, authority.CHECKS)]

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
