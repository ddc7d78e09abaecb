"""Benchmarks of the scheduler with 100,000 jobs: what a leader costs, how fast it writes a burst of runs, how fast
another one is ready, and how long an import takes."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from bench.environment import quickstart
from bench.figures import Row
from bench.machine import SERVER_CORE, pinned
from trial_tests.support.valkey import Valkey

JOBS, BURST, SECONDS = 100_000, 10_000, 10
LEASE = 6.0  # seconds after which the lease of a dead leader is free
_SERVICE = """
from zatotx import Service


class Tick(Service):
    name = 'bench.tick'

    async def handle(self):
        pass
"""


def measure(say: Callable[[str], None]) -> list[Row]:
    """Measure all rows."""
    return [*_leader(say), _import(say)]


def _leader(say: Callable[[str], None]) -> list[Row]:
    """Measure a leader in a process of its own, on a Redis of its own."""
    server = Valkey()
    try:
        server.start()
        command = [sys.executable, '-m', 'bench.peers.tick_loop', str(server.path), str(JOBS), str(BURST), str(SECONDS)]
        done = subprocess.run(pinned(SERVER_CORE, command), capture_output=True, text=True, check=True, timeout=300)
    finally:
        server.close()
    found: dict[str, float] = json.loads(done.stdout)
    say(f'  {found}')
    takeover = LEASE + found['takeover']
    return [
        Row(what=f'CPU of a leader with {JOBS:,} jobs, {found["rate"]:.0f} runs a second', unit=' %', bar=5,
            figure=f'{found["cpu"]:.1%} of a core', value=found['cpu'] * 100),
        Row(what=f'{BURST:,} runs due in one second are written after', figure=f'{found["burst"]:.2f} s',
            value=found['burst'], bar=3, unit=' s'),
        Row(what=f'longest stall while {BURST:,} runs are written', figure=f'{found["burst stall"] * 1000:.0f} ms',
            value=found['burst stall'] * 1000, bar=50, unit=' ms'),
        Row(what=f'another leader has planned {JOBS:,} jobs after a kill -9', figure=f'{takeover:.1f} s',
            value=takeover, bar=9, unit=' s'),
    ]  # fmt: skip


def _import(say: Callable[[str], None]) -> Row:
    """Measure an import by enmasse, on an environment of its own."""
    with quickstart() as environment, tempfile.TemporaryDirectory(prefix='zatotx-bench-') as name:
        environment.start()
        module = Path(name, 'bench_tick.py')
        module.write_text(_SERVICE)
        environment.deploy([module])
        file = Path(name, 'jobs.yaml')
        file.write_text('scheduler:\n' + ''.join(
            f'  - {{name: job-{number}, service: bench.tick, job_type: interval_based, hours: 1}}\n'
            for number in range(JOBS)
        ))  # fmt: skip
        took = environment.enmasse(file).seconds
    say(f'  import: {took:.0f} s')
    return Row(what=f'import of {JOBS:,} jobs', figure=f'{took:.0f} s', value=took, bar=120, unit=' s')
