"""Benchmark of ZeroMQ channels: messages from a PULL socket to a service, relative to txZMQ."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from statistics import median

import msgspec

from bench.figures import Row
from bench.load import LoadError
from bench.machine import LOAD_CORE, SERVER_CORE, pinned
from trial_tests.support.ports import free_port

COUNT = 100_000
_BAR = 0.6


def measure(rounds: int, say: Callable[[str], None], count: int = COUNT) -> list[Row]:
    """Measure the row. Both receive from a peer of their own on the other core, in turns."""
    rates: dict[str, list[float]] = {'zatotx': [], 'txzmq': []}
    for number in range(rounds):
        for who, found in rates.items():
            found.append(_run(who, count))
        say(f'  round {number + 1}: ' + ', '.join(f'{who} {found[-1]:,.0f}/s' for who, found in rates.items()))
    ours, theirs = (median(found) for found in rates.values())
    return [Row(what='PULL of ZeroMQ to a service, 1 KB: relative to txZMQ without one', value=ours / theirs, bar=_BAR,
                figure=f'{ours:,.0f}/s : {theirs:,.0f}/s', at_least=True, unit=' x')]  # fmt: skip


def _run(who: str, count: int) -> float:
    address = f'tcp://127.0.0.1:{free_port()}'
    program = [sys.executable, '-m', 'bench.peers.zmq_pull']
    with subprocess.Popen(pinned(LOAD_CORE, [*program, 'push', address, str(count)])) as peer:
        try:
            done = subprocess.run(pinned(SERVER_CORE, [*program, who, address, str(count)]), capture_output=True,
                                  check=False, timeout=300)  # fmt: skip
        finally:
            peer.kill()
    if done.returncode or not done.stdout:
        raise LoadError(f'{who} failed: {done.stderr.decode().strip()[-500:]}')
    rate: float = msgspec.json.decode(done.stdout)['rate']
    return rate
