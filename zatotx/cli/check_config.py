"""`zatotx check-config`: what would keep an environment from starting, all of it at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import click

from zatotx.cli.addresses import addresses
from zatotx.cli.failure import Failure, sentence_of
from zatotx.cli.files import is_private
from zatotx.cli.keys import key_of
from zatotx.cli.layout import CREDENTIALS, SERVER, Part, Place, credentials, find, setting, settings
from zatotx.cli.offline import database, odb_url, sentences
from zatotx.cli.output import format_option, path_argument, print_json, progress
from zatotx.cli.pids import running
from zatotx.cli.ports import holder, holds, is_free
from zatotx.cli.redis import redis_trouble

CONNECT_TIMEOUT = 3.0


class Finding(NamedTuple):
    """One thing that was looked at."""

    where: str
    what: str
    wrong: str  # what is wrong and what to do; '' = good


Check = Callable[[], str]  # what is wrong, '' = nothing; may raise Failure or OSError instead


@click.command(epilog='\b\nExamples:\n  zatotx check-config ~/env/qs-1\n  zatotx check-config ~/env/qs-1/server1')
@path_argument()
@format_option()
def check_config(path: str, form: str) -> None:
    """Check files, modes, keys, ports, database and Redis of an environment or one part, without changing anything.

    Returns 1 where anything would keep it from running, with a sentence for each such thing.
    """
    place = find(path)
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
        raise Failure('; '.join(said) + '.')


def check(place: Place) -> Iterator[Finding]:
    """Everything there is to look at."""
    if place.whole:
        yield look('environment', CREDENTIALS, lambda: check_credentials(place.environment))
    for part in place.parts:
        for what, checks in (server_checks(part, place) if part.kind == SERVER else redis_checks(part)).items():
            yield look(part.name, what, checks)


def look(where: str, what: str, checks: Check) -> Finding:
    try:
        return Finding(where, what, checks())
    except Failure as error:
        return Finding(where, what, error.format_message())
    except OSError as error:
        return Finding(where, what, sentence_of(error))


def server_checks(part: Part, place: Place) -> dict[str, Check]:
    return {
        'config/server.toml': lambda: check_settings(part),
        'secret key': lambda: key_of(part) and '',
        'directories': lambda: check_directories(part),
        'ports': lambda: check_ports(part),
        'database': lambda: check_database(part, place),
        'redis': lambda: check_redis_url(part),
    }


def redis_checks(part: Part) -> dict[str, Check]:
    return {'directory': lambda: open_to_others(part.path), 'program': check_redis_program}


def check_credentials(environment: Path) -> str:
    for section in ('api', 'pubapi'):
        credentials(environment, section)
    return open_to_others(environment / CREDENTIALS)


def open_to_others(path: Path) -> str:
    mode = '700' if path.is_dir() else '600'
    return '' if is_private(path) else f"{path} is open to others: 'chmod {mode} {path}'"


def check_settings(part: Part) -> str:
    from zatotx.kinds import find_kinds
    from zatotx.model.faults import StartError
    from zatotx.node.settings import load

    path = part.path / 'config' / 'server.toml'
    try:
        load(path, [found.kind.name for found in find_kinds()])
    except StartError as error:
        return str(error)
    return open_to_others(path)


def check_directories(part: Part) -> str:
    pickup = setting(settings(part), 'hot_deploy', 'pickup_dir', 'pickup/incoming/services')
    for directory in (part.path / 'logs', part.path / 'work', part.path / pickup):
        if not directory.is_dir():
            return f"{directory} is missing: 'mkdir -m 700 {directory}'"
        if not os.access(directory, os.R_OK | os.W_OK | os.X_OK):
            return f'{directory} is not writable: change its owner to the one who starts the server'
    return ''


def check_ports(part: Part) -> str:
    """Each is free, or held by the server itself."""
    process = running(part)
    for where in addresses(part):
        if not is_free(where.host, where.port) and not (process and holds(process.pid, where.port)):
            other = holder(where.port)
            by = f'process {other}' if other else 'another program'
            return f'port {where.port} is taken by {by}: change http.listen in {part.path}/config/server.toml'
    return ''


def check_database(part: Part, place: Place) -> str:
    """It is there, of this version, and was written with this server's key."""
    from zatotx.odb.setup import schema_state, snapshot

    with sentences():
        url = odb_url(part)
        state = schema_state(url)
    if state != 'current':
        return f"the database's schema is {state}: see 'zatotx odb current --help'"
    with database(Place(place.environment, (part,), whole=False)) as opened:
        snapshot(opened)
    return ''


def check_redis_url(part: Part) -> str:
    """The URL can be read; somebody else's Redis answers, and can be used."""
    return redis_trouble(part, CONNECT_TIMEOUT)


def check_redis_program() -> str:
    from zatotx.kvdb.binary import find_binary
    from zatotx.model.faults import StartError

    try:
        find_binary()
    except StartError as error:
        return str(error)
    return ''
