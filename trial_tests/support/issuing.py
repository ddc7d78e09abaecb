"""Certificates of every kind for tests: of clients, of authorities below each other, and lists of revoked ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from attrs import frozen
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

CLIENT, SERVER, ANY = (
    ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,
)  # fmt: skip
HOUR = 3600.0
_MADE = datetime.now(UTC).replace(microsecond=0)
NOW = _MADE.timestamp()  # what times are relative to: when this was imported


@frozen
class Issued:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: Any

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(Encoding.PEM).decode('ascii')

    @property
    def fingerprint(self) -> str:
        """SHA-256, in hexadecimal."""
        return self.certificate.fingerprint(SHA256()).hex()

    def write(self, path: Path, *above: Issued) -> Path:
        """One PEM file with the key, the certificate and those above it."""
        path.touch(mode=0o600)
        private = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode('ascii')
        path.write_text(private + self.pem + ''.join(each.pem for each in above))
        return path


class Issuer:
    """An authority. Without `above` it signs itself."""

    def __init__(self, name: str = 'CA', *, above: Issuer | None = None, uses: Sequence[Any] = (),
                 length: int | None = None) -> None:  # fmt: skip
        self._key: Any = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name.from_rfc4514_string(f'CN={name}')
        constraints = [(x509.BasicConstraints(True, length), True)]
        signer = above or self
        self.own = signer.issue(f'CN={name}', key=self._key, uses=uses, more=constraints, ends=10 * 24 * HOUR)

    @property
    def pem(self) -> str:
        return self.own.pem

    def renewed(self, **more: Any) -> str:
        """Another certificate of ours, with the same name and key, in PEM form."""
        constraints = [(x509.BasicConstraints(True, None), True)]
        return self.issue(self._name.rfc4514_string(), key=self._key, uses=(), more=constraints, **more).pem

    def issue(
        self, subject: str = 'CN=partner,O=Bank', *, names: Sequence[str] = (), uses: Sequence[Any] = (CLIENT,),
        begins: float = -HOUR, ends: float = HOUR, key: Any = None, more: Sequence[tuple[Any, bool]] = (),
        hashed: Any = None,
    ) -> Issued:  # fmt: skip
        """A certificate. `names`: alternative ones, as x509 objects or as hosts; `begins`, `ends`: seconds from NOW."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        builder = x509.CertificateBuilder(
            self._name, x509.Name.from_rfc4514_string(subject), key.public_key(), x509.random_serial_number()
        ).not_valid_before(_at(begins)).not_valid_after(_at(ends))
        extensions = [*more]
        if uses:
            extensions.append((x509.ExtendedKeyUsage(uses), False))
        if names:
            extensions.append((x509.SubjectAlternativeName([_alternative(name) for name in names]), False))
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return Issued(builder.sign(self._key, hashed or SHA256()), key)

    def revoked(self, *gone: Issued, begins: float = -HOUR, ends: float = HOUR, by: Issuer | None = None) -> str:
        """A list of revoked certificates in PEM form; `by`: who signs it in our name."""
        builder = x509.CertificateRevocationListBuilder(self._name, _at(begins), _at(ends))
        for each in gone:
            one = x509.RevokedCertificateBuilder(each.certificate.serial_number, _at(begins)).build()
            builder = builder.add_revoked_certificate(one)
        signed = builder.sign((by or self)._key, SHA256())
        return signed.public_bytes(Encoding.PEM).decode('ascii')


def self_signed(subject: str = 'CN=partner,O=Bank', **more: Any) -> Issued:
    """A certificate that nobody else has signed."""
    maker = Issuer()
    maker._name = x509.Name.from_rfc4514_string(subject)
    return maker.issue(subject, key=maker._key, **more)


def _at(seconds: float) -> datetime:
    return _MADE + timedelta(seconds=seconds)


def _alternative(name: str) -> x509.GeneralName:
    kind, _, value = name.partition(':')
    if kind == 'IP':
        return x509.IPAddress(ip_address(value))
    kinds: Mapping[str, Any] = {'DNS': x509.DNSName, 'URI': x509.UniformResourceIdentifier, 'email': x509.RFC822Name}
    named: x509.GeneralName = kinds[kind](value)
    return named
