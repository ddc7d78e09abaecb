"""`zatotx run`: creates a component from environment variables, and runs it in the foreground, as a container does."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

import click

from zatotx.cli.command_output import print_note
from zatotx.cli.environment.component_types import CONNECTOR, LOAD_BALANCER, SERVER, WEB_ADMIN
from zatotx.cli.environment.container_variables import PREFIX, ContainerVariables
from zatotx.cli.environment.environment_layout import Environment, read_component
from zatotx.cli.errors import CommandError

COMPONENTS = {'server': SERVER, 'connector': CONNECTOR, 'load-balancer': LOAD_BALANCER, 'web-admin': WEB_ADMIN}
DEFAULT_DIRECTORY = '/env'
WAIT, RETRY = 120.0, 2.0  # seconds for which the database is waited for, and between two attempts


@click.command(
    'run',
    short_help='Create a component from environment variables, and run it.',
    epilog='\b\nExamples:\n  zatotx run server\n  zatotx run load-balancer --dir /var/lib/zatotx\n'
    '  zatotx run server --prepare && zatotx odb upgrade /env',
)
@click.argument('component', type=click.Choice(list(COMPONENTS)), help='The type of the component.')
@click.option('--dir', 'directory', default=DEFAULT_DIRECTORY, show_default=True, type=click.Path(),
              help='The environment: the component is a directory in it.')
@click.option('--prepare', is_flag=True, help='Create the component, but neither the cluster nor the process.')
def run_component(component: str, directory: str, prepare: bool) -> None:
    """Create a component from environment variables, unless it exists, and run it in the foreground, for containers.

    What the variables say is set in its settings at each start; other settings remain. The first server creates the
    tables, the cluster and its users in the database. docs/containers.md lists the variables, which begin with ZATOTX_.
    A value may be in a file: ZATOTX_SECRET_KEY_FILE names that of ZATOTX_SECRET_KEY.
    """
    from zatotx.cli.environment.container_component import (
        create_or_configure_component,
        ensure_cluster,
        read_container_plan,
    )

    variables = ContainerVariables(os.environ)
    plan = read_container_plan(COMPONENTS[component], variables, socket.gethostname())
    variables.raise_errors()
    target = Path(directory).absolute() / plan.name
    create_or_configure_component(target, plan)
    if prepare:
        click.echo(f'{target} is prepared.')
        return
    if plan.cluster_access is not None:
        retry_until_success(lambda: ensure_cluster(plan), WAIT)
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        del os.environ[name]  # programs that services start would inherit the secrets
    from zatotx.cli.process_commands import run_in_foreground_process

    run_in_foreground_process(Environment(target.parent, (read_component(target),), is_complete=False))


def retry_until_success(step: Callable[[], None], seconds: float) -> None:
    """Repeat a step until it no longer raises CommandError. After `seconds`, the last error is raised."""
    deadline, last = time.monotonic() + seconds, ''
    while True:
        try:
            step()
            return
        except CommandError as error:
            if time.monotonic() > deadline:
                raise
            sentence = error.format_message()
            if sentence != last:
                print_note(f'{sentence} Trying again.')
            last = sentence
        time.sleep(RETRY)
