"""A certificate authority that is killed between any two operations on its files loses nothing and repeats nothing."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from cryptography.x509 import load_pem_x509_certificate
from twisted.trial.unittest import SynchronousTestCase

from zatotx.ca import authority_directory
from zatotx.ca.authority_directory import KINDS
from zatotx.ca.certificate_authority import CertificateAuthority
from zatotx.ca.certificate_builder import PROFILES
from zatotx.ca.certificate_names import CertificateSubject
from zatotx.system.atomic_file import write_file

KILLED = 9
CHANGES = ('open', 'os.rename', 'os.link', 'os.symlink', 'os.remove', 'os.mkdir', 'os.rmdir')  # audit events
MOST = 200  # operations of one command
PATIENCE = 60  # seconds for one command


def killed_at(number: int, directory: Path, action: Callable[[CertificateAuthority], object]) -> bool:
    """Run the action in a process that dies before its file operation of that number; returns whether it died."""
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        if code not in (0, KILLED):
            raise AssertionError(f'The action failed at operation {number}: {code}')
        return code == KILLED
    count = 0
    prefix = str(directory)

    def audit(event: str, args: tuple[object, ...]) -> None:
        nonlocal count
        if event in CHANGES and str(args[0]).startswith(prefix):
            count += 1
            if count == number:
                os._exit(KILLED)

    code = 1
    signal.alarm(PATIENCE)  # ends a process that hangs
    try:
        sys.addaudithook(audit)
        action(CertificateAuthority(directory))
        code = 0
    finally:
        os._exit(code)
    raise AssertionError('not reached')


class KillTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.patch(os, 'fsync', lambda _: None)  # processes die here, not the machine
        self.origin = Path(self.mktemp()).absolute()
        authority = CertificateAuthority.create(self.origin, CertificateSubject('CA'))
        authority.issue(PROFILES['client'], 'first', CertificateSubject('first'))

    def each_kill(self, action: Callable[[CertificateAuthority], object], check: Callable[[Path], None]) -> int:
        """Kill the action at each of its file operations, each time in a fresh copy, and check what is left, by a
        command that succeeds. Returns how often it was killed."""
        for number in range(1, MOST):
            directory = self.origin.with_name(f'{self.origin.name}-{number}')
            shutil.copytree(self.origin, directory, symlinks=True)
            died = killed_at(number, directory, action)
            self.assert_consistent(directory)
            check(directory)
            self.assert_consistent(directory, complete=True)
            shutil.rmtree(directory)
            if not died:
                return number - 1
        raise AssertionError('It does not end')

    def assert_consistent(self, directory: Path, *, complete: bool = False) -> None:
        """The index can be read; each certificate on disk is in it. If `complete`, each entry has its files, with the
        serial number of the entry, and nothing else is left."""
        authority = CertificateAuthority(directory)
        entries = authority.entries()
        serials = {each.entry.serial for each in entries}
        found = [path for path in (directory / 'out-cert').glob('*.pem') if not path.is_symlink()]
        on_disk = [load_pem_x509_certificate(path.read_bytes()).serial_number for path in found]
        self.assertEqual(len(on_disk), len(set(on_disk)))
        self.assertLessEqual(set(on_disk), serials)
        if not complete:
            return
        self.assertEqual(set(on_disk), serials)
        for each in entries:
            certificate = load_pem_x509_certificate(each.path.read_bytes())
            self.assertEqual(certificate.serial_number, each.entry.serial)
            for kind in KINDS:
                self.assertTrue(authority.store.path(each.entry.file, kind).is_file())
                self.assertTrue(authority.store.current(each.name, kind).resolve(strict=True).is_file())
        self.assertEqual(list((directory / 'ca-material' / 'pending').iterdir()), [])

    def test_issue(self) -> None:
        """The certificate is there completely or not at all; another one can be issued afterwards."""
        outcomes = set()

        def check(directory: Path) -> None:
            authority = CertificateAuthority(directory)
            before = [each.name for each in authority.entries()]
            outcomes.add(len(before))
            self.assertIn(before, (['first'], ['first', 'second']))
            authority.issue(PROFILES['client'], 'third', CertificateSubject('third'))
            if len(before) == 1:
                authority.issue(PROFILES['client'], 'second', CertificateSubject('second'))

        kills = self.each_kill(lambda one: one.issue(PROFILES['client'], 'second', CertificateSubject('second')), check)
        self.assertGreater(kills, 20)
        self.assertEqual(outcomes, {1, 2})

    def test_renew(self) -> None:
        """The links lead to one complete certificate, the old or the new one, or to files that the next change
        completes."""
        def check(directory: Path) -> None:
            CertificateAuthority(directory).issue(PROFILES['client'], 'third', CertificateSubject('third'))

        self.assertGreater(self.each_kill(lambda one: one.renew('first'), check), 20)

    def test_disk_full(self) -> None:
        """A disk that is full at any file is an error; when there is room again, the next change works."""
        written = 0
        for number in range(1, MOST):
            directory = self.origin.with_name(f'{self.origin.name}-full-{number}')
            shutil.copytree(self.origin, directory, symlinks=True)
            written = 0

            def write(path: Path, content: bytes, *, durable: bool, limit: int = number) -> int:
                nonlocal written
                written += 1
                if written == limit:
                    raise OSError(errno.ENOSPC, 'No space left on device', str(path))
                return write_file(path, content, durable=durable)

            self.patch(authority_directory, 'write_file', write)
            try:
                CertificateAuthority(directory).issue(PROFILES['client'], 'second', CertificateSubject('second'))
            except OSError as error:
                self.assertEqual(error.errno, errno.ENOSPC)
            self.patch(authority_directory, 'write_file', write_file)
            self.assert_consistent(directory)
            CertificateAuthority(directory).issue(PROFILES['client'], 'third', CertificateSubject('third'))
            self.assert_consistent(directory, complete=True)
            shutil.rmtree(directory)
            if written < number:
                break
        self.assertGreater(written, 5)

    def test_revoke(self) -> None:
        """A revocation is in the index or not; if it is, the next list has it, and the list says so until then."""
        def check(directory: Path) -> None:
            authority = CertificateAuthority(directory)
            (entry,) = (each.entry for each in authority.entries())
            current = authority.revocation_list()
            assert current is not None
            if entry.revoked_at is not None:
                self.assertTrue(len(current) == 1 or authority.list_needs_signing())
                self.assertEqual(len(authority.sign_revocation_list()), 1)
            else:
                self.assertEqual(len(current), 0)

        self.assertGreater(self.each_kill(lambda one: one.revoke('first'), check), 3)
