"""`zatotx crypto rotate-key`: replaces the secret key of an environment, whether or not its servers run.

Every step is atomic, harmless by itself and repeatable. If the command is interrupted at any moment, the environment
still works and the command can be run again:

1. The new key is written to rotation.key in the environment's directory, before it is used anywhere. 2. Each secret.key
gets it as the second line: every server can now decrypt with it. 3. Each secret.key gets it as the first line: every
server now encrypts with it. 4. All values in the database and in server.toml are encrypted again. 5. The old key is
removed from each secret.key, and rotation.key is deleted.

Servers need no restart and no signal: they read secret.key again before they store a secret, and when they cannot
decrypt one (zatotx/odb/secrets.py).
"""

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

from zatotx.cli.environment.layout import SERVER, Component, Environment, components_of, find_environment
from zatotx.cli.environment.private_files import write
from zatotx.cli.environment.secret_keys import key_file, read_secret_key
from zatotx.cli.errors import CommandError
from zatotx.cli.output import path_argument, progress
from zatotx.node.secret_key import VARIABLE

if TYPE_CHECKING:
    from zatotx.odb.secrets import Secrets

PLAN = 'rotation.key'
TOKEN = re.compile(r'enc:gAAAA[A-Za-z0-9_=-]+')


class Step(NamedTuple):
    text: str
    do: Callable[[], object]


@click.command(
    'rotate-key',
    short_help='Replace the secret key, and encrypt everything again.',
    epilog='\b\nExamples:\n  zatotx crypto rotate-key ~/env/qs-1\n'
    f'  {VARIABLE}="$NEW,$OLD" zatotx crypto rotate-key ~/env/qs-1',
)
@path_argument()
def rotate_key(path: str) -> None:
    """Replace the secret key of an environment, and encrypt everything again.

    Servers may be running and need no restart. If the command is interrupted, run it again to continue.

    If servers get their key from ZATOTX_SECRET_KEY or stdin: restart them with the new and the old key, in this order
    and separated by a comma; run this command with both in ZATOTX_SECRET_KEY; after that the new key alone is
    sufficient.
    """
    place = find_environment(path)
    with exclusive(place.environment):
        for step in steps(place):
            with progress(step.text):
                step.do()
    outcome = 'has a new key'
    if os.environ.get(VARIABLE):
        outcome = f'has a new first key, the old one can be removed from {VARIABLE}'
    click.echo(f'{place.environment} {outcome}; everything is encrypted with it.')


@contextmanager
def exclusive(directory: Path) -> Iterator[None]:
    """Hold a lock on the environment, so that its key is rotated only once at a time. Raises CommandError if another
    process holds it."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise CommandError(f'Another process is rotating the key of {directory}: wait until it has finished.') from None
    finally:
        os.close(descriptor)


def steps(place: Environment) -> list[Step]:
    """Return the steps to do. Raises CommandError, before anything is changed, if they cannot be done."""
    servers = [part for part in components_of(place.environment) if part.kind == SERVER]
    if not servers:
        raise CommandError(f'{place.environment} has no server.')
    if os.environ.get(VARIABLE):
        return parse_steps(servers, place)
    check_keys(place.environment, servers)
    check_elsewhere(place, servers)
    plan = place.environment / PLAN
    new = plan_rotation(plan) or new_key()
    return [
        Step('Generating the key', lambda: write(plan, f'{new}\n')),
        Step(
            'Distributing the key',
            partial(print_key_location, servers, lambda keys: [*drop_old_key(keys, new), new]),
        ),
        Step(
            'Making the key the first one',
            partial(print_key_location, servers, lambda keys: [new, *drop_old_key(keys, new)]),
        ),
        *reencrypting(servers, place),
        Step('Removing the old key', partial(print_key_location, servers, lambda keys: [new])),
        Step('Cleaning up', partial(plan.unlink, missing_ok=True)),
    ]


def parse_steps(servers: Sequence[Component], place: Environment) -> list[Step]:
    """Return the steps for servers whose keys are not in our files: the keys have been changed already."""
    from zatotx.odb.secrets import keys_in

    if len(keys_in(read_secret_key(servers[0]))) < 2:
        raise CommandError(
            f"{VARIABLE} contains one key: put a new one ('zatotx crypto generate-key') and a comma before it,"
            ' restart the servers with both, and run this command again.'
        )
    return reencrypting(servers, place)


def check_keys(environment: Path, servers: Sequence[Component]) -> None:
    """Raise CommandError if the servers have different keys, apart from the new one of an interrupted rotation."""
    from zatotx.odb.secrets import keys_in

    new = plan_rotation(environment / PLAN)
    found = {frozenset(keys_in(read_secret_key(part))) - {new} for part in servers}
    if len(found - {frozenset()}) > 1:
        raise CommandError(
            f'The servers of {environment} have different keys: put the one that encrypted the database into'
            ' the config/secret.key of each.'
        )


def plan_rotation(plan: Path) -> str:
    """Return the new key of an interrupted rotation; '' if there is none."""
    from zatotx.odb.secrets import Secrets

    try:
        key = plan.read_text('ascii').strip()
        Secrets(key)
    except (FileNotFoundError, ValueError):
        return ''
    return key


def check_elsewhere(place: Environment, servers: Sequence[Component]) -> None:
    """Raise CommandError if running servers of other environments use the database, because they would not get the key.
    """
    from zatotx.cli.environment.odb_access import database
    from zatotx.odb.nodes import ALIVE, RUNNING, nodes

    local_names, since = {part.name for part in servers}, time.time() - ALIVE
    with database(place) as opened:
        running = [node for node in opened.read(nodes) if node.up_status == RUNNING and node.seen_at > since]
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


def drop_old_key(keys: Sequence[str], key: str) -> list[str]:
    return [each for each in keys if each != key]


def print_key_location(servers: Sequence[Component], change: Callable[[list[str]], list[str]]) -> None:
    """Write each server's key file with the keys that `change` returns for the current ones."""
    from zatotx.odb.secrets import keys_in

    for part in servers:
        keys = keys_in(read_secret_key(part))
        if (changed := change(keys)) != keys:
            write(key_file(part), ''.join(f'{key}\n' for key in changed))


def reencrypting(servers: Sequence[Component], place: Environment) -> list[Step]:
    return [
        Step('Encrypting the database again', partial(renew_database, place)),
        Step('Encrypting the settings again', partial(renew_settings, servers)),
    ]


def renew_database(place: Environment) -> None:
    from zatotx.cli.environment.odb_access import database
    from zatotx.odb.key_rotation import rotate

    with database(place) as opened:
        rotate(opened)


def renew_settings(servers: Sequence[Component]) -> None:
    """Encrypt every enc:… value in the settings files again, keeping comments and order."""
    from zatotx.odb.secrets import Secrets

    for part in servers:
        secrets = Secrets(read_secret_key(part))
        for path in sorted((part.path / 'config').glob('*.toml')):
            text = path.read_text('utf-8')
            if (new := TOKEN.sub(partial(renewed_token, secrets), text)) != text:
                write(path, new)


def renewed_token(secrets: Secrets, found: re.Match[str]) -> str:
    return secrets.renewed(found[0])
