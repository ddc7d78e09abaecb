"""Operations on connectors: settings file, readiness, and creation by quickstart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from attrs import frozen

from zatotx.cli.environment.atomic_files import make_private_dir, toml_string, write_private_file
from zatotx.cli.environment.component_types import CONNECTOR
from zatotx.cli.environment.components.component_operations import GRACE, ComponentOperations
from zatotx.cli.environment.components.server import private_key_files, server_not_ready_reason
from zatotx.cli.environment.creation_plan import ODB_FILE, CreationStep, EnvironmentPlan
from zatotx.cli.environment.environment_layout import Component, get_setting, read_settings
from zatotx.cli.environment.initial_files import write_info
from zatotx.cli.environment.listen_addresses import ListenAddress, first_tcp_address, tcp_addresses
from zatotx.cli.environment.process_discovery import ComponentProcess
from zatotx.cli.environment.secret_key_access import key_file

PORT = 17031  # of connector1; each further connector has the next one
_DIRECTORIES = ('config', 'logs', 'work')

CONNECTOR_TOML = """\
# Settings of this connector, read when it starts. Relative paths are relative to its directory.
# ${{NAME}} in a string is replaced by an environment variable; a string file:PATH by the contents of that file.

[main]
name = {name}
cluster = {cluster}
# connector_kinds = ["amqp"]     kinds whose channels run here; default: all kinds that fetch messages

[http]
# The connector's own endpoints: /zato/live, /zato/ready, /zato/metrics. For a kubelet or Prometheus on other hosts,
# listen on an address that they reach.
listen = ["tcp:port={port}:interface=127.0.0.1"]

[odb]
url = {odb}

[kvdb]
url = {redis}
timeout = 5              # seconds per command

[threads]
services = 20            # maximum number of `def` services that run at the same time

[log]
level = "info"           # trace1, debug, info, warning, error, critical

[shutdown]
grace = 10               # seconds that messages in progress get to finish
"""


class ConnectorOperations(ComponentOperations):
    """Implements ComponentOperations for connectors."""

    def listen_addresses(self, part: Component) -> Iterator[ListenAddress]:
        return tcp_addresses(part)

    def address(self, part: Component) -> str:
        return first_tcp_address(part).url

    def readiness_error(self, part: Component, process: ComponentProcess, timeout: float) -> str:
        return server_not_ready_reason(part, process.pid, timeout)

    def grace_period(self, part: Component) -> float:
        grace: float = get_setting(read_settings(part), 'shutdown', 'grace', GRACE)
        return grace

    def writable_directories(self, part: Component) -> list[Path]:
        return [part.path / 'logs', part.path / 'work']

    def secret_files(self, part: Component) -> Iterator[Path]:
        yield part.settings_path
        yield key_file(part)
        yield from private_key_files(part)

    def creation_steps(self, environment: Path, plan: EnvironmentPlan) -> list[CreationStep]:
        return [
            CreationStep(name, partial(write_connector, environment / name, _settings_of(plan, port)))
            for name, port in self.ports(plan).items()
        ]

    def ports(self, plan: EnvironmentPlan) -> Mapping[str, int]:
        first = PORT + plan.port_offset
        return {f'connector{number}': first + number - 1 for number in range(1, plan.connectors + 1)}

    def summary(self, plan: EnvironmentPlan) -> list[tuple[str, str]]:
        return [(name, f'http://127.0.0.1:{port}') for name, port in self.ports(plan).items()]


OPERATIONS = ConnectorOperations()


@frozen(kw_only=True)
class NewConnector:
    """The settings of a new connector. The URLs have the same form as in the settings file."""

    cluster: str
    port: int
    odb_url: str
    redis_url: str
    key: str


def write_connector(directory: Path, new: NewConnector) -> None:
    """Create a connector. Its directory contains the settings, and the secret key that all nodes share."""
    make_private_dir(directory)
    for name in _DIRECTORIES:
        make_private_dir(directory / name)
    write_private_file(directory / 'config' / 'secret.key', new.key + '\n')
    text = CONNECTOR_TOML.format(
        name=toml_string(directory.name), cluster=toml_string(new.cluster), port=new.port,
        odb=toml_string(new.odb_url), redis=toml_string(new.redis_url),
    )  # fmt: skip
    write_private_file(directory / 'config' / 'connector.toml', text)
    write_info(directory, CONNECTOR)


def _settings_of(plan: EnvironmentPlan, port: int) -> NewConnector:
    return NewConnector(
        cluster=plan.cluster, port=port, odb_url=plan.stored_url(plan.odb_url) or f'sqlite:///../{ODB_FILE}',
        redis_url=plan.stored_url(plan.redis_url) or 'unix://../redis/redis.sock', key=plan.key,
    )  # fmt: skip
