"""The TLS certificates and keys of a connection, which are configured as PEM text."""

from __future__ import annotations

from attrs import field, frozen
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import Certificate, InvalidVersion, load_pem_x509_certificates

# Mozilla's "intermediate" list for TLS 1.2: forward secrecy and authenticated encryption. It leaves out the DHE suites,
# with which a client makes a server compute much more than the client itself.
INTERMEDIATE_CIPHERS = (
    'ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:'
    'ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305'
)
Key = RSAPrivateKey | EllipticCurvePrivateKey | Ed25519PrivateKey | Ed448PrivateKey


class InvalidTlsSettings(ValueError):  # noqa: N818 - what it is
    """Raised for certificates or keys that cannot be used. `problems` contains one sentence for each of them. A
    sentence begins with the name of the setting, and never contains its value."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__('; '.join(problems))
        self.problems = problems


@frozen(kw_only=True)
class TlsSettings:
    """The TLS settings of a connection: trusted authorities and the client certificate."""

    ca: str = field(default='', repr=False)  # trusted instead of the system's authorities
    certificate: str = field(default='', repr=False)  # client certificate, followed by its intermediate certificates
    key: str = field(default='', repr=False)  # the private key; may be in `certificate` too
    verify: bool = True  # False = accept any certificate: for tests of systems without valid ones


@frozen
class TlsCredentials:
    """The parsed TLS settings."""

    authorities: tuple[Certificate, ...]
    chain: tuple[Certificate, ...]  # the client certificate first
    key: Key | None = field(repr=False)  # None = no client certificate


def parse_tls_settings(settings: TlsSettings) -> TlsCredentials:
    """Parse TLS settings. Raises InvalidTlsSettings, which lists all problems."""
    problems: list[str] = []
    authorities = _certificates('tls_ca', settings.ca, problems)
    chain = _certificates('tls_cert', settings.certificate, problems)
    key = _key(settings, problems) if settings.certificate else None
    if settings.key and not settings.certificate:
        problems.append('tls_cert: is missing beside tls_key')
    if chain and key is not None and key.public_key() != chain[0].public_key():
        problems.append('tls_key: is not the key of the first certificate in tls_cert')
    if problems:
        raise InvalidTlsSettings(problems)
    return TlsCredentials(authorities, chain, key)


def load_certificates(text: bytes) -> tuple[Certificate, ...]:
    """Parse certificates in PEM form. Raises ValueError if there are none."""
    try:
        return tuple(load_pem_x509_certificates(text))
    except (ValueError, InvalidVersion):
        raise ValueError('it holds no certificate in PEM form') from None


def _certificates(name: str, text: str, problems: list[str]) -> tuple[Certificate, ...]:
    if not text:
        return ()
    try:
        return load_certificates(text.encode())
    except ValueError:
        problems.append(f'{name}: holds no certificate in PEM form')
        return ()


def _key(settings: TlsSettings, problems: list[str]) -> Key | None:
    try:
        key = load_pem_private_key((settings.key or settings.certificate).encode(), None)
        if isinstance(key, Key):
            return key
        problems.append('tls_key: is of a kind that certificates for TLS do not have')
    except TypeError:  # raised by cryptography if a password is missing
        problems.append('tls_key: is encrypted with a password; give it without one, it is kept encrypted here')
    except (ValueError, UnsupportedAlgorithm):
        problems.append('tls_key: holds no private key in PEM form')
    return None
