"""Benchmark of the start of a server with 100 services: time from exec to the first response."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from bench import subjects
from bench.environment import TWISTD, Environment
from bench.figures import Row, median_of
from bench.machine import SERVER_CORE, pinned, running

SERVICES = 100


def measure(environment: Environment, folder: Path, *, rounds: int, say: Callable[[str], None]) -> Row:
    """Measure the median of `rounds` starts. The environment runs and serves the echoes before and after."""
    environment.deploy(subjects.many_modules(folder, SERVICES))
    environment.command('stop', str(environment.server))
    seconds = median_of(rounds, lambda: _start(environment, say))
    environment.start()
    return Row(
        what=f'start to first response with {SERVICES} services',
        figure=f'{seconds:.2f} s',
        value=seconds,
        bar=1.5,
        unit=' s',
    )


def _start(environment: Environment, say: Callable[[str], None]) -> float:
    """The seconds from exec until a deployed service responds; a ping would not show that services are loaded."""
    command = [TWISTD, '-n', 'zato-server', '--dir', str(environment.server)]
    began = time.monotonic()
    with running(pinned(SERVER_CORE, command), grace=20):
        environment.wait_until_served(subjects.echo())
        took = time.monotonic() - began
    say(f'  first response after {took:.2f} s')
    return took
