"""A whole environment in the foreground, as containers and terminals want it."""

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
from zatotx.cli.errors import failure_of

LOOK = 0.5  # seconds between two looks at the parts


class StopRequested:
    """Somebody wants us to end: SIGTERM or SIGINT came."""

    def __init__(self) -> None:
        self.event = threading.Event()

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        self.event.set()


def run_in_foreground(parts: Sequence[Component]) -> None:
    """Start the parts, stay while all of them live, stop them when asked to. Raises Failure where one cannot start,
    ends by itself or does not stop."""
    asked = StopRequested()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, asked)
    faults = start_components(parts)
    if not faults:
        click.echo(f'Running: {", ".join(part.name for part in parts)}. Ctrl-C stops.')
        faults = supervise(parts, asked.event)
    faults += stop_components(parts)
    if faults:
        raise failure_of([f'{each}.' for each in faults], '{} things went wrong')


def supervise(parts: Sequence[Component], asked: threading.Event) -> list[str]:
    """Look at the parts until somebody wants the end or one of them is gone; which, as sentences."""
    while not asked.wait(LOOK):
        gone = [part for part in parts if running_process(part) is None]
        if gone:
            return [f'{part.name} ended by itself: see {part.path}/logs' for part in gone]
    return []


