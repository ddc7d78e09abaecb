"""Checks the certificate authority of an environment: its files, its revocation list, and the certificates that it has
issued.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from zatotx.cli.checks.check_definition import BROKEN, ENVIRONMENT, WARNING, Check, CheckContext
from zatotx.cli.checks.files_and_permissions import DAY, SOON, VERY_SOON
from zatotx.cli.environment.atomic_files import is_private
from zatotx.cli.environment.environment_authority import AUTHORITY
from zatotx.cli.environment.environment_layout import Component

if TYPE_CHECKING:
    from zatotx.ca.certificate_authority import CertificateAuthority

LIST_SOON = 7  # days: a list of thirty days is signed again after fifteen


def _open(context: CheckContext, part: Component) -> CertificateAuthority | None:
    """Return the authority in PATH/ca; None if there is none."""
    from zatotx.ca.authority_directory import AuthorityStore
    from zatotx.ca.certificate_authority import CertificateAuthority

    directory = part.path / AUTHORITY
    if not AuthorityStore(directory).is_authority:
        return None
    return CertificateAuthority(directory, now=context.utc_now)


def check_certificate_authority(context: CheckContext, part: Component) -> Iterator[tuple[str, str]]:
    """Check the certificate of the certificate authority, its index of issued certificates, and the newest certificate
    issued for each name."""
    from zatotx.ca.errors import AuthorityError

    authority = _open(context, part)
    if authority is None:
        return
    try:
        own, entries = authority.certificate(), authority.entries()
    except AuthorityError as error:
        yield BROKEN, str(error)
        return
    renew = f'zatotx ca renew {part.path}'
    now = context.now()
    yield from _end_of_validity(authority.store.certificate, own.not_valid_after_utc, now, f"{renew} ca'")
    for each in entries:
        if each.is_current and each.entry.revoked_at is None:
            yield from _end_of_validity(each.path, each.entry.not_after, now, f"{renew} {each.name}'")


def _end_of_validity(path: Path, end: datetime, now: float, renew: str) -> Iterator[tuple[str, str]]:
    days_left = (end.timestamp() - now) / DAY
    if days_left < 0:
        yield BROKEN, f"the certificate {path} expired on {end:%Y-%m-%d}: '{renew}"
    elif days_left < SOON:
        severity = BROKEN if days_left < VERY_SOON else WARNING
        yield severity, f"the certificate {path} expires in {days_left:.0f} days, on {end:%Y-%m-%d}: '{renew}"


def check_revocation_list(context: CheckContext, part: Component) -> Iterator[tuple[str, str]]:
    """Check that the revocation list is valid and contains all revocations."""
    from zatotx.ca.errors import AuthorityError

    authority = _open(context, part)
    if authority is None:
        return
    path, command = authority.store.revocation_list, f"'zatotx ca crl {part.path}'"
    yield from check_crl_validity(path, context.now(), command)
    try:
        missing = authority.unlisted_revocations()
    except AuthorityError:
        return  # check_certificate_authority reports it
    if missing:
        yield BROKEN, f'the revocation list {path} lacks {missing} revoked certificates: {command}'


def check_crl_validity(path: Path, now: float, remedy: str) -> Iterator[tuple[str, str]]:
    """Check that the revocation lists in a file are valid. `remedy` is the instruction for the user if a list is not
    valid."""
    from zatotx.wire.certificates import parse_revocation_lists
    from zatotx.wire.malformed import Malformed

    try:
        lists = parse_revocation_lists(path.read_text('ascii'))
    except (OSError, ValueError, Malformed):
        yield BROKEN, f'the revocation list {path} is missing or damaged, so everybody is refused: {remedy}'
        return
    ends = [each.next_update_utc for each in lists if each.next_update_utc is not None]
    end = min(ends, default=None)
    if end is None:
        return
    days_left = (end.timestamp() - now) / DAY
    if days_left < 0:
        yield BROKEN, f'the revocation list {path} expired on {end:%Y-%m-%d}, so everybody is refused: {remedy}'
    elif days_left < LIST_SOON:
        yield WARNING, (
            f'the revocation list {path} expires in {days_left:.0f} days, on {end:%Y-%m-%d}, and everybody is refused '
            f'then: {remedy}'
        )


def check_authority_permissions(context: CheckContext, part: Component) -> Iterator[tuple[str, str]]:
    """Check that the private keys in PATH/ca are not accessible to others."""
    directory = part.path / AUTHORITY
    for path in (directory, directory / 'ca-material' / 'ca-key.pem', *sorted((directory / 'out-priv').glob('*.pem'))):
        if path.exists() and not path.is_symlink() and not is_private(path):
            mode = '700' if path.is_dir() else '600'
            yield BROKEN, f"{path} contains private keys and is accessible to other users: 'chmod {mode} {path}'"


CHECKS = (
    Check('certificates', 'the certificate authority is damaged, or its own certificate, or the newest one of a name, '
          'expired, or expires within 30 days (warning) or 7 days (broken)', ENVIRONMENT, check_certificate_authority),
    Check('certificates', 'the revocation list of the authority is missing, expired, expires within 7 days (warning), '
          'or lacks revoked certificates', ENVIRONMENT, check_revocation_list),
    Check('permissions', "a private key of the authority is accessible to other users", ENVIRONMENT,
          check_authority_permissions),
)
