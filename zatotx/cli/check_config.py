"""`zatotx check-config`: reports everything that would prevent an environment from starting, with checks of `zatotx
doctor`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import click

from zatotx.cli.checks import (
    files_and_permissions,
    load_balancer,
    machine_resources,
    odb_and_redis,
    tls_files,
    versions,
)
from zatotx.cli.checks.check_definition import BROKEN, CheckContext, CheckFunction, environment_as_component
from zatotx.cli.command_output import make_format_option, make_path_argument, print_json, progress_if_slow
from zatotx.cli.environment.component_types import CONNECTOR, LOAD_BALANCER, REDIS, SERVER, WEB_ADMIN
from zatotx.cli.environment.environment_layout import CREDENTIALS, Component, Environment, find_environment
from zatotx.cli.errors import CommandError, combine_errors, format_os_error

# What is checked, and the checks of `zatotx doctor` that do it.
ENVIRONMENT_CHECKS: dict[str, tuple[CheckFunction, ...]] = {
    CREDENTIALS: (files_and_permissions.check_credentials, files_and_permissions.check_secret_file_permissions)
}
SERVER_CHECKS: dict[str, tuple[CheckFunction, ...]] = {
    'config/server.toml': (versions.check_server_settings, files_and_permissions.check_secret_file_permissions),
    'secret key': (files_and_permissions.check_secret_key,),
    'directories': (files_and_permissions.check_directories,),
    'ports': (machine_resources.check_ports, machine_resources.check_duplicate_ports),
    'database': (odb_and_redis.check_odb,),
    'redis': (odb_and_redis.check_redis,),
}
CONNECTOR_CHECKS = {name.replace('server.toml', 'connector.toml'): checks for name, checks in SERVER_CHECKS.items()}
REDIS_CHECKS: dict[str, tuple[CheckFunction, ...]] = {
    'directory': (files_and_permissions.check_secret_file_permissions,),
    'program': (machine_resources.check_redis_program,),
}
LOAD_BALANCER_CHECKS: dict[str, tuple[CheckFunction, ...]] = {
    'config/lb.toml': (
        load_balancer.check_load_balancer_configuration,
        files_and_permissions.check_secret_file_permissions,
    ),
    'agent': (tls_files.check_agent_files,),
    'directories': (files_and_permissions.check_directories,),
    'ports': (machine_resources.check_ports, machine_resources.check_duplicate_ports),
}

WEB_ADMIN_CHECKS: dict[str, tuple[CheckFunction, ...]] = {
    'config/admin.toml': (versions.check_admin_settings, files_and_permissions.check_secret_file_permissions),
    'directories': (files_and_permissions.check_directories,),
    'ports': (machine_resources.check_ports, machine_resources.check_duplicate_ports),
}

# By type of component.
COMPONENT_CHECKS: dict[str, dict[str, tuple[CheckFunction, ...]]] = {
    SERVER: SERVER_CHECKS, CONNECTOR: CONNECTOR_CHECKS, REDIS: REDIS_CHECKS, LOAD_BALANCER: LOAD_BALANCER_CHECKS,
    WEB_ADMIN: WEB_ADMIN_CHECKS,
}  # fmt: skip


class CheckResult(NamedTuple):
    """The result of one configuration check: what was checked, and the error or ''."""

    where: str
    what: str
    error: str  # what is wrong and what to do; '' = no error


@click.command(epilog='\b\nExamples:\n  zatotx check-config ~/env/qs-1\n  zatotx check-config ~/env/qs-1/server1')
@make_path_argument()
@make_format_option()
def check_config(path: str, form: str) -> None:
    """Check files, permissions, keys, ports, database and Redis of an environment or one component, without changing
    anything.

    Returns 1 if anything would keep it from running, with one sentence per problem.
    """
    environment = find_environment(path)
    with progress_if_slow('Checking'):
        findings = list(run_config_checks(environment))
    errors = [finding for finding in findings if finding.error]
    if form == 'json':
        print_json([{'where': f.where, 'what': f.what, 'ok': not f.error, 'why': f.error} for f in findings])
    else:
        for finding in findings:
            click.echo(f'{"WRONG" if finding.error else "ok":5}  {finding.where}: {finding.what}')
    if errors:
        # Several checks may report the same cause, which is printed once.
        sentences = dict.fromkeys(f'{finding.where}: {finding.error.rstrip(".")}' for finding in errors)
        raise combine_errors([f'{each}.' for each in sentences], '{} problems would keep it from running')


def run_config_checks(environment: Environment) -> Iterator[CheckResult]:
    """Yield the results of all configuration checks."""
    context = CheckContext(environment)
    if environment.is_complete:
        for what, checks in ENVIRONMENT_CHECKS.items():
            yield CheckResult(
                'environment', what, configuration_errors(environment_as_component(environment), checks, context)
            )
    for part in environment.components:
        for what, checks in COMPONENT_CHECKS[part.kind].items():
            yield CheckResult(part.name, what, configuration_errors(part, checks, context))


def configuration_errors(part: Component, checks: tuple[CheckFunction, ...], context: CheckContext) -> str:
    """Return all errors that the checks find, joined to one sentence, or '' if there are none."""
    sentences = []
    for check in checks:
        try:
            sentences += [text for severity, text in check(context, part) if severity == BROKEN]
        except CommandError as error:
            sentences.append(error.format_message())
        except OSError as error:
            sentences.append(format_os_error(error))
    return '; '.join(text.rstrip('.') for text in sentences)
