"""The secret key of an environment: where it comes from and who may read it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from zatotx.cli.failure import Failure
from zatotx.cli.files import is_private
from zatotx.cli.layout import SERVER, Part, Place, parts_of

if TYPE_CHECKING:
    from zatotx.odb.secrets import Secrets

VARIABLE = 'ZATOTX_SECRET_KEY'


def key_file(part: Part) -> Path:
    return part.path / 'config' / 'secret.key'


def any_server(place: Place) -> Part:
    """The server that PATH names, or the environment's first: all share one key and one database."""
    found = place.servers or [part for part in parts_of(place.environment) if part.kind == SERVER]
    if not found:
        raise Failure(f'{place.environment} has no server.')
    return found[0]


def key_of(part: Part) -> str:
    """A server's secret key. Raises Failure for one that is missing, open to others or none."""
    from zatotx.odb.secrets import Secrets

    given = os.environ.get(VARIABLE)
    text = given if given is not None else read_key(key_file(part))
    try:
        Secrets(text)
    except ValueError as error:
        raise Failure(f'{key_file(part) if given is None else VARIABLE}: {error}.') from None
    return text.strip()


def secrets_of(part: Part) -> Secrets:
    """What encrypts and decrypts for a server. Raises Failure as key_of."""
    from zatotx.odb.secrets import Secrets

    return Secrets(key_of(part))


def read_key(path: Path) -> str:
    """The key in a file that is ours alone."""
    try:
        if not is_private(path):
            raise Failure(f"{path} can be read by others: 'chmod 600 {path}'.")
        return path.read_text()
    except OSError as error:
        raise Failure(f'{path} cannot be read ({error.strerror}): restore it, or set {VARIABLE}.') from None
    except UnicodeDecodeError:
        raise Failure(f'{path} holds no key: restore it, or set {VARIABLE}.') from None
