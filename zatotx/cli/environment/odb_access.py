"""Access to the database of an environment without a running server."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from zatotx.cli.environment.layout import Component, Environment, cluster_name, setting, settings
from zatotx.cli.environment.secret_keys import any_server, open_secrets, read_secret_key
from zatotx.cli.errors import CommandError

if TYPE_CHECKING:
    from zatotx.odb.database import Database
    from zatotx.schema.snapshot import Actor
    from zatotx.schema.type_registry import ObjectTypes


def object_types() -> ObjectTypes:
    """Return all object types: the built-in ones and those of the installed kinds."""
    from zatotx.connectors.kind_registry import find_kinds
    from zatotx.connectors.kind_registry import object_types as types_of
    from zatotx.schema.builtin_types import BUILTIN_TYPES
    from zatotx.schema.type_registry import ObjectTypes

    return ObjectTypes([*BUILTIN_TYPES, *types_of(find_kinds())])


def odb_url(part: Component) -> str:
    """Return the decrypted URL of a server's database, with an absolute path."""
    from zatotx.odb.urls import resolve
    from zatotx.schema.dual_secret import ENCRYPTED

    url = setting(settings(part), 'odb', 'url', '')
    if url.startswith(ENCRYPTED):
        url = open_secrets(part).decrypt(url)
    try:
        return resolve(url, str(part.path))
    except ValueError as error:
        raise CommandError(f'{part.path}/config/server.toml: odb.url: {error}.') from None


def command_actor(command: str) -> Actor:
    """Return who runs the command, for the history: the operating system's account."""
    from zatotx.schema.snapshot import Actor

    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # an account without a name, as in containers
        user = f'uid {os.getuid()}'
    return Actor(user, f'zatotx {command}', '', socket.gethostname())


@contextmanager
def error_sentences() -> Iterator[None]:
    """Convert database errors to CommandError."""
    from zatotx.model.errors import ServiceError

    try:
        yield
    except ServiceError as error:
        raise CommandError(f'{error.details.rstrip(".")}.') from None
    except ValueError as error:
        raise CommandError(f'{str(error).rstrip(".")}.') from None


@contextmanager
def database(place: Environment) -> Iterator[Database]:
    """Open the database of an environment, and close it at the end. Database errors are raised as CommandError."""
    from zatotx.odb.setup import open_database

    part = any_server(place)
    with error_sentences():
        opened = open_database(odb_url(part), read_secret_key(part), cluster=cluster_name(place), types=object_types())
        try:
            yield opened
        finally:
            opened.close()
