"""Operations on the load balancer: addresses, readiness, and creation by quickstart."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from zatotx.cli.environment.atomic_files import make_private_dir, write_private_file
from zatotx.cli.environment.blocking_http_request import (
    BlockingRequest,
    IncompleteResponseError,
    UnreachableError,
    send_request,
)
from zatotx.cli.environment.component_types import LOAD_BALANCER
from zatotx.cli.environment.components.component_operations import ComponentOperations
from zatotx.cli.environment.creation_plan import CreationStep, EnvironmentPlan
from zatotx.cli.environment.environment_authority import AGENT, link_certificate
from zatotx.cli.environment.environment_layout import Component, read_toml
from zatotx.cli.environment.initial_files import write_info
from zatotx.cli.environment.listen_addresses import ListenAddress, parse_listen_address
from zatotx.cli.environment.process_discovery import (
    ComponentProcess,
    is_listening_on_port,
    missing_workers_sentence,
    replace_workers,
)
from zatotx.rules.listen_address import to_endpoint

NAME = 'load-balancer'  # of its directory
PORT, AGENT_PORT = 11223, 20151  # Zato's
ALIVE_PATH = '/zato-lb-alive'
GRACE = 30.0  # seconds, the default of shutdown.grace in lb.toml
DIRECTORIES = ('config', 'errors', 'logs', 'tls', 'work')


class InitialServer(NamedTuple):
    """A server to which a new load balancer sends requests."""

    name: str
    host: str
    port: int


class InitialAgent(NamedTuple):
    """The settings of the agent of a new load balancer."""

    port: int
    tls: bool
    has_revocation_list: bool = True
    is_linked: bool = False  # its files are links to those of the environment's authority


class LoadBalancerOperations(ComponentOperations):
    """Implements ComponentOperations for the load balancer."""

    def listen_addresses(self, part: Component) -> Iterator[ListenAddress]:
        for name, frontend in _tables(part, 'frontends'):
            for address in frontend.get('listen', ()):
                found = parse_listen_address(to_endpoint(str(address)), part.path)
                if found is not None:
                    scheme = 'https' if 'tls' in frontend else 'http'
                    yield found._replace(scheme=scheme, section=f'frontends.{name}')
        agent = read_toml(part.settings_path).get('agent', {})
        if isinstance(agent, dict) and agent.get('enabled'):
            found = parse_listen_address(to_endpoint(str(agent.get('listen', f'127.0.0.1:{AGENT_PORT}'))), part.path)
            if found is not None:
                yield found._replace(scheme='http' if agent.get('certificate') == '' else 'https', section='agent')

    def address(self, part: Component) -> str:
        found = next(self.listen_addresses(part), None)
        return found.url if found is not None else ''

    def readiness_error(self, part: Component, process: ComponentProcess, timeout: float) -> str:
        addresses = list(self.listen_addresses(part))
        for address in addresses:
            if not is_listening_on_port(process.pid, address.port):
                return f'it is not listening on port {address.port} yet'
        return load_balancer_not_ready_reason(part, addresses, timeout) or missing_workers_sentence(part, process)

    def grace_period(self, part: Component) -> float:
        grace = read_toml(part.settings_path).get('shutdown', {}).get('grace', GRACE)
        return float(grace) if isinstance(grace, int | float) else GRACE

    def restart_in_place(self, part: Component) -> list[str] | None:
        return replace_workers(part, self.grace_period(part))

    def writable_directories(self, part: Component) -> list[Path]:
        return [part.path / name for name in ('config', 'logs', 'work')]

    def secret_files(self, part: Component) -> Iterator[Path]:
        yield part.settings_path
        yield from sorted((part.path / 'tls').glob('*'))
        yield from sorted((part.path / 'tls-agent').glob('*-priv-key.pem'))

    def creation_steps(self, environment: Path, plan: EnvironmentPlan) -> list[CreationStep]:
        if not plan.load_balancer:
            return []
        servers = [
            InitialServer(f'server{number}', '127.0.0.1', port) for number, port in enumerate(plan.server_ports, 1)
        ]
        port = PORT + plan.port_offset
        return [CreationStep('Load balancer', partial(
            write_load_balancer, environment / NAME, cluster=plan.cluster, servers=servers, port=port,
            agent=InitialAgent(AGENT_PORT + plan.port_offset, plan.agent_tls, is_linked=True), servers_tls=plan.tls,
        ))]  # fmt: skip

    def ports(self, plan: EnvironmentPlan) -> Mapping[str, int]:
        offset = plan.port_offset
        return {NAME: PORT + offset, 'lb-agent': AGENT_PORT + offset} if plan.load_balancer else {}

    def summary(self, plan: EnvironmentPlan) -> list[tuple[str, str]]:
        return [('Balancer', f'http://127.0.0.1:{PORT + plan.port_offset}')] if plan.load_balancer else []


OPERATIONS = LoadBalancerOperations()


def _tables(part: Component, name: str) -> list[tuple[str, dict[str, Any]]]:
    """Return the tables below [frontends] or [backends] of lb.toml."""
    found = read_toml(part.settings_path).get(name, {})
    tables = found.items() if isinstance(found, dict) else ()
    return [(key, table) for key, table in tables if isinstance(table, dict)]


def load_balancer_not_ready_reason(part: Component, addresses: Sequence[ListenAddress], timeout: float) -> str:
    """Return the reason why the load balancer does not respond on its first plain HTTP frontend. Returns '' if it
    responds, or if it has no such frontend."""
    for name, frontend in _tables(part, 'frontends'):
        path = str(frontend.get('alive_path', ALIVE_PATH))
        is_plain = frontend.get('mode', 'http') == 'http' and 'tls' not in frontend
        address = next((each for each in addresses if each.section == f'frontends.{name}'), None)
        if address is None or not path or not is_plain or frontend.get('proxy_protocol') or frontend.get('allow'):
            continue
        try:
            response = send_request(address, BlockingRequest('GET', path), timeout)
        except (UnreachableError, IncompleteResponseError) as error:
            return str(error)
        return '' if response.status == 200 else f'{path} responds with {response.status}'
    return ''


def write_load_balancer(
    directory: Path, *, cluster: str, servers: Sequence[InitialServer], port: int = PORT, name: str = NAME,
    agent: InitialAgent | None = None, servers_tls: bool = False,
) -> None:  # fmt: skip
    """Create a load balancer with its directories, an lb.toml with new credentials for the statistics page, and the
    body of the 503 response. If `agent` is None, the agent is disabled. `servers_tls` says whether the servers have
    certificates of the environment's authority.
    """
    from zatotx.lb.config.model import ERROR_503
    from zatotx.lb.config.template import ServerAddress, make_configuration

    make_private_dir(directory)
    for each in DIRECTORIES:
        make_private_dir(directory / each)
    text = make_configuration(
        name=name, cluster=cluster, servers=[ServerAddress(*server) for server in servers], port=port,
        stats_password=secrets.token_hex(16), has_agent=agent is not None, servers_tls=servers_tls,
        agent_port=agent.port if agent else AGENT_PORT, agent_tls=agent.tls if agent else True,
        has_agent_crl=agent is None or agent.has_revocation_list,
    )  # fmt: skip
    if agent is not None and agent.is_linked:
        link_certificate(directory / 'tls-agent', 'zato-lba', AGENT)
    write_private_file(directory / 'config' / 'lb.toml', text)
    write_private_file(directory / 'errors' / '503.json', ERROR_503.body.decode() + '\n')
    write_info(directory, LOAD_BALANCER)
