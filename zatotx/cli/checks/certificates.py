"""Checks of TLS certificates: present, valid, and matching their keys."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zatotx.cli.checks.finding import BROKEN, WARNING, Check, CheckContext
from zatotx.cli.environment.layout import SERVER, Component, get_setting, read_settings
from zatotx.cli.environment.listen_addresses import listen_descriptions, split_description

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

SOON, VERY_SOON = 30, 7  # days
DAY = 86400


def check_endpoint_certificates(scene: CheckContext, part: Component) -> Iterator[tuple[str, str]]:
    """Check the certificate of each `ssl:` endpoint of a server."""
    for description in listen_descriptions(part):
        kind, *fields = split_description(description.removeprefix('haproxy:'))
        named = dict(field.split('=', 1) for field in fields if '=' in field)
        if kind == 'ssl':
            key = named.get('privateKey', 'server.pem')
            yield from check_certificate(part.path / named.get('certKey', key), part.path / key, scene.now())


def check_redis_certificates(scene: CheckContext, part: Component) -> Iterator[tuple[str, str]]:
    """Check the client certificate and the CA file in [kvdb]."""
    loaded = read_settings(part)
    files = {name: get_setting(loaded, 'kvdb', name, '') for name in ('ca', 'cert', 'key')}
    if files['ca']:
        yield from check_validity(part.path / files['ca'], scene.now())
    if files['cert']:
        yield from check_certificate(
            part.path / files['cert'], part.path / (files['key'] or files['cert']), scene.now()
        )


def check_certificate(certificate: Path, key: Path, now: float) -> Iterator[tuple[str, str]]:
    """Check a certificate and its key. `now`: Unix time."""
    yield from check_validity(certificate, now)
    first = next(iter(_certificates(certificate)), None)
    if first is None:
        return
    private = _private_key(key)
    if private is None:
        yield BROKEN, f'{key} contains no readable private key: store the key of {certificate} there, in PEM format'
    elif private.public_key() != first.public_key():
        yield BROKEN, f'{key} is not the key of {certificate}: install a matching pair'


def check_validity(path: Path, now: float) -> Iterator[tuple[str, str]]:
    """Check that the first certificate of a file is readable and within its validity period."""
    certificate = next(iter(_certificates(path)), None)
    if certificate is None:
        yield BROKEN, f'{path} contains no readable certificate: store one there, in PEM format'
        return
    days_left = (certificate.not_valid_after_utc.timestamp() - now) / DAY
    day = certificate.not_valid_after_utc.strftime('%Y-%m-%d')
    if certificate.not_valid_before_utc > datetime.fromtimestamp(now, UTC):
        start = certificate.not_valid_before_utc.strftime('%Y-%m-%d')
        yield BROKEN, f'the certificate {path} is not valid before {start}: check the clock'
    elif days_left < 0:
        yield BROKEN, f'the certificate {path} expired on {day}: replace it'
    elif days_left < SOON:
        severity = BROKEN if days_left < VERY_SOON else WARNING
        yield severity, f'the certificate {path} expires in {days_left:.0f} days, on {day}: replace it'


def _certificates(path: Path) -> list[Certificate]:
    from cryptography.x509 import load_pem_x509_certificates

    try:
        return load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError):
        return []


def _private_key(path: Path) -> Any:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        return load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm):
        return None


CHECKS = (
    Check('certificates', 'a certificate of an `ssl:` endpoint is missing, corrupt, expired, expires within 30 days '
          '(warning) or 7 days (broken), or does not match its key', SERVER, check_endpoint_certificates),
    Check('certificates', 'the same problems with the files in [kvdb]', SERVER, check_redis_certificates),
)  # fmt: skip
