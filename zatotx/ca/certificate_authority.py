"""A certificate authority: issues, renews and revokes certificates, and signs its revocation list."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509 import (
    Certificate,
    CertificateRevocationList,
    ExtensionNotFound,
    load_pem_x509_certificate,
    load_pem_x509_crl,
)

from zatotx.ca.authority_directory import AuthorityStore, parse_issued_file
from zatotx.ca.certificate_builder import (
    CertificateIssuer,
    CertificateProfile,
    CertificateTemplate,
    RevokedCertificate,
    build_authority,
    build_certificate,
    build_request,
    build_revocation_list,
    make_key,
    make_validity_period,
    template_of,
)
from zatotx.ca.certificate_index import REASONS, VALID, IndexEntry, format_serial, format_subject
from zatotx.ca.certificate_names import (
    CertificateSubject,
    check_file_name,
    make_alternative_names,
    make_distinguished_name,
)
from zatotx.ca.errors import AuthorityError

AUTHORITY_DAYS = 3650  # default validity of an authority, as Zato's
CERTIFICATE_DAYS = 365  # default validity of other certificates
LIST_DAYS = 30  # default validity of a revocation list

AUTHORITY_NAME = 'ca'  # by which the authority's own certificate is renewed


def _utc_now() -> datetime:
    return datetime.now(UTC)


class IssuedCertificate(NamedTuple):
    """A certificate that has just been issued, and the paths of its files."""

    name: str
    serial: str  # hexadecimal
    subject: str
    not_after: datetime
    key: Path
    certificate: Path


class ListedCertificate(NamedTuple):
    """A certificate in the index, with its status."""

    name: str
    entry: IndexEntry
    path: Path
    status: str  # VALID, REVOKED, EXPIRED
    is_current: bool  # the newest of its name


class CertificateAuthority:
    """A certificate authority whose keys and certificates are stored in a directory. `passphrase` decrypts the key of
    the authority. Methods that need the key raise AuthorityError if the passphrase is wrong or missing. `now` returns
    the current time in UTC."""

    def __init__(self, directory: Path, passphrase: str = '', now: Callable[[], datetime] = _utc_now) -> None:
        """Raises AuthorityError if the directory is not an authority."""
        self.store = AuthorityStore(directory)
        if not self.store.is_authority:
            raise AuthorityError(
                f"{directory} is not a certificate authority: create one with 'zatotx ca create ca {directory}'"
            )
        self._passphrase = passphrase
        self._now = now

    @classmethod
    def create(
        cls, directory: Path, subject: CertificateSubject, *, days: int = AUTHORITY_DAYS, passphrase: str = '',
        now: Callable[[], datetime] = _utc_now,
    ) -> CertificateAuthority:  # fmt: skip
        """Create an authority in a directory that is absent or empty, with an empty revocation list. `passphrase`
        encrypts the key; '' = the key is not encrypted. Raises AuthorityError for bad names."""
        name, key = make_distinguished_name(subject), make_key()
        store = AuthorityStore.create(directory)
        store.write_key(_private_pem(key, passphrase))
        with store.lock():
            certificate = build_authority(name, key, store.reserve_serial(), make_validity_period(now(), days))
            store.write_certificate(certificate.public_bytes(Encoding.PEM))
        store.finish()
        authority = cls(directory, passphrase, now)
        authority.sign_revocation_list()
        return authority

    def issue(
        self, profile: CertificateProfile, name: str, subject: CertificateSubject, *, hosts: Sequence[str] = (),
        days: int = CERTIFICATE_DAYS,
    ) -> IssuedCertificate:  # fmt: skip
        """Issue a certificate with a new key. `name`: what its files are named after; `hosts`: its alternative names,
        by default those of the profile. Raises AuthorityError for bad names, or if there is a valid certificate of that
        name."""
        if check_file_name(name) == AUTHORITY_NAME:
            raise AuthorityError(f'The name {name} is that of the authority itself: choose another')
        template = CertificateTemplate(
            make_distinguished_name(subject), profile.usages, make_alternative_names(hosts or profile.hosts)
        )
        with self.store.lock():
            existing = self._valid(self.store.read_index(), name)
            if existing:
                newest = existing[-1]
                raise AuthorityError(
                    f"There is a valid certificate {name} already (serial {format_serial(newest.serial)}, until "
                    f"{newest.not_after:%Y-%m-%d}): renew it with 'zatotx ca renew', or revoke it first"
                )
            return self._issue(template, name, days)

    def renew(self, name: str, *, days: int = CERTIFICATE_DAYS) -> IssuedCertificate:
        """Issue the certificate of that name again, with a new key and the same content. The old one stays valid. `ca`
        is the authority's own certificate, which keeps its key."""
        with self.store.lock():
            if name == AUTHORITY_NAME:
                return self._renew_authority(days)
            entries = [entry for entry in self.store.read_index() if _name(entry) == name and not entry.revoked_at]
            if not entries:
                raise AuthorityError(self._unknown(name, f'{self.store.directory} has issued no certificate {name}'))
            path = self.store.path(entries[-1].file)
            try:
                template = template_of(load_pem_x509_certificate(path.read_bytes()))
            except FileNotFoundError:
                raise AuthorityError(
                    f'{path} is missing, from which the names are taken: put it back, or revoke the certificate '
                    f'{name} and create another'
                ) from None
            except (ValueError, ExtensionNotFound):
                raise AuthorityError(f'{path} is not a certificate of this authority: restore it') from None
            return self._issue(template, name, days)

    def revoke(self, name_or_serial: str, reason: str = 'unspecified') -> list[IndexEntry]:
        """Revoke all valid certificates of a name, or the one with a serial number; returns their entries. Signs the
        revocation list. `reason`: of REASONS."""
        issuer = self._issuer()  # raises before anything has changed
        with self.store.lock():
            entries = self.store.read_index()
            selected = [entry for entry in entries if matches_name_or_serial(entry, name_or_serial)]
            affected = [entry for entry in selected if entry.status(self._now()) == VALID]
            if not selected:
                raise AuthorityError(
                    self._unknown(name_or_serial, f'{self.store.directory} has issued no certificate {name_or_serial}')
                )
            if not affected:
                state = 'revoked' if selected[-1].revoked_at else 'expired'
                raise AuthorityError(f'The certificate {name_or_serial} is {state} already: nothing is to be done')
            revoked = [self._revoked(entry, reason) for entry in affected]
            by_serial = {entry.serial: entry for entry in revoked}
            self.store.write_index([by_serial.get(entry.serial, entry) for entry in entries])
            self._sign_revocation_list(issuer, LIST_DAYS)
        return revoked

    def _revoked(self, entry: IndexEntry, reason: str) -> IndexEntry:
        return entry._replace(
            revoked_at=self._now().replace(microsecond=0), reason='' if reason == 'unspecified' else reason
        )

    def sign_revocation_list(self, days: int = LIST_DAYS) -> CertificateRevocationList:
        """Sign a new revocation list with all revoked certificates that have not expired."""
        issuer = self._issuer()
        with self.store.lock():
            return self._sign_revocation_list(issuer, days)

    def entries(self) -> list[ListedCertificate]:
        """Return what was issued, oldest first."""
        entries, now = self.store.read_index(), self._now()
        newest = {_name(entry): entry.serial for entry in entries}
        return [
            ListedCertificate(
                _name(entry), entry, self.store.path(entry.file), entry.status(now),
                newest[_name(entry)] == entry.serial,
            )
            for entry in entries
        ]  # fmt: skip

    def certificate(self) -> Certificate:
        """Return the authority's own certificate."""
        path = self.store.certificate
        try:
            return load_pem_x509_certificate(path.read_bytes())
        except FileNotFoundError:
            raise AuthorityError(f'{path} is missing: restore it from a backup') from None
        except ValueError:
            raise AuthorityError(f'{path} is damaged: restore it from a backup') from None

    def revocation_list(self) -> CertificateRevocationList | None:
        """Return the current revocation list; None if it is missing or damaged."""
        try:
            return load_pem_x509_crl(self.store.revocation_list.read_bytes())
        except (FileNotFoundError, ValueError):
            return None

    def list_needs_signing(self) -> bool:
        """Whether the revocation list must be signed again: it is missing, half of its validity is over, or the index
        has revocations that are not on it, after an interrupted command."""
        current, now = self.revocation_list(), self._now()
        if current is None or current.next_update_utc is None:
            return True
        middle = current.last_update_utc + (current.next_update_utc - current.last_update_utc) / 2
        return now >= middle or self.unlisted_revocations() > 0

    def unlisted_revocations(self) -> int:
        """Return how many revoked certificates are not on the revocation list. Raises AuthorityError if the index is
        damaged."""
        listed = {each.serial_number for each in self.revocation_list() or ()}
        return sum(each.serial not in listed for each in self._revocations(self._now()))

    # Internals; the caller holds the lock

    def _issue(self, template: CertificateTemplate, name: str, days: int) -> IssuedCertificate:
        issuer, now = self._issuer(), self._now()
        self._check_validity(issuer.certificate, now)
        key = make_key()
        validity = make_validity_period(now, days, issuer.certificate.not_valid_after_utc)
        serial = self.store.reserve_serial()
        certificate = build_certificate(template, key, serial, validity, issuer)
        files = self.store.new_files(name, now)
        entry = IndexEntry(serial, validity.end, files.file('cert'), format_subject(template.subject))
        self.store.add(entry, files, {
            'priv': _private_pem(key, ''),
            'pub': key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
            'cert': certificate.public_bytes(Encoding.PEM),
            'csr': build_request(template, key).public_bytes(Encoding.PEM),
        })  # fmt: skip
        return _issued(name, certificate, self.store.path(entry.file, 'priv'), self.store.path(entry.file))

    def _renew_authority(self, days: int) -> IssuedCertificate:
        issuer, now = self._issuer(), self._now()
        validity = make_validity_period(now, days)
        serial = self.store.reserve_serial()
        certificate = build_authority(issuer.certificate.subject, issuer.key, serial, validity)
        self.store.write_certificate(certificate.public_bytes(Encoding.PEM))
        return _issued(AUTHORITY_NAME, certificate, self.store.key, self.store.certificate)

    def _sign_revocation_list(self, issuer: CertificateIssuer, days: int) -> CertificateRevocationList:
        now = self._now()
        number = self.store.reserve_list_number()
        signed = build_revocation_list(self._revocations(now), number, make_validity_period(now, days), issuer)
        self.store.write_revocation_list(signed.public_bytes(Encoding.PEM))
        return signed

    def _revocations(self, now: datetime) -> list[RevokedCertificate]:
        """Return what belongs on the revocation list: an expired certificate stays on it for another day, so that it
        is on at least one list that was signed after its end (RFC 5280 §3.3)."""
        return [
            RevokedCertificate(entry.serial, entry.revoked_at, REASONS[entry.reason or 'unspecified'])
            for entry in self.store.read_index()
            if entry.revoked_at is not None and now < entry.not_after + timedelta(days=1)
        ]

    def _valid(self, entries: Sequence[IndexEntry], name: str) -> list[IndexEntry]:
        return [entry for entry in entries if _name(entry) == name and entry.status(self._now()) == VALID]

    def _issuer(self) -> CertificateIssuer:
        return CertificateIssuer(self.certificate(), self._load_key())

    def _load_key(self) -> CertificateIssuerPrivateKeyTypes:
        path, content = self.store.key, self._read_key()
        is_encrypted = b'ENCRYPTED' in content
        if is_encrypted and not self._passphrase:
            raise AuthorityError(f'{path} is encrypted: give the pass phrase')
        try:
            key = load_pem_private_key(content, self._passphrase.encode('utf-8') if is_encrypted else None)
        except ValueError:
            reason = 'cannot be decrypted with this pass phrase' if is_encrypted else 'is damaged'
            raise AuthorityError(f'{path} {reason}') from None
        if key.public_key() != self.certificate().public_key():
            raise AuthorityError(f'{path} is not the key of {self.store.certificate}: restore both from a backup')
        return key  # type: ignore[return-value]  # a key that has signed a certificate can do so

    def _read_key(self) -> bytes:
        try:
            return self.store.key.read_bytes()
        except FileNotFoundError:
            raise AuthorityError(f'{self.store.key} is missing: only where it is can certificates be issued') from None

    def _check_validity(self, certificate: Certificate, now: datetime) -> None:
        if now >= certificate.not_valid_after_utc:
            raise AuthorityError(
                f"The authority {self.store.directory} expired on {certificate.not_valid_after_utc:%Y-%m-%d}: renew "
                "it with 'zatotx ca renew PATH ca'"
            )

    def _unknown(self, name: str, sentence: str) -> str:
        names = sorted({_name(entry) for entry in self.store.read_index()})
        return f'{sentence} (known: {", ".join(names)})' if names else sentence


def _issued(name: str, certificate: Certificate, key: Path, path: Path) -> IssuedCertificate:
    return IssuedCertificate(
        name, format_serial(certificate.serial_number), format_subject(certificate.subject),
        certificate.not_valid_after_utc, key, path,
    )  # fmt: skip


def _name(entry: IndexEntry) -> str:
    files = parse_issued_file(entry.file)
    return files.name if files else entry.file


def matches_name_or_serial(entry: IndexEntry, name_or_serial: str) -> bool:
    """Return whether a certificate has the given name or serial number. Serial numbers are hexadecimal."""
    return name_or_serial == _name(entry) or name_or_serial.upper().lstrip('0') == f'{entry.serial:X}'


def _private_pem(key: CertificateIssuerPrivateKeyTypes, passphrase: str) -> bytes:
    encryption: KeySerializationEncryption = (
        BestAvailableEncryption(passphrase.encode('utf-8')) if passphrase else NoEncryption()
    )
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
