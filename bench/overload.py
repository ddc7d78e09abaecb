"""Benchmark of a server at ten times its capacity: throughput and memory."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from bench import load, subjects
from bench.environment import Environment
from bench.figures import Row
from bench.footprint import allow_files
from bench.machine import LOAD_CORE, memory, pinned
from bench.openloop import Outcome

AT_ONCE, WAIT = 100, 0.1  # concurrency limit of the service, seconds per request
PEAK = AT_ONCE / WAIT  # requests per second
TIMES = 10
CONNECTIONS = 1_000
_LOOK = 0.25  # seconds between memory measurements
_SERVICE = f'''
from twisted.internet import reactor
from twisted.internet.task import deferLater

from zatotx import Service


class Waits(Service):
    """ Simulates a call to another system. """
    name = 'bench.waits'

    async def handle(self):
        await deferLater(reactor, {WAIT})
        self.response.payload = self.request.payload
'''


def serve(environment: Environment, folder: Path) -> None:
    """Deploy the service and its channel with a concurrency limit."""
    file = folder / 'bench_waits.py'
    file.write_text(_SERVICE)
    environment.deploy([file])
    environment.enmasse(subjects.limited_channel(folder, 'bench.waits', AT_ONCE))


def measure(environment: Environment, *, seconds: float, say: Callable[[str], None]) -> list[Row]:
    """Measure throughput at the peak rate, then throughput and memory at ten times that rate."""
    allow_files(CONNECTIONS + 200)
    pid = environment.server_pid()
    request = wire(subjects.echo('/bench/waits'))
    environment.wait_until_served(subjects.echo('/bench/waits'))
    peak = overloaded(environment.port, request, PEAK, seconds, seen=lambda: None).goodput
    held = [memory(pid).rss]
    outcome = overloaded(
        environment.port, request, PEAK * TIMES, seconds * 2, seen=lambda: held.append(memory(pid).rss)
    )
    offered = (outcome.due - outcome.unsent) / outcome.seconds
    say(f'  peak {peak:,.0f}/s; {offered:,.0f}/s sent, {outcome.goodput:,.0f}/s successful, '
        f'{outcome.unsent:,} not sent, {outcome.broken} connections lost; {outcome.statuses}')  # fmt: skip
    if outcome.broken or set(outcome.statuses) - {'200', '503'}:
        raise load.LoadError(f'Connections were lost or responses were wrong under overload: {outcome}')
    return rows(peak, offered, outcome.goodput, held)


def overloaded(port: int, request: bytes, rate: float, seconds: float, *, seen: Callable[[], object]) -> Outcome:
    """Run the open-loop generator in a child process, and call `seen` periodically."""
    command = [sys.executable, '-m', 'bench.openloop', str(port), str(rate), str(seconds), str(CONNECTIONS)]
    process = subprocess.Popen(pinned(LOAD_CORE, command), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(request)
    process.stdin.close()
    until = time.monotonic() + seconds + 30
    try:
        while process.poll() is None and time.monotonic() < until:
            seen()
            time.sleep(_LOOK)
        return msgspec.json.decode(process.stdout.read(), type=Outcome)
    finally:
        process.kill()
        process.wait()


def wire(request: load.Request) -> bytes:
    """The request in wire format."""
    fields = {'Host': 'bench', **request.headers, 'Content-Length': str(len(request.body))}
    head = ''.join(f'{name}: {value}\r\n' for name, value in fields.items())
    return f'{request.method} {request.path} HTTP/1.1\r\n{head}\r\n{request.body}'.encode()


def rows(peak: float, offered: float, goodput: float, held: list[int]) -> list[Row]:
    """The rows. `held`: the memory in bytes before the overload, followed by the measurements during it."""
    before, *during = held
    half = len(during) // 2
    growth = (max(during[half:]) - max(during[:half])) / 1e6
    times = offered / peak
    return [
        Row(what=f'goodput at {times:.1f} x overload relative to the peak', figure=f'{goodput:,.0f}/s of {peak:,.0f}/s',
            value=goodput / peak, bar=0.8, at_least=True),
        Row(what='memory growth during the overload', figure=f'{(max(during) - before) / 1e6:+.1f} MB',
            value=(max(during) - before) / 1e6, bar=64, unit=' MB'),
        Row(what='memory growth in its second half', figure=f'{growth:+.1f} MB', value=growth, bar=8, unit=' MB'),
    ]  # fmt: skip
