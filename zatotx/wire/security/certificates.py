"""Certificates and lists of revoked ones in PEM form, as people give them to a definition."""

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
_MOST = 100  # certificates, or lists, of one definition
_SHA_256 = re.compile('[0-9a-f]{64}')


def read_certificates(text: str) -> list[Certificate]:
    """All certificates of a text, at least one. Raises Malformed, which shows nothing of it."""
    if 'PRIVATE KEY-----' in text:
        raise Malformed('has a private key in it: give the certificates alone')
    try:
        found = load_pem_x509_certificates(text.encode('utf-8'))
        for each in found:
            each.public_key()  # what cannot be read of it must be known now, not when somebody calls
    except Exception:  # whatever the parser comes up with
        raise Malformed('holds no certificate in PEM form, or one that cannot be read') from None
    if len(found) > _MOST:
        raise Malformed(f'holds more than {_MOST} certificates')
    return found


def read_revocation_lists(text: str) -> list[CertificateRevocationList]:
    """All CRLs of a text, at least one. Raises Malformed."""
    try:
        found = [load_pem_x509_crl(each.encode('utf-8')) for each in _CRL.findall(text)]
    except Exception:  # as above
        found = []
    if not 0 < len(found) <= _MOST:
        raise Malformed('holds no certificate revocation list in PEM form, or one that cannot be read')
    return found


def read_fingerprint(text: str) -> bytes:
    """A SHA-256 fingerprint in hexadecimal, with colons or without. Raises Malformed."""
    digits = text.replace(':', '').strip().lower()
    if not _SHA_256.fullmatch(digits):
        raise Malformed(f'{text!r} is no SHA-256 fingerprint: 64 hexadecimal digits, with colons or without')
    return bytes.fromhex(digits)
