"""What `zatotx doctor` finds in the certificates of the configuration."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.broker import free_offset, quickstart
from zatotx.ca.certificate_authority import CertificateAuthority
from zatotx.ca.certificate_builder import PROFILES
from zatotx.ca.certificate_names import CertificateSubject
from zatotx.cli.checks import object_certificates
from zatotx.cli.checks.check_definition import BROKEN, WARNING, CheckContext
from zatotx.cli.doctor import run_checks
from zatotx.cli.environment.environment_layout import find_environment
from zatotx.cli.environment.odb_and_redis_access import command_actor, open_odb
from zatotx.odb.offline_operations import write_operations
from zatotx.schema.snapshot import Operation

DAY = 86400
REST = {'host': 'https://crm.example.com', 'url_path': '/', 'proxy': 'environment'}


class ObjectCertificateTests(SynchronousTestCase):
    """An outgoing connection with a client certificate that is valid for 100 days, its authority, and a definition of
    mutual TLS with a revocation list."""

    def setUp(self) -> None:
        self.path = Path(self.mktemp()).absolute() / 'qs'
        quickstart(self.path, '--servers', 2, '--port-offset', free_offset())
        self.authority = CertificateAuthority.create(Path(self.mktemp()).absolute(), CertificateSubject('CA'))
        issued = self.authority.issue(PROFILES['client'], 'x', CertificateSubject('x'), days=100)
        store = self.authority.store
        ca, crl = store.certificate.read_text(), store.revocation_list.read_text()
        self.create('outgoing_rest', 'CRM', **REST, tls_ca=ca,
                    tls_cert=issued.certificate.read_text() + issued.key.read_text())  # fmt: skip
        self.create('mtls', 'partners', ca=ca, crl=crl)

    def create(self, type_: str, name: str, **fields: Any) -> None:
        with open_odb(find_environment(str(self.path))) as database:
            operation = Operation(action='create', type=type_, name=name, fields={'name': name, **fields})
            write_operations(database, [operation], command_actor('tests'))

    def findings(self, days: float) -> list[tuple[str, str]]:
        context = CheckContext(find_environment(str(self.path)), now=lambda: time.time() + days * DAY)
        found = run_checks(context, object_certificates.CHECKS)
        return sorted((each.severity, each.text) for each in found)

    def test_findings(self) -> None:
        """Each certificate and each list is named with its object and field, once for the environment."""
        self.assertEqual(self.findings(0), [])
        ((severity, text),) = self.findings(25)
        self.assertEqual(severity, WARNING)
        self.assertIn("'partners', crl: the revocation list expires in 5 days", text)
        (expired, warning) = self.findings(80)
        self.assertEqual((expired[0], warning[0]), (BROKEN, WARNING))
        self.assertIn('so everybody is refused', expired[1])
        self.assertIn("'CRM', tls_cert: the certificate expires in 20 days", warning[1])
        self.assertTrue(any(severity == BROKEN and 'tls_cert: the certificate expired on' in text
                            for severity, text in self.findings(101)))  # fmt: skip
        self.assertTrue(any("'CRM', tls_ca: the certificate expires in" in text for _, text in self.findings(3640)))

    def test_inactive(self) -> None:
        """What is not in use is no finding."""
        self.create('outgoing_rest', 'old', **REST, is_active=False,
                    tls_ca=self.authority.store.certificate.read_text())  # fmt: skip
        self.assertFalse(any("'old'" in text for _, text in self.findings(5000)))
