"""A whole environment in the foreground, as containers and terminals want it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Sequence
from types import FrameType

import click

from zatotx.cli.environment.layout import Part
from zatotx.cli.environment.pid_files import running
from zatotx.cli.environment.process_start import start_parts
from zatotx.cli.environment.process_stop import stop_parts
from zatotx.cli.errors import failure_of

LOOK = 0.5  # seconds between two looks at the parts


class Asked:
    """Somebody wants us to end: SIGTERM or SIGINT came."""

    def __init__(self) -> None:
        self.event = threading.Event()

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        self.event.set()


def run_in_foreground(parts: Sequence[Part]) -> None:
    """Start the parts, stay while all of them live, stop them when asked to. Raises Failure where one cannot start,
    ends by itself or does not stop."""
    asked = Asked()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, asked)
    faults = start_parts(parts)
    if not faults:
        click.echo(f'Running: {", ".join(part.name for part in parts)}. Ctrl-C stops.')
        faults = watch(parts, asked.event)
    faults += stop_parts(parts)
    if faults:
        raise failure_of([f'{each}.' for each in faults], '{} things went wrong')


def watch(parts: Sequence[Part], asked: threading.Event) -> list[str]:
    """Look at the parts until somebody wants the end or one of them is gone; which, as sentences."""
    while not asked.wait(LOOK):
        gone = [part for part in parts if running(part) is None]
        if gone:
            return [f'{part.name} ended by itself: see {part.path}/logs' for part in gone]
    return []


