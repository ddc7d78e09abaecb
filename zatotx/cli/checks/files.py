"""Files: there, readable, and closed to others."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from zatotx.cli.checks.finding import BROKEN, ENVIRONMENT, EVERY_PART, Check, CheckContext
from zatotx.cli.environment.layout import (
    CREDENTIALS,
    INFO_FILE,
    PLUGINS,
    REDIS,
    SERVER,
    Component,
    credentials,
    read_info,
    setting,
    settings,
)
from zatotx.cli.environment.listen_addresses import fields_of, listen_descriptions
from zatotx.cli.environment.private_files import is_private
from zatotx.cli.environment.secret_keys import key_file, read_secret_key
from zatotx.cli.errors import CommandError

PICKUP = 'pickup/incoming/services'


def credentials_there(scene: CheckContext, part: Component) -> Iterator[tuple[str, str]]:
    """credentials.toml has the users that commands log in as."""
    path = part.path / CREDENTIALS
    if not path.is_file():
        yield BROKEN, f'{path} is missing: without it no command can log in; restore it from a backup'
        return
    for section in ('api', 'pubapi'):
        try:
            credentials(part.path, section)
        except CommandError as error:
            yield BROKEN, f"{error.format_message().rstrip('.')}: restore it, or set a password with 'zatotx update'"


def info_there(scene: CheckContext, part: Component) -> Iterator[tuple[str, str]]:
    """.zato-info says what a directory is."""
    path = part.path / INFO_FILE
    try:
        if read_info(part.path).get('component') not in PLUGINS:
            yield BROKEN, f'{path} names no component: one of {", ".join(PLUGINS)} must stand there'
    except CommandError as error:
        yield BROKEN, error.format_message().rstrip('.')


def settings_there(scene: CheckContext, part: Component) -> Iterator[tuple[str, str]]:
    """server.toml is there and is TOML."""
    path = part.path / 'config' / 'server.toml'
    if not path.is_file():
        yield BROKEN, f'{path} is missing: restore it from a backup'
        return
    settings(part)


def key_there(scene: CheckContext, part: Component) -> Iterator[tuple[str, str]]:
    """The secret key is there, is one, and is nobody else's."""
    read_secret_key(part)
    yield from ()


def directories_there(scene: CheckContext, part: Component) -> Iterator[tuple[str, str]]:
    """The directories a part writes to are there and it may write."""
    for directory in is_writable(part):
        if not directory.is_dir():
            yield BROKEN, f"{directory} is missing: 'mkdir -p -m 700 {directory}'"
        elif not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
            yield BROKEN, f'{directory} is not writable: change its owner to the one who starts {part.name}'


def is_writable(part: Component) -> list[Path]:
    """The directories that a part writes to."""
    if part.kind != SERVER:
        return [part.path]
    pickup = setting(settings(part), 'hot_deploy', 'pickup_dir', PICKUP)
    return [part.path / 'logs', part.path / 'work', part.path / pickup]


def open_to_others(scene: CheckContext, part: Component) -> Iterator[tuple[str, str]]:
    """What holds secrets is closed to group and others."""
    for path in secret_files(part):
        if path.exists() and not is_private(path):
            mode = '700' if path.is_dir() else '600'
            yield BROKEN, f"{path} is open to others, and holds secrets: 'chmod {mode} {path}'"


def secret_files(part: Component) -> Iterator[Path]:
    """All that must be nobody else's."""
    if part.kind == ENVIRONMENT:
        yield part.path / CREDENTIALS
        yield part.path / 'odb'
        yield from sorted((part.path / 'odb').glob('*.db*'))
    elif part.kind == REDIS:
        yield part.path
    else:
        yield part.path / 'config' / 'server.toml'
        yield key_file(part)
        yield from private_keys(part)


def private_keys(part: Component) -> Iterator[Path]:
    """The files with private keys of the endpoints that speak TLS."""
    for description in listen_descriptions(part):
        kind, *fields = fields_of(description.removeprefix('haproxy:'))
        named = dict(field.split('=', 1) for field in fields if '=' in field)
        if kind == 'ssl':
            yield part.path / named.get('privateKey', 'server.pem')


CHECKS = (
    Check('files', 'credentials.toml is missing, is no TOML, or lacks [api] or [pubapi]', ENVIRONMENT,
          credentials_there),
    Check('files', '.zato-info of a part is missing or garbled', EVERY_PART, info_there),
    Check('files', 'server.toml is missing or no TOML', SERVER, settings_there),
    Check('files', 'the secret key is missing, open to others or none', SERVER, key_there),
    Check('files', 'a directory that a server writes to is missing or not writable: logs, work, pickup', SERVER,
          directories_there),
    Check('permissions', 'credentials.toml or the SQLite ODB is open to others', ENVIRONMENT, open_to_others),
    Check('permissions', 'server.toml, the secret key or a private key is open to others', SERVER, open_to_others),
    Check('permissions', "Redis's directory is open to others", REDIS, open_to_others),
)  # fmt: skip
