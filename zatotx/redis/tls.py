"""TLS options for connections to Redis: trusted CAs and the client certificate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from zatotx.redis.errors import UnusableServerError
from zatotx.redis.url import TlsOptions


def tls_client_options(host: str, tls: TlsOptions) -> Any:
    """Return Twisted's options for a connection to `host`: TLS 1.2 or newer, with verification of chain and name. The
    files are read for each connection, so that renewed ones are used. Raises UnusableServerError for unusable files."""
    from twisted.internet.ssl import TLSVersion, optionsForClientTLS, platformTrust, trustRootFromCertificates

    trust = trustRootFromCertificates(_certificates(tls.ca)) if tls.ca else platformTrust()
    extra: dict[str, Any] = {'raiseMinimumTo': TLSVersion.TLSv1_2}
    client_certificate = None
    if tls.cert:
        client_certificate, chain = _load_client_certificate(tls)
        if chain:
            extra['extraCertChain'] = chain
    return optionsForClientTLS(
        host, trustRoot=trust, clientCertificate=client_certificate, extraCertificateOptions=extra
    )


def _load_client_certificate(tls: TlsOptions) -> tuple[Any, list[Any]]:
    """Load the client certificate with its key and the rest of its chain."""
    from twisted.internet.ssl import KeyPair, PrivateCertificate

    leaf, *intermediates = _certificates(tls.cert)
    path = tls.key or tls.cert
    try:
        key = KeyPair.load(_read_file(path), 1)  # PEM
    except UnusableServerError:
        raise
    except Exception:  # OpenSSL's own exception types, whose messages could quote the file
        raise UnusableServerError(
            f'{path} holds no private key in PEM form that can be read without a passphrase'
        ) from None
    return PrivateCertificate.fromCertificateAndKeyPair(leaf, key), [
        certificate.original for certificate in intermediates
    ]


def _certificates(path: str) -> list[Any]:
    from cryptography.x509 import load_pem_x509_certificates
    from OpenSSL.crypto import X509
    from twisted.internet.ssl import Certificate

    try:
        certificates = load_pem_x509_certificates(_read_file(path))
    except ValueError:
        raise UnusableServerError(f'{path} holds no certificate in PEM form') from None
    return [Certificate(X509.from_cryptography(certificate)) for certificate in certificates]


def _read_file(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UnusableServerError(f'{path} cannot be read: {error.strerror}') from None
