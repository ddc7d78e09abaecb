"""The cluster file, which contains the settings that all nodes of an environment's cluster share: the name of the
cluster, the database, Redis and the secret key.

`zatotx create cluster` writes it to PATH/config/cluster.toml and PATH/config/secret.key, for an environment whose nodes
are created later. In any other environment it is read from the first node.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from zatotx.cli.environment.atomic_files import make_private_dir, toml_string, write_private_file
from zatotx.cli.environment.components.redis import URL as REDIS_URL
from zatotx.cli.environment.creation_plan import ODB_FILE, EnvironmentPlan
from zatotx.cli.environment.environment_layout import Component, components_of
from zatotx.cli.environment.secret_key_access import read_secret_key
from zatotx.cli.errors import CommandError

CLUSTER_FILE, KEY_FILE = Path('config', 'cluster.toml'), Path('config', 'secret.key')

_TEXT = """\
# What the nodes of this cluster share: `zatotx create server` and `zatotx create connector` copy it to their settings.
# Relative paths are relative to the directory of a node. The secret key of the cluster is in secret.key.

[main]
cluster = {cluster}

[odb]
url = {odb}

[kvdb]
url = {redis}
"""


class SharedSettings(NamedTuple):
    """The settings that the nodes of a cluster share. The URLs have the same form as in settings files, in which URLs
    with a password are encrypted."""

    cluster: str
    odb_url: str
    redis_url: str
    key: str


def stored_urls(plan: EnvironmentPlan) -> tuple[str, str]:
    """Return the URLs of the database and Redis for the settings files of the nodes of a new environment."""
    return (
        plan.stored_url(plan.odb_url) or f'sqlite:///../{ODB_FILE}',
        plan.stored_url(plan.redis_url) or REDIS_URL,
    )


def write_cluster_files(environment: Path, plan: EnvironmentPlan) -> None:
    """Write the cluster file and the secret key, which are used to create nodes later."""
    make_private_dir(environment / 'config')
    write_private_file(environment / KEY_FILE, plan.key + '\n')
    odb, redis = stored_urls(plan)
    text = _TEXT.format(cluster=toml_string(plan.cluster), odb=toml_string(odb), redis=toml_string(redis))
    write_private_file(environment / CLUSTER_FILE, text)


def read_shared_settings(environment: Path) -> SharedSettings:
    """Return the settings that the nodes of an environment share. Raises CommandError if the environment has neither a
    node nor a cluster file."""
    node = next((part for part in components_of(environment) if part.type.is_node), None)
    if node is not None:
        return _parse(node.settings_path, read_secret_key(node))
    file = environment / CLUSTER_FILE
    if not file.is_file():
        raise CommandError(f'{environment} has no node whose settings another one could take, and no {CLUSTER_FILE}.')
    return _parse(file, (environment / KEY_FILE).read_text('ascii').strip())


def next_component_name(environment: Path, parts: tuple[Component, ...], kind: str, prefix: str) -> tuple[str, int]:
    """Return the name and the number of the next component of a type, such as (`server3`, 3)."""
    number = 1 + sum(part.kind == kind for part in parts)
    while (environment / f'{prefix}{number}').exists():
        number += 1
    return f'{prefix}{number}', number


def _parse(file: Path, key: str) -> SharedSettings:
    settings = tomllib.loads(file.read_text('utf-8'))
    return SharedSettings(
        _text(settings, 'main', 'cluster', file), _text(settings, 'odb', 'url', file),
        _text(settings, 'kvdb', 'url', file), key,
    )  # fmt: skip


def _text(settings: Mapping[str, Any], section: str, key: str, file: Path) -> str:
    value = settings.get(section, {}).get(key)
    if not isinstance(value, str):
        raise CommandError(f'{file} has no {section}.{key}.')
    return value
