"""Benchmarks of rate limits, in Redis and per server, relative to an echo without limits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import yaml

from bench import load, subjects
from bench.environment import Environment
from bench.figures import Row, in_turns

_BARS = {'exact': 0.4, 'local': 0.85}
_TITLES = {
    'exact': 'echo with a rate limit in Redis relative to no limit',
    'local': 'echo with a per-server rate limit relative to no limit',
}
_ENOUGH = '1000000/1s'  # never exceeded, because a rejection would be cheaper than an echo


def measure(environment: Environment, folder: Path, budget: tuple[int, float], say: Callable[[str], None]) -> list[Row]:
    """Measure all rows. The environment runs and serves the echo. `budget`: number of rounds, seconds per run."""
    rounds, seconds = budget
    environment.enmasse(_channels(folder))
    targets = {'unlimited': subjects.echo(), **{name: subjects.echo(f'/bench/{name}') for name in _BARS}}
    for name, request in targets.items():
        status, body = load.answer(environment.port, request)
        if status != 200:
            raise load.LoadError(f'{name} is not served: {status} {body[:200]!r}')
    found = in_turns(rounds, {name: _runner(environment.port, to, seconds) for name, to in targets.items()}, say)
    return [
        Row(what=_TITLES[name], figure=f'{found[name].rate:,.0f}/s : {found["unlimited"].rate:,.0f}/s',
            value=found[name].rate / found['unlimited'].rate, bar=bar, at_least=True, unit=' x')
        for name, bar in _BARS.items()
    ]  # fmt: skip


def _runner(port: int, request: load.Request, seconds: float) -> Callable[[], load.Result]:
    return lambda: load.run(port, request, seconds=seconds)


def _channels(folder: Path) -> Path:
    """Write an enmasse file with both limits, each with a channel."""
    limits = [{'name': f'bench.{name}', 'limit': _ENOUGH, 'per': 'principal', 'exact': name == 'exact'}
              for name in _BARS]  # fmt: skip
    channels = [{**subjects.channel(f'bench.{name}', f'/bench/{name}', 'bench.echo'), 'rate_limits': [f'bench.{name}']}
                for name in _BARS]  # fmt: skip
    file = folder / 'rates.yaml'
    file.write_text(yaml.safe_dump({'rate_limit': limits, 'channel_rest': channels}, sort_keys=False))
    return file
