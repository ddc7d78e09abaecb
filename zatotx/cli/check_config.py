"""`zatotx check-config`: reports everything that would keep an environment from starting, using the checks of `zatotx
doctor`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import click

from zatotx.cli.checks import files, processes, stores, versions
from zatotx.cli.checks.finding import BROKEN, CheckContext, Look, environment
from zatotx.cli.environment.layout import CREDENTIALS, SERVER, Component, Environment, find_environment
from zatotx.cli.errors import CommandError, error_sentence, failure_of
from zatotx.cli.output import format_option, path_argument, print_json, progress

# What is checked, and the checks of `zatotx doctor` that do it.
OF_ENVIRONMENT: dict[str, tuple[Look, ...]] = {CREDENTIALS: (files.credentials_there, files.open_to_others)}
OF_SERVER: dict[str, tuple[Look, ...]] = {
    'config/server.toml': (versions.settings_known, files.open_to_others),
    'secret key': (files.key_there,),
    'directories': (files.directories_there,),
    'ports': (processes.port_is_ours, processes.ports_differ),
    'database': (stores.odb,),
    'redis': (stores.redis,),
}
OF_REDIS: dict[str, tuple[Look, ...]] = {'directory': (files.open_to_others,), 'program': (processes.redis_program,)}


class Finding(NamedTuple):
    """The result of one check."""

    where: str
    what: str
    wrong: str  # what is wrong and what to do; '' = no error


@click.command(epilog='\b\nExamples:\n  zatotx check-config ~/env/qs-1\n  zatotx check-config ~/env/qs-1/server1')
@path_argument()
@format_option()
def check_config(path: str, form: str) -> None:
    """Check files, permissions, keys, ports, database and Redis of an environment or one component, without changing
    anything.

    Returns 1 if anything would keep it from running, with one sentence per problem.
    """
    place = find_environment(path)
    with progress('Checking'):
        findings = list(check(place))
    errors = [finding for finding in findings if finding.wrong]
    if form == 'json':
        print_json([{'where': f.where, 'what': f.what, 'ok': not f.wrong, 'why': f.wrong} for f in findings])
    else:
        for finding in findings:
            click.echo(f'{"WRONG" if finding.wrong else "ok":5}  {finding.where}: {finding.what}')
    if errors:
        # Several checks may report the same cause, which is printed once.
        sentences = dict.fromkeys(f'{finding.where}: {finding.wrong.rstrip(".")}' for finding in errors)
        raise failure_of([f'{each}.' for each in sentences], '{} problems would keep it from running')


def check(place: Environment) -> Iterator[Finding]:
    """Yield the result of every check."""
    context = CheckContext(place)
    if place.whole:
        for what, checks in OF_ENVIRONMENT.items():
            yield Finding('environment', what, configuration_errors(environment(place), checks, context))
    for part in place.parts:
        for what, checks in (OF_SERVER if part.kind == SERVER else OF_REDIS).items():
            yield Finding(part.name, what, configuration_errors(part, checks, context))


def configuration_errors(part: Component, looks: tuple[Look, ...], scene: CheckContext) -> str:
    """Return all errors that the checks find, joined to one sentence; '' if there are none."""
    sentences = []
    for look in looks:
        try:
            sentences += [text for severity, text in look(scene, part) if severity == BROKEN]
        except CommandError as error:
            sentences.append(error.format_message())
        except OSError as error:
            sentences.append(error_sentence(error))
    return '; '.join(text.rstrip('.') for text in sentences)
