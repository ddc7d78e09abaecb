"""The plan of a new environment: the options of quickstart, and the steps that create the environment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from zatotx.cli.environment.environment_layout import UserCredentials

ODB_FILE = 'odb/zatotx.db'
SERVER_PORT = 17010  # port of server1; each further server has the next one


class CreationStep(NamedTuple):
    """One step of the creation of an environment."""

    text: str
    run: Callable[[], None]


class EnvironmentPlan(NamedTuple):
    """The options of quickstart, and the generated secrets."""

    cluster: str
    servers: int
    port_offset: int  # added to every default port
    odb_url: str  # '' = SQLite in the environment
    redis_url: str  # '' = the environment's own
    key: str
    users: dict[str, UserCredentials]  # by section of credentials.toml
    workers: int = 1  # of each server
    tls: bool = False  # whether the servers listen with TLS
    agent_tls: bool = True  # whether the load balancer's agent does
    load_balancer: bool = False  # whether there is one
    web_admin: bool = False  # whether there is one
    connectors: int = 0  # number of connectors

    @property
    def server_ports(self) -> list[int]:
        """The ports of server1, server2 …"""
        return [SERVER_PORT + self.port_offset + number for number in range(self.servers)]

    def odb_url_from(self, directory: Path) -> str:
        """Return the URL of the database while the environment is being created in `directory`."""
        return self.odb_url or f'sqlite:///{directory / ODB_FILE}'

    def api_users(self) -> list[UserCredentials]:
        """Return the users that are security definitions of the cluster."""
        return [self.users['api'], self.users['pubapi']]

    def stored_url(self, url: str) -> str:
        """Return a URL as it is written to a settings file: encrypted if it may contain a password."""
        from zatotx.odb.secrets import Secrets

        return Secrets(self.key).encrypt(url) if '@' in url or 'password=' in url else url
