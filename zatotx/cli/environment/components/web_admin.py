"""Operations on the web admin of an environment."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from attrs import frozen

from zatotx.admin.break_glass_file import FILE
from zatotx.cli.environment.atomic_files import make_private_dir, toml_string, write_private_file
from zatotx.cli.environment.blocking_http_request import (
    BlockingRequest,
    IncompleteResponseError,
    UnreachableError,
    send_request,
)
from zatotx.cli.environment.component_types import WEB_ADMIN
from zatotx.cli.environment.components.component_operations import ComponentOperations
from zatotx.cli.environment.components.load_balancer import AGENT_PORT
from zatotx.cli.environment.creation_plan import CreationStep, EnvironmentPlan
from zatotx.cli.environment.environment_authority import WEB_ADMIN as CERTIFICATE
from zatotx.cli.environment.environment_authority import link_certificate
from zatotx.cli.environment.environment_layout import Component, UserCredentials, components_of, get_setting, read_toml
from zatotx.cli.environment.initial_files import write_info
from zatotx.cli.environment.listen_addresses import ListenAddress, parse_listen_address
from zatotx.cli.environment.process_discovery import ComponentProcess, is_listening_on_port
from zatotx.cli.errors import CommandError

NAME, PORT = 'web-admin', 8183
DEFAULT_LISTEN = f'tcp:{PORT}:interface=127.0.0.1'

ADMIN_TOML = """\
# Settings of the web admin, read when it starts. Relative paths are relative to the directory web-admin/.

[web]
listen = {listen}     # a Twisted endpoint; ssl:{port}:privateKey=…:certKey=… serves HTTPS
hosts = []               # names in URLs by which browsers may call it, beside addresses and localhost
# is_behind_https = true   a proxy in front of it terminates TLS: cookies are Secure
# read_only = true         reject all changes

[cluster]
name = {cluster}
servers = [{servers}]   # tried in order; or the load balancer
{ca}# timeout = 30             seconds per call

[load_balancer]
agent = {agent}    # "" = there is none
"""


BREAK_GLASS = 'break_glass'  # section of credentials.toml
BREAK_GLASS_USER = 'break-glass'
BREAK_GLASS_TOML = """\
# The account that opens the screens of the load balancer when no server answers. Its password is in credentials.toml;
# change it with 'zatotx update password'. Without this file there is no such account.
username = {username}
password_hash = {password_hash}
"""


class WebAdminOperations(ComponentOperations):
    """Implements ComponentOperations for the web admin."""

    def listen_addresses(self, part: Component) -> Iterator[ListenAddress]:
        description = str(get_setting(read_toml(part.settings_path), 'web', 'listen', DEFAULT_LISTEN))
        address = parse_listen_address(description, part.path)
        if address is not None:
            yield address._replace(section='web')

    def address(self, part: Component) -> str:
        return _address(self, part).url

    def readiness_error(self, part: Component, process: ComponentProcess, timeout: float) -> str:
        address = _address(self, part)
        if not is_listening_on_port(process.pid, address.port):
            return f'it is not listening on port {address.port} yet'
        try:
            response = send_request(address, BlockingRequest('GET', '/login'), timeout)
        except (UnreachableError, IncompleteResponseError) as error:
            return str(error)
        return '' if response.status == 200 else f'/login responds with {response.status}'

    def writable_directories(self, part: Component) -> list[Path]:
        return [part.path / 'logs']

    def creation_steps(self, environment: Path, plan: EnvironmentPlan) -> list[CreationStep]:
        return [CreationStep('Web admin', partial(_write_planned, environment, plan))] if plan.web_admin else []

    def ports(self, plan: EnvironmentPlan) -> Mapping[str, int]:
        return {NAME: PORT + plan.port_offset} if plan.web_admin else {}

    def summary(self, plan: EnvironmentPlan) -> list[tuple[str, str]]:
        if not plan.web_admin:
            return []
        user = plan.users['web_admin'].username
        return [('Web admin', f'http://127.0.0.1:{PORT + plan.port_offset}  (user {user})')]


OPERATIONS = WebAdminOperations()


def _address(operations: WebAdminOperations, part: Component) -> ListenAddress:
    for address in operations.listen_addresses(part):
        return address
    raise CommandError(f'{part.name} does not listen on a TCP port: set [web] listen in {part.settings_path}.')


def _agent_url(plan: EnvironmentPlan) -> str:
    """Return the URL of the load balancer's agent; '' if there is none."""
    scheme = 'https' if plan.agent_tls else 'http'
    return f'{scheme}://127.0.0.1:{AGENT_PORT + plan.port_offset}' if plan.load_balancer else ''


@frozen(kw_only=True)
class NewWebAdmin:
    """The settings of a new web admin."""

    port: int
    cluster: str
    servers: Sequence[str]  # URLs
    agent: str  # URL; '' = there is none
    tls: bool  # whether the servers have certificates of the environment's authority
    break_glass: UserCredentials | None = None  # of the local account for when no server answers; None = without one


def write_web_admin(directory: Path, new: NewWebAdmin) -> None:
    """Create the web admin with its directories and its settings. It has no secrets of its own, because its users log
    in with their passwords."""
    make_private_dir(directory)
    for name in ('config', 'logs'):
        make_private_dir(directory / name)
    text = ADMIN_TOML.format(
        listen=toml_string(f'tcp:{new.port}:interface=127.0.0.1'),
        port=new.port,
        cluster=toml_string(new.cluster),
        servers=', '.join(map(toml_string, new.servers)),
        ca='ca = "tls/web-admin-ca-certs.pem"\n' if new.tls else '',
        agent=toml_string(new.agent),
    )
    write_private_file(directory / 'config' / 'admin.toml', text)
    if new.break_glass is not None:
        write_break_glass(directory, new.break_glass)
    write_info(directory, WEB_ADMIN)


def write_break_glass(directory: Path, account: UserCredentials) -> None:
    """Write the file with the user name and the password hash of the break-glass account."""
    from zatotx.odb.secrets import hash_secret

    text = BREAK_GLASS_TOML.format(
        username=toml_string(account.username), password_hash=toml_string(hash_secret(account.password))
    )
    write_private_file(directory / 'config' / FILE, text)


def find_break_glass(environment: Path) -> tuple[Path, str] | None:
    """Return the directory of the web admin, and the name of its break-glass account, or None if there is no such
    account."""
    for part in components_of(environment):
        if part.kind == WEB_ADMIN and (part.path / 'config' / FILE).exists():
            return part.path, str(read_toml(part.path / 'config' / FILE).get('username', ''))
    return None


def _write_planned(environment: Path, plan: EnvironmentPlan) -> None:
    scheme = 'https' if plan.tls else 'http'
    directory = environment / NAME
    write_web_admin(directory, NewWebAdmin(
        port=PORT + plan.port_offset, cluster=plan.cluster, agent=_agent_url(plan), tls=plan.tls,
        servers=[f'{scheme}://127.0.0.1:{port}' for port in plan.server_ports],
        break_glass=plan.users[BREAK_GLASS],
    ))  # fmt: skip
    link_certificate(directory / 'tls', 'web-admin', CERTIFICATE)
