"""Benchmarks of 10,000 channels: the cost of importing them, and the request time compared with 10 channels."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from bench import load, subjects
from bench.environment import Environment, quickstart
from bench.figures import Row, in_turns
from bench.machine import forget_peak, memory

FEW, MANY = 10, 10_000
MIB = 2**20


def measure(*, rounds: int, seconds: float, say: Callable[[str], None]) -> list[Row]:
    """Measure two environments in alternation, one with few channels and one with many."""
    with tempfile.TemporaryDirectory(prefix='zatotx-bench-') as name, quickstart() as few, quickstart() as many:
        folder = Path(name)
        for environment in (few, many):
            environment.start()
            environment.deploy([subjects.echo_module(folder)])
        few_file, few_paths = subjects.many_channels(folder, FEW)
        few.enmasse(few_file)
        many_file, many_paths = subjects.many_channels(folder, MANY)
        rows = _import(many, many_file, say)
        runs = {
            f'{FEW} channels': _runner(few.port, few_paths, seconds),
            f'{MANY} channels': _runner(many.port, many_paths, seconds),
        }
        return [*rows, _lookup_row(in_turns(rounds, runs, say))]


def _import(environment: Environment, file: Path, say: Callable[[str], None]) -> list[Row]:
    pid = environment.server_pid()
    forget_peak(pid)
    usage = environment.enmasse(file)
    server = memory(pid).peak
    say(f'  imported {MANY:,} channels in {usage.seconds:.1f} s')
    return [
        Row(
            what=f'enmasse import of {MANY:,} channels',
            figure=f'{usage.seconds:.1f} s',
            value=usage.seconds,
            bar=60,
            unit=' s',
        ),
        Row(
            what='peak memory during the import',
            figure=f'server {server / MIB:.0f} MiB, command {usage.peak / MIB:.0f} MiB',
            value=max(server, usage.peak) / 1e6,
            bar=400,
            unit=' MB',
        ),
    ]


def _runner(port: int, paths: list[str], seconds: float) -> Callable[[], load.Result]:
    return lambda: load.run(port, subjects.echo(paths[0]), paths=paths, seconds=seconds)


def _lookup_row(results: dict[str, load.Result]) -> Row:
    few, many = (result.rate for result in results.values())
    return Row(
        what=f'request time with {MANY:,} channels relative to {FEW}',
        figure=f'{1e6 / many:.1f} us : {1e6 / few:.1f} us',
        value=few / many,
        bar=1.3,
        unit=' x',
    )
