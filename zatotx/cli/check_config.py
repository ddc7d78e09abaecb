"""`zatotx check-config`: what would keep an environment from starting, all of it at once: those of doctor's checks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import click

from zatotx.cli.checks import files, processes, stores, versions
from zatotx.cli.checks.finding import BROKEN, CheckContext, Look, environment
from zatotx.cli.environment.layout import CREDENTIALS, SERVER, Component, Environment, find_environment
from zatotx.cli.errors import CommandError, error_sentence, failure_of
from zatotx.cli.output import format_option, path_argument, print_json, progress

# What is looked at, and doctor's looks that find something wrong with it.
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
    """One thing that was looked at."""

    where: str
    what: str
    wrong: str  # what is wrong and what to do; '' = good


@click.command(epilog='\b\nExamples:\n  zatotx check-config ~/env/qs-1\n  zatotx check-config ~/env/qs-1/server1')
@path_argument()
@format_option()
def check_config(path: str, form: str) -> None:
    """Check files, modes, keys, ports, database and Redis of an environment or one part, without changing anything.

    Returns 1 where anything would keep it from running, with a sentence for each such thing.
    """
    place = find_environment(path)
    with progress('Checking'):
        findings = list(check(place))
    wrong = [finding for finding in findings if finding.wrong]
    if form == 'json':
        print_json([{'where': f.where, 'what': f.what, 'ok': not f.wrong, 'why': f.wrong} for f in findings])
    else:
        for finding in findings:
            click.echo(f'{"WRONG" if finding.wrong else "ok":5}  {finding.where}: {finding.what}')
    if wrong:
        # One cause may be met by several checks: it is said once.
        said = dict.fromkeys(f'{finding.where}: {finding.wrong.rstrip(".")}' for finding in wrong)
        raise failure_of([f'{each}.' for each in said], '{} things would keep it from running')


def check(place: Environment) -> Iterator[Finding]:
    """Everything there is to look at."""
    scene = CheckContext(place)
    if place.whole:
        for what, looks in OF_ENVIRONMENT.items():
            yield Finding('environment', what, configuration_errors(environment(place), looks, scene))
    for part in place.parts:
        for what, looks in (OF_SERVER if part.kind == SERVER else OF_REDIS).items():
            yield Finding(part.name, what, configuration_errors(part, looks, scene))


def configuration_errors(part: Component, looks: tuple[Look, ...], scene: CheckContext) -> str:
    """Whatever is broken, in one sentence; '' where nothing is."""
    said = []
    for look in looks:
        try:
            said += [text for severity, text in look(scene, part) if severity == BROKEN]
        except CommandError as error:
            said.append(error.format_message())
        except OSError as error:
            said.append(error_sentence(error))
    return '; '.join(text.rstrip('.') for text in said)
