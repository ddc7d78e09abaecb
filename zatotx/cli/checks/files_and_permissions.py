"""Checks whether files exist, are readable, and are not accessible to others."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zatotx.cli.checks.check_definition import BROKEN, ENVIRONMENT, EVERY_COMPONENT, NODE, WARNING, Check, CheckContext
from zatotx.cli.environment.atomic_files import is_private
from zatotx.cli.environment.component_types import REDIS, TYPES
from zatotx.cli.environment.components.operations_registry import operations_of
from zatotx.cli.environment.environment_layout import (
    CREDENTIALS,
    INFO_FILE,
    Component,
    get_setting,
    read_credentials,
    read_info,
    read_settings,
)
from zatotx.cli.environment.listen_addresses import listen_descriptions, split_endpoint_description
from zatotx.cli.environment.secret_key_access import read_secret_key
from zatotx.cli.errors import CommandError

if TYPE_CHECKING:
    from cryptography.x509 import Certificate



def check_credentials(context: CheckContext, part: Component) -> Iterator[tuple[str, str]]:
    """Check that credentials.toml contains the users whose credentials the commands use."""
    path = part.path / CREDENTIALS
    if not path.is_file():
        yield BROKEN, f'{path} is missing: commands cannot log in without it; restore it from a backup'
        return
    for section in ('api', 'pubapi'):
        try:
            read_credentials(part.path, section)
        except CommandError as error:
            yield BROKEN, f"{error.format_message().rstrip('.')}: restore it, or set a password with 'zatotx update'"


def check_info_file(context: CheckContext, part: Component) -> Iterator[tuple[str, str]]:
    """Check that the .zato-info file in a directory names the component."""
    path = part.path / INFO_FILE
    try:
        if read_info(part.path).get('component') not in TYPES:
            yield BROKEN, f'{path} names no component: it must contain one of {", ".join(TYPES)}'
    except CommandError as error:
        yield BROKEN, error.format_message().rstrip('.')


def check_settings_file(context: CheckContext, part: Component) -> Iterator[tuple[str, str]]:
    """Check that server.toml exists and is valid TOML."""
    path = part.settings_path
    if not path.is_file():
        yield BROKEN, f'{path} is missing: restore it from a backup'
        return
    read_settings(part)


def check_secret_key(context: CheckContext, part: Component) -> Iterator[tuple[str, str]]:
    """Check that the secret key exists, is valid, and is not accessible to others."""
    read_secret_key(part)
    yield from ()


def check_directories(context: CheckContext, part: Component) -> Iterator[tuple[str, str]]:
    """Check that the directories to which a component writes exist and are writable."""
    for directory in operations_of(part).writable_directories(part):
        if not directory.is_dir():
            yield BROKEN, f"{directory} is missing: 'mkdir -p -m 700 {directory}'"
        elif not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
            yield BROKEN, f'{directory} is not writable: change its owner to the user who starts {part.name}'


def check_secret_file_permissions(context: CheckContext, part: Component) -> Iterator[tuple[str, str]]:
    """Check that files and directories with secrets are not accessible to group and others."""
    for path in secret_files(part):
        if path.exists() and not is_private(path):
            mode = '700' if path.is_dir() else '600'
            yield BROKEN, f"{path} contains secrets and is accessible to other users: 'chmod {mode} {path}'"


def secret_files(part: Component) -> Iterator[Path]:
    """Yield all files and directories that only their owner may access."""
    if part.kind == ENVIRONMENT:
        yield part.path / CREDENTIALS
        yield part.path / 'odb'
        yield from sorted((part.path / 'odb').glob('*.db*'))
    else:
        yield from operations_of(part).secret_files(part)


SOON, VERY_SOON = 30, 7  # days
DAY = 86400


def check_endpoint_certificates(context: CheckContext, part: Component) -> Iterator[tuple[str, str]]:
    """Check the certificate of each `ssl:` endpoint of a server."""
    for description in listen_descriptions(part):
        kind, *fields = split_endpoint_description(description.removeprefix('haproxy:'))
        named = dict(field.split('=', 1) for field in fields if '=' in field)
        if kind == 'ssl':
            key = named.get('privateKey', 'server.pem')
            yield from check_certificate_and_key(part.path / named.get('certKey', key), part.path / key, context.now())


def check_redis_certificates(context: CheckContext, part: Component) -> Iterator[tuple[str, str]]:
    """Check the client certificate and the CA file in the settings section [kvdb]."""
    loaded = read_settings(part)
    files = {name: get_setting(loaded, 'kvdb', name, '') for name in ('ca', 'cert', 'key')}
    if files['ca']:
        yield from check_certificate_validity(part.path / files['ca'], context.now())
    if files['cert']:
        yield from check_certificate_and_key(
            part.path / files['cert'], part.path / (files['key'] or files['cert']), context.now()
        )


def check_certificate_and_key(certificate: Path, key: Path, now: float) -> Iterator[tuple[str, str]]:
    """Check a certificate and its private key. `now` is Unix time in seconds."""
    yield from check_certificate_validity(certificate, now)
    first = next(iter(_certificates(certificate)), None)
    if first is None:
        return
    private = _private_key(key)
    if private is None:
        yield BROKEN, f'{key} contains no readable private key: store the key of {certificate} there, in PEM format'
    elif private.public_key() != first.public_key():
        yield BROKEN, f'{key} is not the key of {certificate}: install a matching pair'


def check_certificate_validity(path: Path, now: float) -> Iterator[tuple[str, str]]:
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
    Check('files', 'credentials.toml is missing, is not valid TOML, or lacks [api] or [pubapi]', ENVIRONMENT,
          check_credentials),
    Check('files', '.zato-info of a component is missing or corrupt', EVERY_COMPONENT, check_info_file),
    Check('files', 'server.toml or connector.toml is missing or not valid TOML', NODE, check_settings_file),
    Check('files', 'the secret key is missing, accessible to other users or invalid', NODE, check_secret_key),
    Check('files', 'a directory that a server or connector writes to is missing or not writable: logs, work, pickup',
          NODE, check_directories),
    Check('permissions', 'credentials.toml or the SQLite ODB is accessible to other users', ENVIRONMENT,
          check_secret_file_permissions),
    Check('permissions', 'server.toml, connector.toml, the secret key or a private key is accessible to other users',
          NODE, check_secret_file_permissions),
    Check('permissions', "the directory of Redis is accessible to other users", REDIS, check_secret_file_permissions),
    Check('certificates', 'a certificate of an `ssl:` endpoint is missing, corrupt, expired, expires within 30 days '
          '(warning) or 7 days (broken), or does not match its key', NODE, check_endpoint_certificates),
    Check('certificates', 'the same problems with the files in [kvdb]', NODE, check_redis_certificates),
)
