"""The agent of a load balancer in a container: its certificates, and those of the web admin in another container."""

from __future__ import annotations

from pathlib import Path

from zatotx.cli.environment.atomic_files import atomic_directory, make_private_dir, write_private_file
from zatotx.cli.environment.environment_authority import (
    AGENT,
    AUTHORITY,
    AUTHORITY_CERTIFICATE,
    WEB_ADMIN,
    create_authority,
    link_certificate,
)

_TLS_DIRECTORY, _PREFIX = 'tls-agent', 'zato-lba'  # in the directory of the load balancer
# Files of the web admin in the shared directory, in the order of `client_files`: where the authority has them.
_CLIENT_FILES = {
    f'{WEB_ADMIN}-cert.pem': Path('out-cert', f'{WEB_ADMIN}-cert.pem'),
    f'{WEB_ADMIN}-priv-key.pem': Path('out-priv', f'{WEB_ADMIN}-priv.pem'),
    f'{WEB_ADMIN}-ca-certs.pem': AUTHORITY_CERTIFICATE,
}  # fmt: skip


def provide_certificates(load_balancer: Path, cluster: str, clients: str) -> None:
    """Create the authority in the environment of the load balancer and the links to the agent's certificate, unless
    they exist. The certificate of the web admin is copied to the directory `clients`, '' = nowhere, at each start, so
    that a renewed one gets there. The authority's key does not. Raises CommandError."""
    authority = load_balancer.parent / AUTHORITY
    if not (authority / AUTHORITY_CERTIFICATE).is_file():
        with atomic_directory(authority, AUTHORITY_CERTIFICATE.parts[0]) as directory:
            create_authority(directory, cluster, host_names=(load_balancer.name,))
    if not (load_balancer / _TLS_DIRECTORY / f'{_PREFIX}-cert.pem').exists():
        link_certificate(load_balancer / _TLS_DIRECTORY, _PREFIX, AGENT)
    if clients:
        make_private_dir(Path(clients))
        for name, path in _CLIENT_FILES.items():
            write_private_file(Path(clients, name), (authority / path).read_text('ascii'))


def client_files(clients: str) -> list[str]:
    """Return the paths of the certificate, the key and the authorities of the web admin."""
    return [str(Path(clients, name)) for name in _CLIENT_FILES]
