"""start, stop, restart, status."""

from __future__ import annotations

import os
from collections.abc import Sequence

import click
from msgspec import to_builtins

from zatotx.cli.environment.layout import SERVER, Component, Environment, find_environment
from zatotx.cli.environment.listen_addresses import address
from zatotx.cli.environment.pid_files import running_process
from zatotx.cli.environment.process_start import start_components, taken_port, twistd_command
from zatotx.cli.environment.process_stop import grace_period, stop_components
from zatotx.cli.environment.readiness_probe import Health, probe
from zatotx.cli.environment.worker_status import read_worker_status, replace_workers
from zatotx.cli.errors import CommandError, failure_of
from zatotx.cli.foreground import run_in_foreground
from zatotx.cli.output import format_option, path_argument, print_json, print_table, progress
from zatotx.node.secret_key import VARIABLE, key_from_stdin


@click.command(
    epilog='\b\nExamples:\n  zatotx start ~/env/qs-1\n  zatotx start ~/env/qs-1/server1 --fg\n'
    '  pass show zatotx/key | zatotx start ~/env/qs-1 --secret-key -'
)
@path_argument()
@click.option('--fg', is_flag=True, help='Stay in the foreground, stop with Ctrl-C or SIGTERM.')
@click.option('--secret-key', metavar='-',
              help="'-': the servers' secret key is the first line of stdin. Default: their config/secret.key.")
def start(path: str, fg: bool, secret_key: str | None) -> None:
    """Start what does not run of an environment, or one part of it.

    Returns 0 once every part answers; otherwise says which does not and why.
    """
    place = find_environment(path)
    if secret_key is not None:
        read_secret_key(secret_key)
    if fg:
        foreground(place)
        return
    with progress(f'Starting {joined_names(place.parts)}'):
        fail_with(start_components(place.parts))
    for part in place.parts:
        click.echo(status_line(part, probe(part)))


def foreground(place: Environment) -> None:
    """One part becomes this process; of an environment this process is the parent."""
    if place.whole:
        run_in_foreground(place.parts)
        return
    part = place.parts[0]
    if probe(part).pid is not None:
        raise CommandError(f"{part.name} runs already: 'zatotx stop {part.path}' ends it.")
    if fault := taken_port(part):
        raise CommandError(f'{part.name} cannot start: {fault}.')
    os.chdir(part.path)
    os.umask(0o077)
    words = twistd_command(part)
    key = os.environ.pop(VARIABLE, '') if part.kind == SERVER else ''
    if key:
        words += ['--secret-key', '-']
        detach_stdin(key)
    os.execv(words[0], words)  # noqa: S606 - our own twistd


def detach_stdin(key: str) -> None:
    """A pipe with the key becomes our stdin: of what we become, the kernel would show the environment."""
    reading, writing = os.pipe()
    os.write(writing, key.encode('utf-8') + b'\n')  # far less than a pipe takes at once
    os.close(writing)
    os.dup2(reading, 0)
    os.close(reading)


def read_secret_key(given: str) -> None:
    """The key on stdin becomes that of all servers we start. Raises UsageError for one on the command line."""
    if given != '-':
        raise click.UsageError('a secret key on the command line can be read by everybody: write --secret-key -')
    key = key_from_stdin()
    if not key:
        raise CommandError('stdin gives no secret key: its first line must be one.')
    os.environ[VARIABLE] = key


@click.command(epilog='\b\nExamples:\n  zatotx stop ~/env/qs-1\n  zatotx stop ~/env/qs-1/server2')
@path_argument()
def stop(path: str) -> None:
    """Stop an environment or one part of it; what does not run is left alone.

    Servers take no new work, finish the requests under way within their grace period, then end. One that hangs is
    killed 20 s after that, and this command says so and returns 1.
    """
    place = find_environment(path)
    with progress(f'Stopping {joined_names(place.parts)}: requests under way finish first'):
        fail_with(stop_components(place.parts))
    click.echo(f'Stopped: {joined_names(place.parts)}.')


@click.command(epilog='\b\nExamples:\n  zatotx restart ~/env/qs-1\n  zatotx restart ~/env/qs-1/server1')
@path_argument()
def restart(path: str) -> None:
    """Restart an environment server by server, or one part of it.

    Each server is ready again before the next one stops. A server with workers keeps its listening sockets and gets a
    new worker for each, one after another: no request fails. The environment's Redis is started where it does not run
    and otherwise left alone, so that nobody misses it: 'zatotx restart PATH/redis' restarts it.
    """
    place = find_environment(path)
    kept = [part for part in place.parts if place.whole and part.kind != SERVER]
    with progress(f'Starting {joined_names(kept)}'):
        fail_with(start_components(kept))
    for part in place.parts:
        if part not in kept:
            with progress(f'Restarting {part.name}'):
                fail_with(restart_part(part))
            click.echo(status_line(part, probe(part)))


def restart_part(part: Component) -> list[str]:
    """Worker by worker where it has a parent process, else whole; what went wrong, a sentence each."""
    faults = replace_workers(part, grace_period(part))
    return stop_components([part]) + start_components([part]) if faults is None else faults


@click.command(epilog='\b\nExamples:\n  zatotx status ~/env/qs-1\n  zatotx status ~/env/qs-1 --format json')
@path_argument()
@format_option()
def status(path: str, form: str) -> None:
    """Say of each part whether it is running, starting (it runs and is not ready) or stopped.

    Returns 0 whatever the answer is; scripts read --format json.
    """
    place = find_environment(path)
    states = [(part, probe(part)) for part in place.parts]
    if form == 'json':
        parts = [describe_status(part, state) for part, state in states]
        print_json({'environment': str(place.environment), 'components': parts})
        return
    rows = [(part.name, state.state, state.pid or '-', format_address(part), state.why) for part, state in states]
    print_table(('PART', 'STATE', 'PID', 'ADDRESS', 'WHY'), rows)


def describe_status(part: Component, state: Health) -> dict[str, object]:
    """A part for --format json."""
    roster = read_worker_status(part, running_process(part))
    workers = {'workers': [to_builtins(worker) for worker in roster.workers]} if roster else {}
    return {
        'name': part.name,
        'component': part.kind,
        'state': state.state,
        'ready': state.ready,
        'pid': state.pid,
        'address': format_address(part),
        'why': state.why,
        **workers,
    }


def format_address(part: Component) -> str:
    return address(part).url if part.kind == SERVER else str(part.path / 'redis.sock')


def status_line(part: Component, state: Health) -> str:
    return f'{part.name} is running: {format_address(part)} (pid {state.pid})'


def joined_names(parts: Sequence[Component]) -> str:
    return ', '.join(part.name for part in parts)


def fail_with(faults: Sequence[str]) -> None:
    """Raises Failure where there are any."""
    if faults:
        raise failure_of([f'{each}.' for each in faults], '{} things went wrong')
