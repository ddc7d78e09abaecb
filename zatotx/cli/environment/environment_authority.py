"""Creates the certificate authority of an environment, and issues certificates during quickstart."""

from __future__ import annotations

import os
import re
import signal
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from zatotx.cli.environment.atomic_files import make_private_dir
from zatotx.cli.environment.component_types import SERVER
from zatotx.cli.environment.creation_plan import EnvironmentPlan
from zatotx.cli.environment.environment_layout import CREDENTIALS, components_of
from zatotx.cli.environment.process_discovery import running_process
from zatotx.cli.errors import CommandError

if TYPE_CHECKING:
    from zatotx.ca.certificate_authority import CertificateAuthority
    from zatotx.ca.certificate_names import CertificateSubject

AUTHORITY = 'ca'  # its directory in an environment
AGENT, WEB_ADMIN, CLI = 'lb-agent', 'web-admin', 'cli'  # certificates
AUTHORITY_CERTIFICATE = Path('ca-material', 'ca-cert.pem')
REVOCATION_LIST = Path('ca-material', 'ca-crl.pem')

_MAX_NAME = 60  # characters of the cluster's name in the name of its authority: a common name has at most 64
_UNSAFE = re.compile(r'[^A-Za-z0-9._-]')


def write_authority(environment: Path, plan: EnvironmentPlan) -> None:
    """Create the certificate authority in PATH/ca. It issues certificates for the load balancer's agent and the agent's
    clients and, if the plan contains this option, for the servers."""
    servers = [f'server{number}' for number in range(1, plan.servers + 1)] if plan.tls else []
    create_authority(make_private_dir(environment / AUTHORITY), plan.cluster, servers=servers)


def create_authority(
    directory: Path, cluster: str, *, host_names: Sequence[str] = (), servers: Sequence[str] = ()
) -> None:  # fmt: skip
    """Create a certificate authority in an empty directory, with certificates for the load balancer's agent and its
    clients, and for servers. They are valid for this machine and for `host_names`. Raises CommandError."""
    from zatotx.ca.certificate_authority import CertificateAuthority
    from zatotx.ca.certificate_builder import LOCAL_HOSTS, PROFILES
    from zatotx.ca.errors import AuthorityError

    hosts = tuple(dict.fromkeys((*LOCAL_HOSTS, *local_host_name(), *filter(is_host_name, host_names))))
    name = ''.join(each if each.isprintable() else '_' for each in cluster[:_MAX_NAME]).strip() or 'zatotx'
    try:
        authority = CertificateAuthority.create(directory, _subject(f'{name} CA'))
        _issue(authority, 'lb-agent', AGENT, hosts)
        _issue(authority, 'web-admin', WEB_ADMIN, hosts)
        authority.issue(PROFILES['client'], CLI, _subject(CLI))
        for server in servers:
            _issue(authority, 'server', server_certificate_name(cluster, server), hosts)
    except AuthorityError as error:
        raise CommandError(f'The certificates cannot be created: {error}.') from None


def issue_server_certificate(environment: Path, cluster: str, server: str) -> None:
    """Create the certificate of a server that is added to an environment. Raises CommandError."""
    from zatotx.ca.certificate_authority import CertificateAuthority
    from zatotx.ca.certificate_builder import LOCAL_HOSTS
    from zatotx.ca.errors import AuthorityError

    try:
        authority = CertificateAuthority(environment / AUTHORITY)
        _issue(authority, 'server', server_certificate_name(cluster, server), (*LOCAL_HOSTS, *local_host_name()))
    except AuthorityError as error:
        raise CommandError(f'The certificate of {server} cannot be created: {error}.') from None


def _issue(authority: CertificateAuthority, profile: str, name: str, hosts: tuple[str, ...]) -> None:
    from zatotx.ca.certificate_builder import PROFILES

    authority.issue(PROFILES[profile], name, _subject(name[:64]), hosts=hosts)


def _subject(common_name: str) -> CertificateSubject:
    from zatotx.ca.certificate_names import CertificateSubject

    return CertificateSubject(common_name, organization='', organizational_unit='', locality='', state='', country='')


def local_host_name() -> tuple[str, ...]:
    """Return the name of this machine in a list, or an empty list if a certificate cannot contain it."""
    name = socket.gethostname()
    return (name,) if is_host_name(name) else ()


def is_host_name(name: str) -> bool:
    """Return whether a certificate can contain the name of a host."""
    from zatotx.ca.certificate_names import make_alternative_names
    from zatotx.ca.errors import AuthorityError

    try:
        make_alternative_names((name,))
    except AuthorityError:
        return False
    return True


def server_certificate_name(cluster: str, server: str) -> str:
    """Return the base name of the files of a server's certificate. The name of the cluster may contain arbitrary
    characters, which are replaced."""
    safe = _UNSAFE.sub('_', cluster)[: 63 - len(server)].lstrip('._-') or 'zatotx'
    return f'{safe}-{server}'


def reload_server_certificates(authority: Path, certificate: Path) -> list[str]:
    """Reload the certificate in the running servers of the environment that use it. Returns the names of these
    servers."""
    environment = authority.parent
    if authority.name != AUTHORITY or not (environment / CREDENTIALS).is_file():
        return []
    reloaded = []
    for part in components_of(environment):
        link = part.path / 'tls' / 'zato-server-cert.pem'
        if part.kind == SERVER and link.exists() and link.samefile(certificate):
            process = running_process(part)
            if process is not None:
                os.kill(process.pid, signal.SIGHUP)
                reloaded.append(part.name)
    return reloaded


def link_certificate(directory: Path, prefix: str, name: str) -> None:
    """Create links in a component's directory to the certificate `name` of the environment's authority. The links are
    PREFIX-cert.pem, PREFIX-priv-key.pem, PREFIX-ca-certs.pem and PREFIX-crl.pem. They point to the newest files, so
    that a renewed certificate is used without copying it. A component on another machine has copies of the files.
    `directory` is a directory in the component's directory."""
    make_private_dir(directory)
    authority = Path('..', '..', AUTHORITY)
    for suffix, target in (
        ('cert', Path('out-cert', f'{name}-cert.pem')), ('priv-key', Path('out-priv', f'{name}-priv.pem')),
        ('ca-certs', AUTHORITY_CERTIFICATE), ('crl', REVOCATION_LIST),
    ):  # fmt: skip
        (directory / f'{prefix}-{suffix}.pem').symlink_to(authority / target)
