"""Checks the TLS files in the directories of components, whichever authority issued the certificates."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from zatotx.cli.checks.certificate_authority import check_crl_validity
from zatotx.cli.checks.check_definition import BROKEN, EVERY_COMPONENT, Check, CheckContext
from zatotx.cli.checks.files_and_permissions import check_certificate_validity
from zatotx.cli.environment.component_types import LOAD_BALANCER
from zatotx.cli.environment.environment_authority import AUTHORITY
from zatotx.cli.environment.environment_layout import Component, read_toml

SUFFIXES = ('.pem', '.crt', '.cer')
MAX_SIZE = 1024 * 1024  # bytes of a file that is read


def check_component_certificates(context: CheckContext, part: Component) -> Iterator[tuple[str, str]]:
    """Check all certificates in the TLS directories of a component, such as tls and tls-agent. Certificates that the
    environment's own authority issued are checked by `check_authority`."""
    for path in sorted(part.path.glob('tls*/*')):
        if path.suffix in SUFFIXES and not _is_in_authority(path, part) and _has_certificate(path):
            yield from check_certificate_validity(path, context.now())


def _is_in_authority(path: Path, part: Component) -> bool:
    return path.resolve().is_relative_to((part.path.parent / AUTHORITY).resolve())


def _has_certificate(path: Path) -> bool:
    try:
        return path.stat().st_size <= MAX_SIZE and b'BEGIN CERTIFICATE' in path.read_bytes()
    except OSError:  # whoever uses the file reports it
        return False


def check_agent_files(context: CheckContext, part: Component) -> Iterator[tuple[str, str]]:
    """Check that a load balancer's agent can use its TLS files, and that its revocation list is valid."""
    from zatotx.lb.agent.agent_service import agent_tls_files
    from zatotx.lb.agent.client_subject_check import make_subject_check
    from zatotx.lb.config.model import AgentSettings
    from zatotx.model.errors import StartError
    from zatotx.processes.mutual_tls import load_tls_context

    found = read_toml(part.settings_path).get('agent', {})
    known = {name: value for name, value in found.items() if name in ('certificate', 'key', 'ca', 'crl')}
    if not found.get('enabled') or not all(isinstance(value, str) for value in known.values()):
        return  # check_configuration reports errors
    settings = AgentSettings(**known)
    if not settings.certificate:
        return
    try:
        files = agent_tls_files(settings, part.path)
        load_tls_context(files)
        make_subject_check(found.get('verify_fields', {}))
    except StartError as error:
        yield BROKEN, f'the agent refuses to start: {error}'
        return
    if files.revocation_list is not None and not _is_in_authority(files.revocation_list, part):
        yield from check_crl_validity(files.revocation_list, context.now(), 'replace it by a new one of the authority')


CHECKS = (
    Check('certificates', 'a certificate in a directory tls… of a component is corrupt, expired, or expires within 30 '
          'days (warning) or 7 days (broken)', EVERY_COMPONENT, check_component_certificates),
    Check('certificates', 'a TLS file of the agent is missing, corrupt or does not match the others, or its revocation '
          'list expired or expires within 7 days (warning)', LOAD_BALANCER, check_agent_files),
)
