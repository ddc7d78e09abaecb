"""The files of an environment as quickstart writes them."""

from __future__ import annotations

import getpass
import json
import os
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from zatotx import __version__
from zatotx.cli.environment.layout import CREDENTIALS, INFO_FILE, REDIS, SERVER, Credentials
from zatotx.cli.environment.private_files import make_dir, toml_string, write

ODB_FILE = 'odb/zatotx.db'
SERVER_DIRS = ('config', 'logs', 'work', 'pickup/incoming/services')

SERVER_TOML = """\
# Settings of this server, read when it starts. Relative paths are relative to the server's directory.
# In any text ${{NAME}} is a variable of the environment; a text file:PATH is what that file holds.

[main]
name = {name}
cluster = {cluster}
workers = {workers}              # processes that share the listening sockets; more than cores bring nothing
# core_dumps = false     whether a process that crashes may leave one: it holds keys and passwords

{kinds}[odb]
url = {odb}

[kvdb]
url = {redis}
timeout = 5              # seconds for one command
# ca = "config/redis-ca.pem"     who signed the certificate of a rediss:// server; default: the system's CAs
# cert, key                      files of a client certificate, where that server wants one

[threads]
services = 20            # `def` services at the same time

[hot_deploy]
pickup_dir = "pickup/incoming/services"

[log]
level = "info"           # trace1, debug, info, warning, error, critical
# form = "json"          one JSON object a line, in the access log too; default: text
# max_size = 20000000    bytes after which a file becomes .1
# keep = 10              such files

[log.levels]             # by area, service or logger; `zatotx log level` sets them for a while
# kvdb = "warning"
# "crm.get-balance" = "debug"

[user_config]            # INI files of your own, for services: self.user_config.<name>.<section>.<key>
# app = "config/app.ini"

[shutdown]
grace = 10               # seconds that requests under way get to finish
"""

CREDENTIALS_TOML = """\
# Passwords in clear, for people and for the zatotx command: keep this file to yourself (0600).
# Change one with 'zatotx update password', which changes the cluster and this file together.
"""


class EnvironmentPlan(NamedTuple):
    """What quickstart was asked for, with the secrets it made."""

    cluster: str
    ports: tuple[int, ...]  # of server1, server2 …
    odb_url: str  # '' = SQLite in the environment
    redis_url: str  # '' = the environment's own
    key: str
    users: dict[str, Credentials]  # by section of credentials.toml
    workers: int = 1  # of each server

    def odb_url_from(self, directory: Path) -> str:
        """Where the database is while the environment is made in `directory`."""
        return self.odb_url or f'sqlite:///{directory / ODB_FILE}'

    def api_users(self) -> list[Credentials]:
        """Those that are security definitions of the cluster."""
        return [self.users['api'], self.users['pubapi']]


def write_redis(environment: Path) -> None:
    """The directory of the embedded Redis; the rest is made by its first start."""
    directory = make_dir(environment / 'redis')
    make_dir(directory / 'logs')
    write_info(directory, REDIS)


def write_server(environment: Path, plan: EnvironmentPlan, number: int) -> None:
    """One server: its directories, its settings, the key it shares with the others."""
    directory = make_dir(environment / f'server{number}')
    for name in SERVER_DIRS:
        make_dir(directory / name)
    write(directory / 'config' / 'secret.key', plan.key + '\n')
    text = SERVER_TOML.format(
        name=toml_string(directory.name),
        cluster=toml_string(plan.cluster),
        workers=plan.workers,
        kinds=''.join(text.format(port=plan.ports[number - 1]) + '\n' for text in settings_templates()),
        odb=toml_string(stored_url(plan, plan.odb_url) or f'sqlite:///../{ODB_FILE}'),
        redis=toml_string(stored_url(plan, plan.redis_url) or 'unix://../redis/redis.sock'),
    )
    write(directory / 'config' / 'server.toml', text)
    write_info(directory, SERVER)


def settings_templates() -> list[str]:
    """The sections of the kinds that have one to begin with."""
    from zatotx.connectors.kind_registry import find_kinds

    return [found.load(found.kind.settings_template) for found in find_kinds() if found.kind.settings_template]


def stored_url(plan: EnvironmentPlan, url: str) -> str:
    """A URL as a settings file may hold it: encrypted where there may be a password in it."""
    from zatotx.odb.secrets import Secrets

    return Secrets(plan.key).encrypt(url) if '@' in url or 'password=' in url else url


def write_credentials(environment: Path, plan: EnvironmentPlan) -> None:
    """Users and ports, for people and for the command line."""
    lines = [CREDENTIALS_TOML]
    for section, user in plan.users.items():
        lines.append(f'[{section}]\nusername = {toml_string(user.username)}\npassword = {toml_string(user.password)}\n')
    lines.append('[ports]')
    lines.extend(f'server{number} = {port}' for number, port in enumerate(plan.ports, 1))
    write(environment / CREDENTIALS, '\n'.join(lines) + '\n')


def write_info(directory: Path, component: str) -> None:
    """`.zato-info`, with Zato's fields: what the directory is, made by which version, by whom and when."""
    made = {
        'component': component,
        'version': __version__,
        'created_user_host': f'{user_name()}@{socket.gethostname()}',
        'created_ts': datetime.now(UTC).isoformat(),
    }
    write(directory / INFO_FILE, json.dumps(made, indent=2) + '\n')


def user_name() -> str:
    """Who runs this; the number where no name goes with it, as in many containers."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
