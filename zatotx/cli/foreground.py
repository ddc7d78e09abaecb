"""Runs a whole environment in the foreground, for containers and terminals."""

from __future__ import annotations

import signal
import threading
from collections.abc import Sequence
from types import FrameType

import click

from zatotx.cli.environment.layout import Component
from zatotx.cli.environment.pid_files import running_process
from zatotx.cli.environment.process_start import start_components
from zatotx.cli.environment.process_stop import stop_components
from zatotx.cli.errors import combine_errors

CHECK_INTERVAL = 0.5  # seconds between two checks of the components


class StopSignalHandler:
    """A signal handler for SIGTERM and SIGINT that sets an event."""

    def __init__(self) -> None:
        self.event = threading.Event()

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        self.event.set()


def run_in_foreground(parts: Sequence[Component]) -> None:
    """Start the components, wait while all of them run, and stop them when a signal asks for it. Raises CommandError if
    one cannot start, ends by itself or does not stop."""
    stop_requested = StopSignalHandler()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop_requested)
    errors = start_components(parts)
    if not errors:
        click.echo(f'Running: {", ".join(part.name for part in parts)}. Press Ctrl-C to stop.')
        errors = wait_until_stopped(parts, stop_requested.event)
    errors += stop_components(parts)
    if errors:
        raise combine_errors([f'{each}.' for each in errors], '{} errors occurred')


def wait_until_stopped(parts: Sequence[Component], stop_requested: threading.Event) -> list[str]:
    """Check the components until a stop is requested or one of them has ended; returns the latter as sentences."""
    while not stop_requested.wait(CHECK_INTERVAL):
        ended = [part for part in parts if running_process(part) is None]
        if ended:
            return [f'{part.name} ended by itself: see {part.path}/logs' for part in ended]
    return []


