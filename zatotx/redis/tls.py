"""TLS to Redis: who is trusted, and who we are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from zatotx.redis.errors import UnfitError
from zatotx.redis.url import TlsOptions


def client_options(host: str, tls: TlsOptions) -> Any:
    """Twisted's options for a connection to `host`: TLS 1.2 or newer, chain and name verified. The files are read anew,
    so that renewed ones are used from the next connection on. Raises UnfitError for files that will not do."""
    from twisted.internet.ssl import TLSVersion, optionsForClientTLS, platformTrust, trustRootFromCertificates

    trust = trustRootFromCertificates(_certificates(tls.ca)) if tls.ca else platformTrust()
    extra: dict[str, Any] = {'raiseMinimumTo': TLSVersion.TLSv1_2}
    own = None
    if tls.cert:
        own, chain = _own(tls)
        if chain:
            extra['extraCertChain'] = chain
    return optionsForClientTLS(host, trustRoot=trust, clientCertificate=own, extraCertificateOptions=extra)


def _own(tls: TlsOptions) -> tuple[Any, list[Any]]:
    """Our certificate with its key, and what of its chain comes along."""
    from twisted.internet.ssl import KeyPair, PrivateCertificate

    first, *rest = _certificates(tls.cert)
    path = tls.key or tls.cert
    try:
        key = KeyPair.load(_read(path), 1)  # PEM
    except UnfitError:
        raise
    except Exception:  # OpenSSL's own kinds; their words could quote the file
        raise UnfitError(f'{path} holds no private key in PEM form that can be read without a passphrase') from None
    return PrivateCertificate.fromCertificateAndKeyPair(first, key), [one.original for one in rest]


def _certificates(path: str) -> list[Any]:
    from cryptography.x509 import load_pem_x509_certificates
    from OpenSSL.crypto import X509
    from twisted.internet.ssl import Certificate

    try:
        found = load_pem_x509_certificates(_read(path))
    except ValueError:
        raise UnfitError(f'{path} holds no certificate in PEM form') from None
    return [Certificate(X509.from_cryptography(one)) for one in found]


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UnfitError(f'{path} cannot be read: {error.strerror}') from None
