"""Signs the revocation list of a certificate authority again before it expires, because peers reject all certificates
after the list has expired.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from zatotx.ca.authority_directory import MATERIAL, AuthorityStore
from zatotx.ca.certificate_authority import CertificateAuthority
from zatotx.ca.errors import AuthorityError

INTERVAL = 600.0  # seconds between checks


def find_authority(revocation_list: Path) -> Path | None:
    """Return the directory of the authority to which a revocation list file belongs, directly or through a link.
    Returns None if the authority's key is not in this directory. Blocking."""
    try:
        path = revocation_list.resolve(strict=True)
    except OSError:
        return None
    store = AuthorityStore(path.parent.parent)
    if path.parent.name == MATERIAL and store.is_authority and path == store.revocation_list and store.key.is_file():
        return store.directory
    return None


class RevocationListRenewal(Service):
    """Checks the revocation list of the authority in `directory` at start and every INTERVAL seconds, in a thread. The
    list is signed again when half of its validity period is over, or when it lacks revocations."""

    _log = Logger()

    def __init__(
        self, directory: Path, clock: IReactorTime, run_in_thread: Callable[..., Deferred[Any]],
        open_authority: Callable[[Path], CertificateAuthority] = CertificateAuthority,
    ) -> None:  # fmt: skip
        self._directory = directory
        self._run_in_thread = run_in_thread
        self._open = open_authority
        self._check: Deferred[Any] | None = None
        self._error = ''  # the last one in the log
        self._loop = LoopingCall(self._start_check)
        self._loop.clock = clock

    def startService(self) -> None:
        super().startService()  # type: ignore[no-untyped-call]
        self._loop.start(INTERVAL)

    def stopService(self) -> Deferred[Any] | None:
        """Stop checking; fires when a check that runs has finished."""
        super().stopService()  # type: ignore[no-untyped-call]
        if self._loop.running:
            self._loop.stop()
        return self._check

    def _start_check(self) -> Deferred[Any]:
        self._check = self._run_in_thread(self._renew).addCallbacks(self._report, self._report_failure)
        return self._check

    def _renew(self) -> str:
        """Sign the list if necessary; returns a sentence about it. Runs in a thread."""
        authority = self._open(self._directory)
        if not authority.list_needs_signing():
            return ''
        signed = authority.sign_revocation_list()
        return f'valid until {signed.next_update_utc:%Y-%m-%d}'

    def _report(self, outcome: str) -> None:
        self._error = ''
        if outcome:
            self._log.info('The revocation list of {directory} was signed again, {outcome}',
                           directory=str(self._directory), outcome=outcome)

    def _report_failure(self, failure: Any) -> None:
        error = str(failure.value)
        if error == self._error:
            return
        self._error = error
        if failure.check(AuthorityError, OSError):
            self._log.error('The revocation list of {directory} cannot be signed again: {error}',
                            directory=str(self._directory), error=error)
        else:
            self._log.failure('The revocation list of {directory} cannot be signed again',
                              failure=failure, directory=str(self._directory))
