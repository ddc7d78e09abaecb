"""Parses certificates and certificate revocation lists in PEM form."""

from __future__ import annotations

import re

from cryptography.x509 import (
    Certificate,
    CertificateRevocationList,
    load_pem_x509_certificates,
    load_pem_x509_crl,
)

from zatotx.wire.malformed import Malformed

_CRL = re.compile(r'-----BEGIN X509 CRL-----.*?-----END X509 CRL-----', re.DOTALL)
_MAX_COUNT = 100  # maximum number of certificates, or CRLs, of one definition
_SHA_256 = re.compile('[0-9a-f]{64}')


def parse_certificates(text: str) -> list[Certificate]:
    """Returns all certificates of a text, at least one. Raises Malformed, without the input in its message."""
    if 'PRIVATE KEY-----' in text:
        raise Malformed('has a private key in it: give the certificates alone')
    try:
        certificates = load_pem_x509_certificates(text.encode('utf-8'))
        for certificate in certificates:
            certificate.public_key()  # parses the key now, so that errors are found before the first request
    except Exception:  # the parser may raise anything
        raise Malformed('holds no certificate in PEM form, or one that cannot be read') from None
    if len(certificates) > _MAX_COUNT:
        raise Malformed(f'holds more than {_MAX_COUNT} certificates')
    return certificates


def parse_revocation_lists(text: str) -> list[CertificateRevocationList]:
    """Returns all certificate revocation lists of a text, at least one. Raises Malformed."""
    try:
        lists = [load_pem_x509_crl(pem.encode('utf-8')) for pem in _CRL.findall(text)]
    except Exception:  # the parser may raise anything
        lists = []
    if not 0 < len(lists) <= _MAX_COUNT:
        raise Malformed('holds no certificate revocation list in PEM form, or one that cannot be read')
    return lists


def parse_fingerprint(text: str) -> bytes:
    """Parses a SHA-256 fingerprint in hexadecimal, with or without colons. Raises Malformed."""
    digits = text.replace(':', '').strip().lower()
    if not _SHA_256.fullmatch(digits):
        raise Malformed(f'{text!r} is no SHA-256 fingerprint: 64 hexadecimal digits, with colons or without')
    return bytes.fromhex(digits)
