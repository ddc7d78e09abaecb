"""Benchmarks of SQL connections: statements of services relative to bare SQLAlchemy in threads, and cancelled ones."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from statistics import median
from typing import Any

import msgspec

from bench import load
from bench.figures import Row
from bench.machine import SERVER_CORE, pinned
from trial_tests.support.postgresql import PostgreSQL

POOLS, CALLS, CANCELLED = (20, 5), 10_000, 10_000
_RATE_BAR = 0.6


def measure(rounds: int, say: Callable[[str], None]) -> list[Row]:
    """Measure all rows, on a PostgreSQL of their own."""
    server = PostgreSQL()
    try:
        server.start()
        url = server.url('postgres').replace('+psycopg', '')
        return [*(_rate(url, pool, rounds, say) for pool in POOLS), *_cancelled(url, say)]
    finally:
        server.close()


def _rate(url: str, pool: int, rounds: int, say: Callable[[str], None]) -> Row:
    found: dict[str, list[float]] = {'zatotx': [], 'sqlalchemy': []}
    for _ in range(rounds):  # in turns, so that a slower machine affects both alike
        for who, measured in found.items():
            measured.append(_rate_of(who, url, pool))
    rates = {who: median(measured) for who, measured in found.items()}
    say('  ' + ', '.join(f'{who} {rate:,.0f}/s' for who, rate in rates.items()))
    return Row(
        what=f'one row from PostgreSQL, 20 in flight, pool of {pool}: relative to SQLAlchemy in threads',
        figure=f'{rates["zatotx"]:,.0f}/s : {rates["sqlalchemy"]:,.0f}/s',
        value=rates['zatotx'] / rates['sqlalchemy'], bar=_RATE_BAR, at_least=True, unit=' x',
    )  # fmt: skip


def _cancelled(url: str, say: Callable[[str], None]) -> list[Row]:
    found = _run('cancelled', url, 5, CANCELLED)
    say(f'  {found}')
    what = f'after {CANCELLED:,} statements that were cancelled'
    wrong = CANCELLED - found.get('right', 0)
    return [
        Row(what=f'{what}, failed ones of the next {CANCELLED:,}', figure=f'{wrong}', value=wrong, bar=0),
        Row(what=f'{what}, connections of a pool of 5', figure=f'{found["backends"]}', value=found['backends'], bar=5),
    ]


def _rate_of(who: str, url: str, pool: int) -> float:
    return float(_run(who, url, pool, CALLS)['rate'])


def _run(who: str, url: str, pool: int, calls: int) -> dict[str, Any]:
    command = [sys.executable, '-m', 'bench.peers.sql_calls', who, url, str(pool), str(calls)]
    done = subprocess.run(pinned(SERVER_CORE, command), capture_output=True, text=True, check=False, timeout=600)
    if done.returncode or not done.stdout:
        raise load.LoadError(f'{who} failed: {done.stderr.strip()[-500:]}')
    found: dict[str, Any] = msgspec.json.decode(done.stdout)
    return found
