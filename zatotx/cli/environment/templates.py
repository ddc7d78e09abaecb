"""The files of an environment as quickstart creates them."""

from __future__ import annotations

import getpass
import json
import os
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from zatotx import __version__
from zatotx.cli.environment.atomic_files import make_private_dir, toml_string, write_private_file
from zatotx.cli.environment.layout import CREDENTIALS, INFO_FILE, REDIS, SERVER, Credentials

ODB_FILE = 'odb/zatotx.db'
SERVER_DIRS = ('config', 'logs', 'work', 'pickup/incoming/services')

SERVER_TOML = """\
# Settings of this server, read when it starts. Relative paths are relative to the server's directory.
# ${{NAME}} in a string is replaced by an environment variable; a string file:PATH by the contents of that file.

[main]
name = {name}
cluster = {cluster}
workers = {workers}              # processes that share the listening sockets; at most one per CPU core is useful
# core_dumps = false     whether a crash may write a core dump, which contains keys and passwords

{kinds}[odb]
url = {odb}

[kvdb]
url = {redis}
timeout = 5              # seconds per command
# ca = "config/redis-ca.pem"     CA of the certificate of a rediss:// server; default: the system's CAs
# cert, key                      files of a client certificate, if that server requires one

[threads]
services = 20            # maximum number of `def` services that run at the same time

[hot_deploy]
pickup_dir = "pickup/incoming/services"

[log]
level = "info"           # trace1, debug, info, warning, error, critical
# form = "json"          one JSON object per line, in the access log too; default: "text"
# max_size = 20000000    bytes after which a log file is rotated
# keep = 10              number of rotated files to keep

[log.levels]             # by category, service or logger; `zatotx log level` sets them temporarily
# kvdb = "warning"
# "crm.get-balance" = "debug"

[user_config]            # your INI files, which services read: self.user_config.<name>.<section>.<key>
# app = "config/app.ini"

[shutdown]
grace = 10               # seconds that running requests get to finish
"""

CREDENTIALS_TOML = """\
# Passwords in clear, for users and for the zatotx command: only the owner may read this file (0600).
# Change a password with 'zatotx update password', which changes the cluster and this file together.
"""


class EnvironmentPlan(NamedTuple):
    """The options of quickstart, with the generated secrets."""

    cluster: str
    ports: tuple[int, ...]  # of server1, server2 …
    odb_url: str  # '' = SQLite in the environment
    redis_url: str  # '' = the environment's own
    key: str
    users: dict[str, Credentials]  # by section of credentials.toml
    workers: int = 1  # of each server

    def odb_url_from(self, directory: Path) -> str:
        """Return the URL of the database while the environment is being created in `directory`."""
        return self.odb_url or f'sqlite:///{directory / ODB_FILE}'

    def api_users(self) -> list[Credentials]:
        """Return the users that are security definitions of the cluster."""
        return [self.users['api'], self.users['pubapi']]


def write_redis(environment: Path) -> None:
    """Create the directory of the embedded Redis; its first start creates the rest."""
    directory = make_private_dir(environment / 'redis')
    make_private_dir(directory / 'logs')
    write_info(directory, REDIS)


def write_server(environment: Path, plan: EnvironmentPlan, number: int) -> None:
    """Create a server: its directories, its settings, and the key that it shares with the others."""
    directory = make_private_dir(environment / f'server{number}')
    for name in SERVER_DIRS:
        make_private_dir(directory / name)
    write_private_file(directory / 'config' / 'secret.key', plan.key + '\n')
    text = SERVER_TOML.format(
        name=toml_string(directory.name),
        cluster=toml_string(plan.cluster),
        workers=plan.workers,
        kinds=''.join(text.format(port=plan.ports[number - 1]) + '\n' for text in settings_templates()),
        odb=toml_string(stored_url(plan, plan.odb_url) or f'sqlite:///../{ODB_FILE}'),
        redis=toml_string(stored_url(plan, plan.redis_url) or 'unix://../redis/redis.sock'),
    )
    write_private_file(directory / 'config' / 'server.toml', text)
    write_info(directory, SERVER)


def settings_templates() -> list[str]:
    """The sections of the kinds that have one to begin with."""
    from zatotx.connectors.kind_registry import find_kinds

    return [found.load(found.kind.settings_template) for found in find_kinds() if found.kind.settings_template]


def stored_url(plan: EnvironmentPlan, url: str) -> str:
    """Return a URL as it is written to server.toml: encrypted if it may contain a password."""
    from zatotx.odb.secrets import Secrets

    return Secrets(plan.key).encrypt(url) if '@' in url or 'password=' in url else url


def write_credentials(environment: Path, plan: EnvironmentPlan) -> None:
    """Write credentials.toml with users and ports."""
    lines = [CREDENTIALS_TOML]
    for section, user in plan.users.items():
        lines.append(f'[{section}]\nusername = {toml_string(user.username)}\npassword = {toml_string(user.password)}\n')
    lines.append('[ports]')
    lines.extend(f'server{number} = {port}' for number, port in enumerate(plan.ports, 1))
    write_private_file(environment / CREDENTIALS, '\n'.join(lines) + '\n')


def write_info(directory: Path, component: str) -> None:
    """Write `.zato-info` with Zato's fields: the type of component, and who created it when with which version."""
    info = {
        'component': component,
        'version': __version__,
        'created_user_host': f'{user_name()}@{socket.gethostname()}',
        'created_ts': datetime.now(UTC).isoformat(),
    }
    write_private_file(directory / INFO_FILE, json.dumps(info, indent=2) + '\n')


def user_name() -> str:
    """Return the name of the current user, or the user id if there is no name, as in many containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
