"""Describes certificates in the output of commands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509 import (
    BasicConstraints,
    Certificate,
    ExtendedKeyUsage,
    ExtensionNotFound,
    SubjectAlternativeName,
    load_pem_x509_certificate,
)

from zatotx.ca.certificate_index import format_serial, format_subject
from zatotx.cli.errors import CommandError

_USAGES = {'serverAuth': 'server', 'clientAuth': 'client'}


def describe_certificate(path: Path, status: str) -> dict[str, Any]:
    """Return the properties of a certificate as a dict. Raises CommandError if the certificate cannot be read."""
    try:
        certificate = load_pem_x509_certificate(path.read_bytes())
    except FileNotFoundError:
        raise CommandError(f'{path} is missing: it was moved, or deleted.') from None
    except ValueError:
        raise CommandError(f'{path} is not a certificate in PEM format: restore it from a backup.') from None
    return {
        'serial': format_serial(certificate.serial_number),
        'status': status,
        'subject': format_subject(certificate.subject),
        'issuer': format_subject(certificate.issuer),
        'not_before': certificate.not_valid_before_utc.isoformat(),
        'not_after': certificate.not_valid_after_utc.isoformat(),
        'usages': _usages(certificate),
        'alternative_names': _alternative_names(certificate),
        'fingerprint_sha256': certificate.fingerprint(SHA256()).hex(':').upper(),
        'path': str(path),
    }


def _usages(certificate: Certificate) -> list[str]:
    extensions = certificate.extensions
    if extensions.get_extension_for_class(BasicConstraints).value.ca:
        return ['authority']
    names = [oid._name for oid in extensions.get_extension_for_class(ExtendedKeyUsage).value]
    return [_USAGES.get(name, name) for name in names]


def _alternative_names(certificate: Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(SubjectAlternativeName).value
    except ExtensionNotFound:
        return []
    return [str(name.value) for name in names]
