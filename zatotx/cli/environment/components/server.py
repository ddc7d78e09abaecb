"""Operations on servers: settings file, readiness, and creation by quickstart."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from zatotx.cli.environment.atomic_files import make_private_dir, toml_string, write_private_file
from zatotx.cli.environment.blocking_http_request import (
    BlockingRequest,
    BlockingResponse,
    IncompleteResponseError,
    UnreachableError,
    send_request,
)
from zatotx.cli.environment.component_types import SERVER
from zatotx.cli.environment.components.component_operations import GRACE, ComponentOperations
from zatotx.cli.environment.creation_plan import ODB_FILE, CreationStep, EnvironmentPlan
from zatotx.cli.environment.environment_authority import link_certificate, server_certificate_name
from zatotx.cli.environment.environment_layout import Component, get_setting, read_settings
from zatotx.cli.environment.initial_files import write_info
from zatotx.cli.environment.listen_addresses import (
    ListenAddress,
    first_tcp_address,
    listen_descriptions,
    split_endpoint_description,
    tcp_addresses,
)
from zatotx.cli.environment.process_discovery import (
    ComponentProcess,
    is_listening_on_port,
    missing_workers_sentence,
    replace_workers,
)
from zatotx.cli.environment.secret_key_access import key_file

PICKUP = 'pickup/incoming/services'
TLS_FILES = 'privateKey=tls/zato-server-priv-key.pem:certKey=tls/zato-server-cert.pem'
SERVER_DIRS = ('config', 'logs', 'work', PICKUP)

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


class ServerOperations(ComponentOperations):
    """Implements ComponentOperations for servers."""

    def listen_addresses(self, part: Component) -> Iterator[ListenAddress]:
        return tcp_addresses(part)

    def address(self, part: Component) -> str:
        return first_tcp_address(part).url

    def readiness_error(self, part: Component, process: ComponentProcess, timeout: float) -> str:
        return server_not_ready_reason(part, process.pid, timeout) or missing_workers_sentence(part, process)

    def grace_period(self, part: Component) -> float:
        grace: float = get_setting(read_settings(part), 'shutdown', 'grace', GRACE)
        return grace

    def restart_in_place(self, part: Component) -> list[str] | None:
        return replace_workers(part, self.grace_period(part))

    def writable_directories(self, part: Component) -> list[Path]:
        pickup = get_setting(read_settings(part), 'hot_deploy', 'pickup_dir', PICKUP)
        return [part.path / 'logs', part.path / 'work', part.path / pickup]

    def secret_files(self, part: Component) -> Iterator[Path]:
        yield part.settings_path
        yield key_file(part)
        yield from private_key_files(part)

    def creation_steps(self, environment: Path, plan: EnvironmentPlan) -> list[CreationStep]:
        return [
            CreationStep(f'server{number}', partial(write_server, environment, plan, number))
            for number in range(1, plan.servers + 1)
        ]

    def ports(self, plan: EnvironmentPlan) -> Mapping[str, int]:
        return {f'server{number}': port for number, port in enumerate(plan.server_ports, 1)}

    def summary(self, plan: EnvironmentPlan) -> list[tuple[str, str]]:
        scheme = 'https' if plan.tls else 'http'
        return [(name, f'{scheme}://127.0.0.1:{port}') for name, port in self.ports(plan).items()]


OPERATIONS = ServerOperations()


def server_not_ready_reason(part: Component, pid: int, timeout: float) -> str:
    """Return the reason why a server is not ready, or '' if it is ready. Only responses of the component's own process
    are accepted, because another program, or a server of another environment, may use the port."""
    listen_address = first_tcp_address(part)
    if not is_listening_on_port(pid, listen_address.port):
        return f'it is not listening on port {listen_address.port} yet'
    try:
        response = send_request(listen_address, BlockingRequest('GET', '/zato/ready'), timeout)
    except (UnreachableError, IncompleteResponseError) as error:
        return str(error)
    return '' if response.status == 200 else parse_not_ready_reasons(response)


def parse_not_ready_reasons(answer: BlockingResponse) -> str:
    """Return the reasons in the body of a 503 response of /zato/ready."""
    try:
        found = json.loads(answer.body)['reasons']
    except (ValueError, KeyError, TypeError):
        found = []
    return '; '.join(map(str, found)) or f'/zato/ready responds with {answer.status}'


def private_key_files(part: Component) -> Iterator[Path]:
    """Yield the private key files of the TLS endpoints."""
    for description in listen_descriptions(part):
        kind, *fields = split_endpoint_description(description.removeprefix('haproxy:'))
        named = dict(field.split('=', 1) for field in fields if '=' in field)
        if kind == 'ssl':
            yield part.path / named.get('privateKey', 'server.pem')


def write_server(environment: Path, plan: EnvironmentPlan, number: int) -> None:
    """Create a server with its directories, its settings, and the secret key that it shares with the other nodes."""
    directory = environment / f'server{number}'
    # The load balancer connects from this address: what it says about clients counts, e.g. for limits of their rates.
    proxies = '["127.0.0.1"]' if plan.load_balancer else '[]'
    write_server_directory(
        directory, cluster=plan.cluster, workers=plan.workers, sections=kind_settings_sections(plan, number, proxies),
        urls=(plan.stored_url(plan.odb_url) or f'sqlite:///../{ODB_FILE}',
              plan.stored_url(plan.redis_url) or 'unix://../redis/redis.sock'), key=plan.key,
    )  # fmt: skip
    if plan.tls:
        link_certificate(directory / 'tls', 'zato-server', server_certificate_name(plan.cluster, directory.name))


def write_server_directory(
    directory: Path, *, cluster: str, workers: int, sections: str, urls: tuple[str, str], key: str
) -> None:
    """Create a server whose name is the name of its directory. `sections` are the settings sections of the kinds.
    `urls` are the URLs of the database and Redis, in the form that settings files use."""
    make_private_dir(directory)
    for name in SERVER_DIRS:
        make_private_dir(directory / name)
    write_private_file(directory / 'config' / 'secret.key', key + '\n')
    text = SERVER_TOML.format(
        name=toml_string(directory.name), cluster=toml_string(cluster), workers=workers, kinds=sections,
        odb=toml_string(urls[0]), redis=toml_string(urls[1]),
    )  # fmt: skip
    write_private_file(directory / 'config' / 'server.toml', text)
    write_info(directory, SERVER)


def kind_settings_sections(plan: EnvironmentPlan, number: int, proxies: str) -> str:
    """Return the sections of the kinds in the settings of a new server."""
    port = plan.server_ports[number - 1]
    text = ''.join(template.format(port=port, proxies=proxies) + '\n' for template in settings_templates())
    return text.replace(f'"tcp:port={port}:', f'"ssl:port={port}:{TLS_FILES}:') if plan.tls else text


def settings_templates() -> list[str]:
    """Return the initial settings section of each kind that has one."""
    from zatotx.connectors.kind_registry import find_kinds

    return [found.load(found.kind.settings_template) for found in find_kinds() if found.kind.settings_template]
