"""Creates components from environment variables, as in containers. The module reads the variables, and writes their
values to the settings."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomlkit
from attrs import frozen

from zatotx.cli.environment.atomic_files import atomic_directory, write_private_file
from zatotx.cli.environment.component_types import CONNECTOR, LOAD_BALANCER, SERVER, WEB_ADMIN
from zatotx.cli.environment.components.connector import PORT as CONNECTOR_PORT
from zatotx.cli.environment.components.connector import NewConnector, write_connector
from zatotx.cli.environment.components.load_balancer import PORT as LOAD_BALANCER_PORT
from zatotx.cli.environment.components.load_balancer import write_load_balancer
from zatotx.cli.environment.components.server import settings_templates, write_server_directory
from zatotx.cli.environment.components.web_admin import PORT as WEB_ADMIN_PORT
from zatotx.cli.environment.components.web_admin import NewWebAdmin, write_web_admin
from zatotx.cli.environment.container_agent import client_files, provide_certificates
from zatotx.cli.environment.container_variables import ContainerVariables
from zatotx.cli.environment.creation_plan import SERVER_PORT, EnvironmentPlan
from zatotx.cli.environment.environment_layout import INFO_FILE, Component, UserCredentials, read_component, read_toml
from zatotx.cli.environment.initial_files import write_credentials
from zatotx.cli.errors import CommandError

_PORTS = {SERVER: SERVER_PORT, CONNECTOR: CONNECTOR_PORT, LOAD_BALANCER: LOAD_BALANCER_PORT, WEB_ADMIN: WEB_ADMIN_PORT}
_MAX_WORKERS = 64
_MAX_NAME = 100  # characters


@frozen(kw_only=True)
class ClusterAccess:
    """The access of a node to its cluster. `users` are the users that the first server creates, by section of
    credentials.toml. They are empty for a node that waits until the cluster exists."""

    odb_url: str
    redis_url: str
    key: str
    users: Mapping[str, UserCredentials]


@frozen(kw_only=True)
class ContainerPlan:
    """The plan for one component that was read from environment variables. `listen` is the host and port."""

    kind: str
    name: str
    cluster: str
    listen: tuple[str, int]
    workers: int = 1
    trusted_proxies: tuple[str, ...] = ()
    servers: tuple[tuple[str, int], ...] = ()  # host and port of each
    hosts: tuple[str, ...] = ()
    stats_password: str = ''
    agent: tuple[str, int] | None = None  # where the load balancer's agent listens, or the web admin finds it
    agent_clients: str = ''  # directory with the web admin's certificate for it
    cluster_access: ClusterAccess | None = None  # nodes only


def read_container_plan(kind: str, variables: ContainerVariables, host_name: str) -> ContainerPlan:
    """Read the plan of a component from environment variables. Errors are collected in `variables`."""
    name = variables.text('NAME', host_name)
    cluster = variables.text('CLUSTER', 'zatotx')
    if '/' in name or name in ('.', '..') or not _is_name(name):
        variables.errors.append(f'ZATOTX_NAME: {name!r} cannot be the name of a component')
    if not _is_name(cluster):
        variables.errors.append(f'ZATOTX_CLUSTER: {cluster!r} cannot be the name of a cluster')
    common: dict[str, Any] = {
        'kind': kind, 'name': name, 'cluster': cluster,
        'listen': variables.address('LISTEN', f'0.0.0.0:{_PORTS[kind]}'),
    }  # fmt: skip
    if kind in (SERVER, CONNECTOR):
        return ContainerPlan(
            **common, workers=variables.number('WORKERS', 1, _MAX_WORKERS) if kind == SERVER else 1,
            trusted_proxies=tuple(variables.items('TRUSTED_PROXIES')),
            cluster_access=_read_access(kind, variables),
        )  # fmt: skip
    variables.required('SERVERS', 'the addresses of the servers, such as server1:17010,server2:17010')
    found = [variables.parse_address('SERVERS', text) for text in variables.items('SERVERS')]
    agent_text = variables.text('AGENT')
    agent_clients = variables.text('AGENT_CLIENTS')
    if agent_text and not agent_clients and kind == WEB_ADMIN:
        variables.errors.append('ZATOTX_AGENT_CLIENTS is missing: the directory with the certificate for ZATOTX_AGENT')
    return ContainerPlan(
        **common, servers=tuple(address for address in found if address), hosts=tuple(variables.items('HOSTS')),
        workers=variables.number('WORKERS', 2, _MAX_WORKERS),
        stats_password=variables.text('STATS_PASSWORD') or secrets.token_hex(16),
        agent=variables.parse_address('AGENT', agent_text) if agent_text else None, agent_clients=agent_clients,
    )  # fmt: skip


def _is_name(text: str) -> bool:
    return len(text) <= _MAX_NAME and text.isprintable() and not set(text) & {'"', '\\'}


def _read_access(kind: str, variables: ContainerVariables) -> ClusterAccess:
    from zatotx.odb.secrets import Secrets

    urls = (
        variables.required('ODB_URL', 'the SQLAlchemy URL of the database, such as '
                           'postgresql+psycopg://zatotx:PASSWORD@postgresql/zatotx'),
        variables.required('REDIS_URL', 'the URL of Redis, such as redis://redis:6379'),
    )  # fmt: skip
    key = variables.required('SECRET_KEY', "a key of 'zatotx crypto generate-key', the same for all nodes")
    if key:
        try:
            Secrets(key)
        except ValueError as error:
            variables.errors.append(f'ZATOTX_SECRET_KEY: {error}')
    users = (
        {
            section: UserCredentials(
                username,
                variables.required(
                    f'{variable}_PASSWORD', f'the password of {username}, which the first server creates'
                ),
            )
            for section, (username, variable) in _USERS.items()
        }
        if kind == SERVER
        else {}
    )
    return ClusterAccess(odb_url=urls[0], redis_url=urls[1], key=key, users=users)


_USERS = {  # by section of credentials.toml: name, and the variable with the password
    'web_admin': ('admin', 'ADMIN'), 'api': ('admin.invoke', 'API'), 'pubapi': ('pubapi', 'PUBAPI'),
}  # fmt: skip


def create_or_configure_component(target: Path, plan: ContainerPlan) -> None:
    """Create the component if it does not exist, and apply the settings given in environment variables. Raises
    CommandError if a component of another type exists."""
    if not (target / INFO_FILE).is_file():
        with atomic_directory(target, INFO_FILE) as directory:
            _create(directory, plan)
    part = read_component(target)
    if part.kind != plan.kind:
        raise CommandError(f'{target} is a {part.kind}, not a {plan.kind}: use another ZATOTX_NAME or --dir.')
    if plan.kind == LOAD_BALANCER and plan.agent is not None:
        provide_certificates(target, plan.cluster, plan.agent_clients)
    text = part.settings_path.read_text('utf-8')
    read_toml(part.settings_path)  # raises CommandError that names the line of an error
    document = tomlkit.parse(text)
    _SETTINGS[plan.kind](document, plan, part)
    if tomlkit.dumps(document) != text:
        write_private_file(part.settings_path, tomlkit.dumps(document))
    if plan.cluster_access is not None and plan.cluster_access.users:
        write_credentials(target.parent, _environment_plan(plan), {plan.name: plan.listen[1]})


def _create(directory: Path, plan: ContainerPlan) -> None:
    """Create the directories and the settings; those that come from variables are set afterwards."""
    access = plan.cluster_access
    if plan.kind == SERVER:
        assert access is not None
        sections = ''.join(text.format(port=plan.listen[1], proxies='[]') + '\n' for text in settings_templates())
        write_server_directory(directory, cluster=plan.cluster, workers=plan.workers, sections=sections, urls=('', ''),
                               key=access.key)  # fmt: skip
    elif plan.kind == CONNECTOR:
        assert access is not None
        write_connector(directory, NewConnector(cluster=plan.cluster, port=plan.listen[1], odb_url='', redis_url='',
                                                key=access.key))  # fmt: skip
    elif plan.kind == LOAD_BALANCER:
        write_load_balancer(directory, cluster=plan.cluster, servers=[], port=plan.listen[1], name=plan.name)
    else:
        write_web_admin(directory, NewWebAdmin(port=plan.listen[1], cluster=plan.cluster, servers=[], agent='',
                                               tls=False))  # fmt: skip


def _set_node(document: Any, plan: ContainerPlan, part: Component) -> None:
    access = plan.cluster_access
    assert access is not None
    document['main']['name'], document['main']['cluster'] = plan.name, plan.cluster
    if plan.kind == SERVER:
        document['main']['workers'] = plan.workers
    document['http']['listen'] = [_endpoint(plan.listen)]
    if plan.kind == SERVER:
        document['http']['trusted_proxies'] = list(plan.trusted_proxies)
    stored = _environment_plan(plan)
    for section, url in (('odb', access.odb_url), ('kvdb', access.redis_url)):
        # Encrypted text differs each time; the file is left alone if the URL is the same.
        if _decrypted(document[section]['url'], access.key) != url:
            document[section]['url'] = stored.stored_url(url)
    key_file = part.path / 'config' / 'secret.key'
    if key_file.read_text('ascii').strip() != access.key:
        write_private_file(key_file, access.key + '\n')


def _decrypted(stored: str, key: str) -> str:
    """Return a URL of the settings in clear; '' if it was encrypted with another key."""
    from zatotx.model.errors import ServiceUnavailable
    from zatotx.odb.secrets import Secrets
    from zatotx.schema.secrets import ENCRYPTED

    if not stored.startswith(ENCRYPTED):
        return stored
    try:
        return Secrets(key).decrypt(stored)
    except (ServiceUnavailable, ValueError):
        return ''


def _set_load_balancer(document: Any, plan: ContainerPlan, part: Component) -> None:
    from zatotx.lb.config.template import BACKEND, FRONTEND

    document['main']['name'], document['main']['cluster'] = plan.name, plan.cluster
    document['main']['workers'] = plan.workers
    document['frontends'][FRONTEND]['listen'] = [_address(plan.listen)]
    document['backends'][BACKEND]['servers'] = {
        f'server{number}': {'host': host, 'port': port} for number, (host, port) in enumerate(plan.servers, 1)
    }
    document['stats']['password'] = plan.stats_password
    if plan.agent is not None:
        document['agent']['enabled'], document['agent']['listen'] = True, _address(plan.agent)


def _set_web_admin(document: Any, plan: ContainerPlan, part: Component) -> None:
    document['web']['listen'], document['web']['hosts'] = _endpoint(plan.listen), list(plan.hosts)
    document['cluster']['name'] = plan.cluster
    document['cluster']['servers'] = [f'http://{_address(server)}' for server in plan.servers]
    if plan.agent is not None:
        document['load_balancer']['agent'] = f'https://{_address(plan.agent)}'
        names = ('certificate', 'key', 'ca')
        document['load_balancer'].update(zip(names, client_files(plan.agent_clients), strict=True))


_SETTINGS = {SERVER: _set_node, CONNECTOR: _set_node, LOAD_BALANCER: _set_load_balancer, WEB_ADMIN: _set_web_admin}


def _address(address: tuple[str, int]) -> str:
    host, port = address
    return f'[{host}]:{port}' if ':' in host else f'{host}:{port}'


def _endpoint(address: tuple[str, int]) -> str:
    """Return the Twisted endpoint of a listen address."""
    host, port = address
    return f'tcp:port={port}:interface=' + host.replace(':', '\\:')


def _environment_plan(plan: ContainerPlan) -> EnvironmentPlan:
    access = plan.cluster_access
    assert access is not None
    return EnvironmentPlan(cluster=plan.cluster, servers=0, port_offset=0, odb_url=access.odb_url,
                           redis_url=access.redis_url, key=access.key, users=dict(access.users))  # fmt: skip


def ensure_cluster(plan: ContainerPlan) -> None:
    """Create the tables, the cluster and its users in the database if they do not exist. For a node without users, only
    check that they exist. Several servers may call this function at the same time. Raises CommandError."""
    from zatotx.cli.quickstart import create_environment_odb

    access = plan.cluster_access
    assert access is not None
    try:
        _read_cluster(plan, access)
        return
    except CommandError:
        if not access.users:
            raise
    try:
        create_environment_odb(Path(), _environment_plan(plan), is_exclusive=False)
    except CommandError:
        _read_cluster(plan, access)  # another server may have been faster


def _read_cluster(plan: ContainerPlan, access: ClusterAccess) -> None:
    from zatotx.cli.environment.odb_and_redis_access import all_object_types, convert_errors
    from zatotx.odb.offline_operations import open_database, read_snapshot

    with convert_errors():
        database = open_database(access.odb_url, access.key, cluster=plan.cluster, types=all_object_types())
        try:
            read_snapshot(database)
        finally:
            database.close()
