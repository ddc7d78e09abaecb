"""`zatotx crypto rotate-key`: a new secret key for an environment, with its servers running or not.

Every step is a whole one, by itself harmless and done again without harm, so whatever ends the command at any moment
leaves an environment that works and in which the command can be run again:

1. the new key is written beside the environment's credentials, in rotation.key, before anything knows of it;
2. each secret.key gets it as its second line: from now on every server can read what it encrypts;
3. each secret.key gets it as its first line: from now on every server encrypts with it;
4. what the old key encrypted is encrypted anew, in the database and in server.toml;
5. each secret.key loses the old key, and rotation.key goes.

Servers need no restart and no signal: they look at secret.key again before they store a secret, and where they meet one
that they cannot read (zatotx/odb/secrets.py).
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
    short_help='Give PATH a new key, and encrypt everything with it.',
    epilog='\b\nExamples:\n  zatotx crypto rotate-key ~/env/qs-1\n'
    f'  {VARIABLE}="$NEW,$OLD" zatotx crypto rotate-key ~/env/qs-1',
)
@path_argument()
def rotate_key(path: str) -> None:
    """Give an environment a new secret key, and encrypt everything anew with it.

    Servers may run meanwhile and need no restart. If this is ended before it is done, run it again: it goes on.

    Where servers have their key from ZATOTX_SECRET_KEY or from stdin, restart them with the new key and the old one, in
    this order and with a comma between them; run this with both in ZATOTX_SECRET_KEY; then the new one alone will do.
    """
    place = find_environment(path)
    with exclusive(place.environment):
        for step in steps(place):
            with progress(step.text):
                step.do()
    said = f"has a new first key: the old one can go from {VARIABLE}" if os.environ.get(VARIABLE) else 'has a new key'
    click.echo(f'{place.environment} {said}; everything is encrypted with it.')


@contextmanager
def exclusive(directory: Path) -> Iterator[None]:
    """While nobody else rotates the key of this environment. Raises Failure where somebody does."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise CommandError(f'Somebody else is giving {directory} a new key now: wait for it to end.') from None
    finally:
        os.close(descriptor)


def steps(place: Environment) -> list[Step]:
    """What there is to do. Raises Failure, before anything is done, where it cannot be."""
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
        Step('Making the key', lambda: write(plan, f'{new}\n')),
        Step(
            'Telling it to the servers',
            partial(print_key_location, servers, lambda keys: [*drop_old_key(keys, new), new]),
        ),
        Step('Making it the first', partial(print_key_location, servers, lambda keys: [new, *drop_old_key(keys, new)])),
        *reencrypting(servers, place),
        Step('Forgetting the old key', partial(print_key_location, servers, lambda keys: [new])),
        Step('Tidying up', partial(plan.unlink, missing_ok=True)),
    ]


def parse_steps(servers: Sequence[Component], place: Environment) -> list[Step]:
    """The key is not in files of ours: somebody else has changed it already."""
    from zatotx.odb.secrets import keys_in

    if len(keys_in(read_secret_key(servers[0]))) < 2:
        raise CommandError(
            f"{VARIABLE} is set and has one key: put a new one ('zatotx crypto generate-key') and a comma before it,"
            ' restart the servers with both, and run this again.'
        )
    return reencrypting(servers, place)


def check_keys(environment: Path, servers: Sequence[Component]) -> None:
    """Raises Failure where the servers do not have the same keys (mostly one), the new one of a rotation that is under
    way aside."""
    from zatotx.odb.secrets import keys_in

    new = plan_rotation(environment / PLAN)
    found = {frozenset(keys_in(read_secret_key(part))) - {new} for part in servers}
    if len(found - {frozenset()}) > 1:
        raise CommandError(
            f'The servers of {environment} have different keys: put the one that the database was written with into'
            ' the config/secret.key of each.'
        )


def plan_rotation(plan: Path) -> str:
    """The new key of a rotation that did not come to its end; '' where there is none."""
    from zatotx.odb.secrets import Secrets

    try:
        key = plan.read_text('ascii').strip()
        Secrets(key)
    except (FileNotFoundError, ValueError):
        return ''
    return key


def check_elsewhere(place: Environment, servers: Sequence[Component]) -> None:
    """Raises Failure where servers of other environments use the database now: we cannot tell them the key."""
    from zatotx.cli.environment.odb_access import database
    from zatotx.odb.nodes import ALIVE, RUNNING, nodes

    ours, since = {part.name for part in servers}, time.time() - ALIVE
    with database(place) as opened:
        up = [node for node in opened.read(nodes) if node.up_status == RUNNING and node.seen_at > since]
    others = [node for node in up if node.name not in ours]
    if others:
        names = ', '.join(sorted({f'{node.name} ({node.host})' for node in others}))
        raise CommandError(
            f'Other environments use this database: stop {names} first, and give them the new config/secret.key'
            ' before they start again.'
        )


def new_key() -> str:
    from zatotx.odb import secrets

    return secrets.new_key()


def drop_old_key(keys: Sequence[str], key: str) -> list[str]:
    return [each for each in keys if each != key]


def print_key_location(servers: Sequence[Component], change: Callable[[list[str]], list[str]]) -> None:
    """Write each server's key file with the keys that `change` makes of those it has."""
    from zatotx.odb.secrets import keys_in

    for part in servers:
        keys = keys_in(read_secret_key(part))
        if (changed := change(keys)) != keys:
            write(key_file(part), ''.join(f'{key}\n' for key in changed))


def reencrypting(servers: Sequence[Component], place: Environment) -> list[Step]:
    return [
        Step('Encrypting the database anew', partial(renew_database, place)),
        Step('Encrypting the settings anew', partial(renew_settings, servers)),
    ]


def renew_database(place: Environment) -> None:
    from zatotx.cli.environment.odb_access import database
    from zatotx.odb.key_rotation import rotate

    with database(place) as opened:
        rotate(opened)


def renew_settings(servers: Sequence[Component]) -> None:
    """Every enc:… of the files, comments and order kept."""
    from zatotx.odb.secrets import Secrets

    for part in servers:
        secrets = Secrets(read_secret_key(part))
        for path in sorted((part.path / 'config').glob('*.toml')):
            text = path.read_text('utf-8')
            if (new := TOKEN.sub(partial(renewed_token, secrets), text)) != text:
                write(path, new)


def renewed_token(secrets: Secrets, found: re.Match[str]) -> str:
    return secrets.renewed(found[0])
