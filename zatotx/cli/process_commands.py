"""`zatotx start`, `stop`, `restart` and `status`: control the processes of an environment."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Sequence
from types import FrameType

import click
from msgspec import to_builtins

from zatotx.cli.command_output import make_format_option, make_path_argument, print_json, print_table, progress_if_slow
from zatotx.cli.environment.component_types import SERVER, TYPES
from zatotx.cli.environment.components.operations_registry import operations_of
from zatotx.cli.environment.environment_layout import Component, Environment, cluster_name, find_environment
from zatotx.cli.environment.process_control import (
    port_conflict_error,
    start_components,
    stop_components,
    twistd_command,
)
from zatotx.cli.environment.process_discovery import read_worker_status, running_process
from zatotx.cli.environment.readiness_probe import ComponentHealth, probe_component
from zatotx.cli.environment.rolling_restart_wait import wait_until_balanced
from zatotx.cli.errors import CommandError, combine_errors
from zatotx.processes.secret_key import KEY_VARIABLE, read_cluster_key_from_stdin

CHECK_INTERVAL = 0.5  # seconds between two checks of the components


class StopSignalHandler:
    """A signal handler for SIGTERM and SIGINT that requests a stop by setting an event."""

    def __init__(self) -> None:
        self.event = threading.Event()

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        self.event.set()


def run_in_foreground(parts: Sequence[Component]) -> None:
    """Start the components, wait while all of them run, and stop them when a signal is received. Raises CommandError if
    a component cannot start, ends by itself or does not stop."""
    stop_requested = StopSignalHandler()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop_requested)
    errors = start_components(parts, is_restartable=False)
    if not errors:
        click.echo(f'Running: {", ".join(part.name for part in parts)}. Press Ctrl-C to stop.')
        errors = wait_until_stopped(parts, stop_requested.event)
    errors += stop_components(parts)
    if errors:
        raise combine_errors([f'{each}.' for each in errors], '{} errors occurred')


def wait_until_stopped(parts: Sequence[Component], stop_requested: threading.Event) -> list[str]:
    """Wait until a stop is requested or a component has ended. Returns a sentence for each component that has ended."""
    while not stop_requested.wait(CHECK_INTERVAL):
        ended = [part for part in parts if running_process(part) is None]
        if ended:
            return [f'{part.name} ended by itself: see {part.path}/logs' for part in ended]
    return []


@click.command(
    epilog='\b\nExamples:\n  zatotx start ~/env/qs-1\n  zatotx start ~/env/qs-1/server1 --fg\n'
    '  pass show zatotx/key | zatotx start ~/env/qs-1 --secret-key -'
)
@make_path_argument()
@click.option('--fg', is_flag=True, help='Stay in the foreground until Ctrl-C or SIGTERM.')
@click.option('--secret-key', metavar='-',
              help="'-': read the servers' secret key from the first line of stdin. Default: config/secret.key.")
def start(path: str, fg: bool, secret_key: str | None) -> None:
    """Start the stopped components of an environment, or one component.

    Returns 0 when every component responds; otherwise prints which one does not, and why.
    """
    environment = find_environment(path)
    if secret_key is not None:
        read_key_option(secret_key)
    if fg:
        run_in_foreground_process(environment)
        return
    with progress_if_slow(f'Starting {joined_names(environment.components)}'):
        raise_errors(start_components(environment.components))
    for part in environment.components:
        click.echo(format_status_line(part, probe_component(part)))


def run_in_foreground_process(environment: Environment) -> None:
    """Replace this process with the process of a single component. For an environment, start the components as child
    processes."""
    if environment.is_complete:
        run_in_foreground(environment.components)
        return
    part = environment.components[0]
    if probe_component(part).pid is not None:
        raise CommandError(f"{part.name} is already running: stop it with 'zatotx stop {part.path}'.")
    if error := port_conflict_error(part):
        raise CommandError(f'{part.name} cannot start: {error}.')
    os.chdir(part.path)
    os.umask(0o077)
    command = twistd_command(part)
    key = os.environ.pop(KEY_VARIABLE, '') if part.type.is_node else ''
    if key:
        command += ['--secret-key', '-']
        pass_key_on_stdin(key)
    os.execv(command[0], command)  # noqa: S606 - our own twistd


def pass_key_on_stdin(key: str) -> None:
    """Replace stdin with a pipe that contains the key, so that the key does not appear in the environment of the new
    program."""
    reading, writing = os.pipe()
    os.write(writing, key.encode('utf-8') + b'\n')  # fits into the pipe's buffer
    os.close(writing)
    os.dup2(reading, 0)
    os.close(reading)


def read_key_option(given: str) -> None:
    """Read the secret key for the servers to be started from stdin. Raises UsageError if the key itself is on the
    command line."""
    if given != '-':
        raise click.UsageError('a secret key on the command line can be read by every user: use --secret-key -')
    key = read_cluster_key_from_stdin()
    if not key:
        raise CommandError('stdin contains no secret key: its first line must be the key.')
    os.environ[KEY_VARIABLE] = key


@click.command(epilog='\b\nExamples:\n  zatotx stop ~/env/qs-1\n  zatotx stop ~/env/qs-1/server2')
@make_path_argument()
def stop(path: str) -> None:
    """Stop an environment or one component. Components that are not running are ignored.

    Servers accept no new requests, finish the running ones within their grace period, then exit. A server that hangs is
    killed 20 s after that, and the command reports it and returns 1.
    """
    environment = find_environment(path)
    with progress_if_slow(f'Stopping {joined_names(environment.components)}, waiting for running requests'):
        raise_errors(stop_components(environment.components))
    click.echo(f'Stopped: {joined_names(environment.components)}.')


@click.command(epilog='\b\nExamples:\n  zatotx restart ~/env/qs-1\n  zatotx restart ~/env/qs-1/server1')
@make_path_argument()
def restart(path: str) -> None:
    """Restart an environment server by server, or one component.

    Each server is ready again, and gets requests from the load balancer, before the next one stops. A server or load
    balancer with workers keeps its listening sockets and replaces its workers one after another, so no request fails.
    The environment's Redis is started if it is stopped, and otherwise left running: restart it with 'zatotx restart
    PATH/redis'.
    """
    environment = find_environment(path)
    first = TYPES[SERVER].start_order
    kept = [part for part in environment.components if environment.is_complete and part.type.start_order < first]
    with progress_if_slow(f'Starting {joined_names(kept)}'):
        raise_errors(start_components(kept))
    for part in environment.components:
        if part not in kept:
            with progress_if_slow(f'Restarting {part.name}'):
                raise_errors(restart_component(part))
                if environment.is_complete and part.kind == SERVER:
                    wait_until_balanced(part)
            click.echo(format_status_line(part, probe_component(part)))


def restart_component(part: Component) -> list[str]:
    """Restart a component. If it is a server with a parent process, its workers are replaced; otherwise it is stopped
    and started. Returns the errors, with one sentence for each."""
    errors = operations_of(part).restart_in_place(part)
    return stop_components([part]) + start_components([part]) if errors is None else errors


@click.command(epilog='\b\nExamples:\n  zatotx status ~/env/qs-1\n  zatotx status ~/env/qs-1 --cluster\n'
               '  zatotx status ~/env/qs-1 --format json')
@make_path_argument()
@click.option('--cluster', is_flag=True, help='Show all nodes of the cluster instead, also those on other machines.')
@make_format_option()
def status(path: str, cluster: bool, form: str) -> None:
    """Show for each component whether it is running, starting (running but not ready) or stopped.

    Always returns 0; scripts use --format json.
    """
    environment = find_environment(path)
    if cluster:
        print_cluster_nodes(environment, form)
        return
    states = [(part, probe_component(part)) for part in environment.components]
    if form == 'json':
        parts = [describe_status(part, state) for part, state in states]
        print_json({'environment': str(environment.environment), 'components': parts})
        return
    rows = [(part.name, state.state, state.pid or '-', format_address(part), state.reason) for part, state in states]
    print_table(('COMPONENT', 'STATE', 'PID', 'ADDRESS', 'WHY'), rows)


def print_cluster_nodes(environment: Environment, form: str) -> None:
    """Print the nodes of the cluster from the ODB. Raises CommandError if the ODB cannot be read."""
    from zatotx.cli.environment.cluster_info import read_cluster_info  # imports what commands without it do not need

    odb, cluster, nodes = read_cluster_info(environment)
    if odb['problem']:
        raise CommandError(f'The nodes of the cluster cannot be read: {odb["problem"].rstrip(".")}.')
    if form == 'json':
        print_json({'cluster': cluster_name(environment), **cluster, 'nodes': nodes})
        return
    print_table(
        ('NODE', 'WORKER', 'STATE', 'LEADS', 'VERSION', 'REVISION', 'CPU', 'REQUESTS', 'LAST HEARTBEAT', 'ADDRESS'),
        [(row['name'], row['worker'], row['state'], 'yes' if row['is_leader'] else '', row['version'],
          row['revision'], f'{row["cpu"]:.0%}', row['in_flight'], row['seen'][:19], row['address']) for row in nodes],
    )  # fmt: skip


def describe_status(part: Component, state: ComponentHealth) -> dict[str, object]:
    """Convert the status of a component to a dict, for --format json."""
    status_file = read_worker_status(part, running_process(part))
    workers = {'workers': [to_builtins(worker) for worker in status_file.workers]} if status_file else {}
    return {
        'name': part.name,
        'component': part.kind,
        'state': state.state,
        'ready': state.ready,
        'pid': state.pid,
        'address': format_address(part),
        'why': state.reason,
        **workers,
    }


def format_address(part: Component) -> str:
    return operations_of(part).address(part)


def format_status_line(part: Component, state: ComponentHealth) -> str:
    return f'{part.name} is running: {format_address(part)} (pid {state.pid})'


def joined_names(parts: Sequence[Component]) -> str:
    return ', '.join(part.name for part in parts)


def raise_errors(faults: Sequence[str]) -> None:
    """Raise CommandError if the list of errors is not empty."""
    if faults:
        raise combine_errors([f'{each}.' for each in faults], '{} errors occurred')
