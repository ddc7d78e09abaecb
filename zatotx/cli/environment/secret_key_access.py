"""Reads the secret key of an environment, and the values that were encrypted with the key."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from zatotx.cli.environment.component_types import SERVER
from zatotx.cli.environment.environment_layout import Component, Environment, components_of
from zatotx.cli.errors import CommandError
from zatotx.model.errors import StartError
from zatotx.processes.secret_key import KEY_VARIABLE, read_cluster_key

if TYPE_CHECKING:
    from zatotx.odb.secrets import Secrets


def key_file(part: Component) -> Path:
    return part.path / 'config' / 'secret.key'


def any_server(environment: Environment) -> Component:
    """Return the server in PATH, or the first server of the environment. Any server is suitable, because all servers
    share one key and one database."""
    found = environment.servers or [part for part in components_of(environment.environment) if part.kind == SERVER]
    if not found:
        raise CommandError(f'{environment.environment} has no server.')
    return found[0]


def read_secret_key(part: Component) -> str:
    """Return a server's secret key. Raises CommandError if the key is missing, accessible to other users or invalid."""
    from zatotx.odb.secrets import Secrets

    given = os.environ.get(KEY_VARIABLE)
    try:
        text = read_cluster_key(key_file(part), os.environ)
    except StartError as error:
        raise CommandError(f'{error}.') from None
    try:
        Secrets(text)
    except ValueError as error:
        raise CommandError(f'{KEY_VARIABLE if given else key_file(part)}: {error}.') from None
    return text


def open_secrets(part: Component) -> Secrets:
    """Return the Secrets object that encrypts and decrypts the values of a server. Raises CommandError like
    read_secret_key."""
    from zatotx.odb.secrets import Secrets

    return Secrets(read_secret_key(part))
