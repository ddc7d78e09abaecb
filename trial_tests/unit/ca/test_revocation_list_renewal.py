"""The revocation list is signed again before it expires."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from zatotx.ca.certificate_authority import CertificateAuthority
from zatotx.ca.certificate_names import CertificateSubject
from zatotx.ca.revocation_list_renewal import INTERVAL, RevocationListRenewal, find_authority
from zatotx.testing.log_recorder import LogRecorder


def run_at_once(function: Callable[..., Any], *args: Any) -> Deferred[Any]:
    """A thread pool without threads."""
    return execute(function, *args)


class RenewalTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.now = datetime.now(UTC)
        self.directory = Path(self.mktemp())
        self.authority = self.open(self.directory, create=True)
        self.log = LogRecorder()
        globalLogPublisher.addObserver(self.log)
        self.addCleanup(globalLogPublisher.removeObserver, self.log)
        self.renewal = RevocationListRenewal(self.directory, self.clock, run_at_once, self.open)
        self.addCleanup(self.stop)

    def open(self, directory: Path, *, create: bool = False) -> CertificateAuthority:
        now = lambda: self.now + timedelta(seconds=self.clock.seconds())  # noqa: E731
        return CertificateAuthority.create(directory, CertificateSubject('CA'), now=now) if create \
            else CertificateAuthority(directory, now=now)  # fmt: skip

    def stop(self) -> None:
        if self.renewal.running:
            self.renewal.stopService()

    def end(self) -> datetime:
        current = self.authority.revocation_list()
        assert current is not None
        assert current.next_update_utc is not None
        return current.next_update_utc

    def logged(self) -> list[str]:
        found = [record.getMessage() for record in self.log.records if record.name.startswith('zatotx.')]
        self.log.records.clear()
        return found

    def test_before_its_end(self) -> None:
        """A list of thirty days is signed again after fifteen, not earlier, and so on: it never expires."""
        first = self.end()
        self.renewal.startService()
        self.clock.pump([INTERVAL] * (14 * 144))
        self.assertEqual(self.end(), first)
        for _ in range(3):
            self.clock.pump([INTERVAL] * (16 * 144))
            self.assertGreater(self.end(), self.now + timedelta(seconds=self.clock.seconds() + 86400))
        self.assertIn('was signed again', self.logged()[0])

    def test_at_start(self) -> None:
        """A list that expired while nothing ran is signed at once."""
        self.clock.advance(40 * 86400)
        self.renewal.startService()
        self.assertGreater(self.end(), self.now + timedelta(seconds=self.clock.seconds()))

    def test_errors(self) -> None:
        """What prevents it is logged once, until it changes; then it is tried again."""
        key = self.directory / 'ca-material' / 'ca-key.pem'
        content = key.read_bytes()
        key.unlink()
        self.clock.advance(20 * 86400)
        self.renewal.startService()
        self.clock.pump([INTERVAL] * 3)
        (line,) = self.logged()
        self.assertIn('cannot be signed again', line)
        self.assertIn(str(key), line)
        key.write_bytes(content)
        self.clock.advance(INTERVAL)
        self.assertGreater(self.end(), self.now + timedelta(seconds=self.clock.seconds()))


class FindTests(SynchronousTestCase):
    def test_found(self) -> None:
        """The authority is found through links to its list."""
        directory = Path(self.mktemp()).absolute()
        CertificateAuthority.create(directory, CertificateSubject('CA'))
        link = Path(self.mktemp())
        link.symlink_to(directory / 'ca-material' / 'ca-crl.pem')
        self.assertEqual(find_authority(link), directory)

    def test_not_found(self) -> None:
        """A copy of a list, a list whose authority's key is elsewhere, and a missing file have no authority here."""
        directory = Path(self.mktemp()).absolute()
        CertificateAuthority.create(directory, CertificateSubject('CA'))
        crl = directory / 'ca-material' / 'ca-crl.pem'
        copied = Path(self.mktemp())
        copied.write_bytes(crl.read_bytes())
        self.assertIsNone(find_authority(copied))
        self.assertIsNone(find_authority(directory / 'missing'))
        (directory / 'ca-material' / 'ca-key.pem').unlink()
        self.assertIsNone(find_authority(crl))
