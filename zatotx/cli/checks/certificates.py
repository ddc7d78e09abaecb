"""Certificates of TLS endpoints: there, in time, and of their keys."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zatotx.cli.checks.finding import BROKEN, WARNING, Check, CheckContext
from zatotx.cli.environment.layout import SERVER, Component, setting, settings
from zatotx.cli.environment.listen_addresses import fields_of, listen_descriptions

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

SOON, VERY_SOON = 30, 7  # days
DAY = 86400


def endpoints(scene: CheckContext, part: Component) -> Iterator[tuple[str, str]]:
    """Each `ssl:` endpoint of a server."""
    for description in listen_descriptions(part):
        kind, *fields = fields_of(description.removeprefix('haproxy:'))
        named = dict(field.split('=', 1) for field in fields if '=' in field)
        if kind == 'ssl':
            key = named.get('privateKey', 'server.pem')
            yield from check_certificate(part.path / named.get('certKey', key), part.path / key, scene.now())


def redis_endpoints(scene: CheckContext, part: Component) -> Iterator[tuple[str, str]]:
    """The client certificate and the authorities that [kvdb] names."""
    said = settings(part)
    named = {name: setting(said, 'kvdb', name, '') for name in ('ca', 'cert', 'key')}
    if named['ca']:
        yield from check_validity(part.path / named['ca'], scene.now())
    if named['cert']:
        yield from check_certificate(
            part.path / named['cert'], part.path / (named['key'] or named['cert']), scene.now()
        )


def check_certificate(certificate: Path, key: Path, now: float) -> Iterator[tuple[str, str]]:
    """A certificate and its key. `now`: Unix time."""
    yield from check_validity(certificate, now)
    first = next(iter(_certificates(certificate)), None)
    if first is None:
        return
    private = _private_key(key)
    if private is None:
        yield BROKEN, f'{key} holds no private key that can be read: put the key of {certificate} there, in PEM form'
    elif private.public_key() != first.public_key():
        yield BROKEN, f'{key} is not the key of {certificate}: put in place the pair that belongs together'


def check_validity(path: Path, now: float) -> Iterator[tuple[str, str]]:
    """The first certificate of a file is one and in time."""
    found = next(iter(_certificates(path)), None)
    if found is None:
        yield BROKEN, f'{path} holds no certificate that can be read: put one there, in PEM form'
        return
    left = (found.not_valid_after_utc.timestamp() - now) / DAY
    day = found.not_valid_after_utc.strftime('%Y-%m-%d')
    if found.not_valid_before_utc > datetime.fromtimestamp(now, UTC):
        yield BROKEN, f'the certificate {path} is valid from {found.not_valid_before_utc:%Y-%m-%d} only: see the clock'
    elif left < 0:
        yield BROKEN, f'the certificate {path} expired on {day}: replace it'
    elif left < SOON:
        severity = BROKEN if left < VERY_SOON else WARNING
        yield severity, f'the certificate {path} expires in {left:.0f} days, on {day}: replace it'


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
    Check('certificates', 'a certificate of an `ssl:` endpoint is missing, garbled, expired, expires within 30 days '
          '(warning) or 7 (broken), or its key is another one', SERVER, endpoints),
    Check('certificates', 'the same of the files that [kvdb] names', SERVER, redis_endpoints),
)  # fmt: skip
