"""`zatotx crypto`, `zatotx encrypt` and `zatotx decrypt`: manage secret keys and encrypted values."""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from zatotx.cli.command_output import make_path_argument, progress_if_slow
from zatotx.cli.environment.atomic_files import write_private_file
from zatotx.cli.environment.environment_layout import Component, Environment, components_of, find_environment
from zatotx.cli.environment.secret_key_access import any_server, key_file, open_secrets, read_secret_key
from zatotx.cli.errors import CommandError
from zatotx.cli.secret_options import make_secret_option, read_secret
from zatotx.processes.secret_key import KEY_VARIABLE

if TYPE_CHECKING:
    from zatotx.odb.secrets import Secrets


# `zatotx crypto rotate-key`: replaces the secret key of an environment, whether or not its servers run.
#
# Every step is atomic, harmless by itself and repeatable. If the command is interrupted at any moment, the
# environment still works and the command can be run again:
#
# 1. The new key is written to rotation.key in the environment's directory, before it is used anywhere. 2. Each
# secret.key gets it as the second line: every server can now decrypt with it. 3. Each secret.key gets it as the first
# line: every server now encrypts with it. 4. All values in the database and in server.toml are encrypted again. 5.
# The old key is removed from each secret.key, and rotation.key is deleted.
#
# Servers need no restart and no signal: they read secret.key again before they store a secret, and when they cannot
# decrypt one (zatotx/odb/secrets.py).

ROTATION_FILE = 'rotation.key'
ENCRYPTED_VALUE = re.compile(r'enc:gAAAA[A-Za-z0-9_=-]+')


class RotationStep(NamedTuple):
    text: str
    run: Callable[[], object]


@click.command(
    'rotate-key',
    short_help='Replace the secret key, and encrypt everything again.',
    epilog='\b\nExamples:\n  zatotx crypto rotate-key ~/env/qs-1\n'
    f'  {KEY_VARIABLE}="$NEW,$OLD" zatotx crypto rotate-key ~/env/qs-1',
)
@make_path_argument()
def rotate_key(path: str) -> None:
    """Replace the secret key of an environment, and re-encrypt all secrets with the new key.

    Servers may be running and need no restart. If the command is interrupted, run it again to continue.

    If servers get their key from ZATOTX_SECRET_KEY or stdin: restart them with the new and the old key, in this order
    and separated by a comma; run this command with both in ZATOTX_SECRET_KEY; after that the new key alone is
    sufficient.
    """
    environment = find_environment(path)
    with rotation_lock(environment.environment):
        for step in rotation_steps(environment):
            with progress_if_slow(step.text):
                step.run()
    outcome = 'has a new key'
    if os.environ.get(KEY_VARIABLE):
        outcome = f'has a new first key, the old one can be removed from {KEY_VARIABLE}'
    click.echo(f'{environment.environment} {outcome}; everything is encrypted with it.')


@contextmanager
def rotation_lock(directory: Path) -> Iterator[None]:
    """Lock the environment, so that only one process rotates its key at a time. Raises CommandError if another process
    holds the lock."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise CommandError(f'Another process is rotating the key of {directory}: wait until it has finished.') from None
    finally:
        os.close(descriptor)


def rotation_steps(environment: Environment) -> list[RotationStep]:
    """Return the steps of a key rotation. Raises CommandError, before anything is changed, if the rotation is
    impossible."""
    servers = [part for part in components_of(environment.environment) if part.type.is_node]
    if not servers:
        raise CommandError(f'{environment.environment} has no server.')
    if os.environ.get(KEY_VARIABLE):
        return external_key_steps(servers, environment)
    check_same_key(environment.environment, servers)
    check_no_other_environment(environment, servers)
    plan = environment.environment / ROTATION_FILE
    new = read_interrupted_key(plan) or new_key()
    return [
        RotationStep('Generating the key', lambda: write_private_file(plan, f'{new}\n')),
        RotationStep(
            'Distributing the key',
            partial(update_key_files, servers, lambda keys: [*remove_key(keys, new), new]),
        ),
        RotationStep(
            'Making the key the first one',
            partial(update_key_files, servers, lambda keys: [new, *remove_key(keys, new)]),
        ),
        *reencryption_steps(servers, environment),
        RotationStep('Removing the old key', partial(update_key_files, servers, lambda keys: [new])),
        RotationStep('Cleaning up', partial(plan.unlink, missing_ok=True)),
    ]


def external_key_steps(servers: Sequence[Component], environment: Environment) -> list[RotationStep]:
    """Return the steps for servers whose keys are not in the environment's files. These keys have already been changed
    outside of the environment."""
    from zatotx.odb.secrets import split_keys

    if len(split_keys(read_secret_key(servers[0]))) < 2:
        raise CommandError(
            f"{KEY_VARIABLE} contains one key: put a new one ('zatotx crypto generate-key') and a comma before it,"
            ' restart the servers with both, and run this command again.'
        )
    return reencryption_steps(servers, environment)


def check_same_key(environment: Path, servers: Sequence[Component]) -> None:
    """Raise CommandError if the servers have different keys. The new key of an interrupted rotation is ignored."""
    from zatotx.odb.secrets import split_keys

    new = read_interrupted_key(environment / ROTATION_FILE)
    found = {frozenset(split_keys(read_secret_key(part))) - {new} for part in servers}
    if len(found - {frozenset()}) > 1:
        raise CommandError(
            f'The servers of {environment} have different keys: put the one that encrypted the database into'
            ' the config/secret.key of each.'
        )


def read_interrupted_key(plan: Path) -> str:
    """Return the new key of an interrupted rotation, or '' if there is none."""
    from zatotx.odb.secrets import Secrets

    try:
        key = plan.read_text('ascii').strip()
        Secrets(key)
    except (FileNotFoundError, ValueError):
        return ''
    return key


def check_no_other_environment(environment: Environment, servers: Sequence[Component]) -> None:
    """Raise CommandError if running servers of other environments use the database, because they would not receive the
    new key.
    """
    from zatotx.cli.environment.odb_and_redis_access import open_odb
    from zatotx.odb.nodes import HEARTBEAT_TIMEOUT, RUNNING, list_nodes

    local_names, since = {part.name for part in servers}, time.time() - HEARTBEAT_TIMEOUT
    with open_odb(environment) as opened:
        running = [node for node in opened.read(list_nodes) if node.up_status == RUNNING and node.seen_at > since]
    others = [node for node in running if node.name not in local_names]
    if others:
        names = ', '.join(sorted({f'{node.name} ({node.host})' for node in others}))
        raise CommandError(
            f'Other environments use this database: stop {names} first, and copy the new config/secret.key to them'
            ' before they start again.'
        )


def new_key() -> str:
    from zatotx.odb import secrets

    return secrets.new_key()


def remove_key(keys: Sequence[str], key: str) -> list[str]:
    return [each for each in keys if each != key]


def update_key_files(servers: Sequence[Component], change: Callable[[list[str]], list[str]]) -> None:
    """Update the key file of each server. `change` returns the new keys for the current keys."""
    from zatotx.odb.secrets import split_keys

    for part in servers:
        keys = split_keys(read_secret_key(part))
        if (changed := change(keys)) != keys:
            write_private_file(key_file(part), ''.join(f'{key}\n' for key in changed))


def reencryption_steps(servers: Sequence[Component], environment: Environment) -> list[RotationStep]:
    return [
        RotationStep('Encrypting the database again', partial(reencrypt_database, environment)),
        RotationStep('Encrypting the settings again', partial(reencrypt_settings, servers)),
    ]


def reencrypt_database(environment: Environment) -> None:
    from zatotx.cli.environment.odb_and_redis_access import open_odb
    from zatotx.odb.key_rotation import rotate_key as rotate

    with open_odb(environment) as opened:
        rotate(opened)


def reencrypt_settings(servers: Sequence[Component]) -> None:
    """Re-encrypt every value enc:… in the settings files of servers. Comments and order are preserved."""
    from zatotx.odb.secrets import Secrets

    for part in servers:
        secrets = Secrets(read_secret_key(part))
        for path in sorted((part.path / 'config').glob('*.toml')):
            text = path.read_text('utf-8')
            if (new := ENCRYPTED_VALUE.sub(partial(reencrypt_token, secrets), text)) != text:
                write_private_file(path, new)


def reencrypt_token(secrets: Secrets, found: re.Match[str]) -> str:
    return secrets.reencrypt(found[0])


@click.command('generate-key', epilog='\b\nExamples:\n  zatotx crypto generate-key > secret.key')
def generate_key() -> None:
    """Generate a secret key and print it."""
    from zatotx.odb.secrets import new_key

    click.echo(new_key())


@click.command(
    short_help='Encrypt a value with the secret key of PATH.',
    epilog='\b\nExamples:\n  zatotx encrypt ~/env/qs-1\n  zatotx encrypt ~/env/qs-1 < password.txt',
)
@make_path_argument()
@make_secret_option('secret', 'The value', 'secret')
def encrypt(path: str, secret: str | None) -> None:
    """Encrypt a value with the secret key of PATH, and print it in the form for server.toml, enc:…"""
    secrets = open_secrets(any_server(find_environment(path)))
    click.echo(secrets.encrypt(read_secret(secret, 'secret', 'Secret')))


@click.command(
    short_help='Decrypt a value with the secret key of PATH.',
    epilog='\b\nExamples:\n  zatotx decrypt ~/env/qs-1\n  zatotx decrypt ~/env/qs-1 < url.enc',
)
@make_path_argument()
@make_secret_option('secret', 'enc:…', 'secret')
def decrypt(path: str, secret: str | None) -> None:
    """Decrypt a value that was encrypted with the secret key of PATH, and print it."""
    from zatotx.model.errors import ServiceUnavailable

    secrets = open_secrets(any_server(find_environment(path)))
    try:
        click.echo(secrets.decrypt(read_secret(secret, 'secret', 'Secret')))
    except ServiceUnavailable:
        raise CommandError('The value was not encrypted with the secret key of PATH, or is incomplete.') from None


@click.group(
    commands={each.name or '': each for each in (generate_key, rotate_key, encrypt, decrypt)},
    epilog='\b\nExamples:\n  zatotx crypto generate-key > secret.key\n  zatotx crypto rotate-key ~/env/qs-1',
)
def crypto() -> None:
    """Manage secret keys, and encrypt and decrypt values."""
