"""Ten times what a server can do: what it still does, and what it holds meanwhile."""

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

AT_ONCE, WAIT = 100, 0.1  # requests that the service takes at once, seconds each of them waits for another system
PEAK = AT_ONCE / WAIT  # requests a second
TIMES = 10
CONNECTIONS = 1_000
_LOOK = 0.25  # seconds between two looks at the memory
_SERVICE = f'''
from twisted.internet import reactor
from twisted.internet.task import deferLater

from zatotx import Service


class Waits(Service):
    """ Waits as long as another system takes. """
    name = 'bench.waits'

    async def handle(self):
        await deferLater(reactor, {WAIT})
        self.response.payload = self.request.payload
'''


def serve(environment: Environment, folder: Path) -> None:
    """Deploy the service and its channel, which takes so many at once."""
    file = folder / 'bench_waits.py'
    file.write_text(_SERVICE)
    environment.deploy([file])
    environment.enmasse(subjects.limited_channel(folder, 'bench.waits', AT_ONCE))


def measure(environment: Environment, *, seconds: float, say: Callable[[str], None]) -> list[Row]:
    """As many requests as the service can take, then ten times as many; the memory meanwhile."""
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
    say(f'  peak {peak:,.0f}/s; of {offered:,.0f}/s sent, {outcome.goodput:,.0f}/s were served, '
        f'{outcome.unsent:,} not sent, {outcome.broken} connections lost; {outcome.statuses}')  # fmt: skip
    if outcome.broken or set(outcome.statuses) - {'200', '503'}:
        raise load.LoadError(f'Under overload connections were lost or answers wrong: {outcome}')
    return rows(peak, offered, outcome.goodput, held)


def overloaded(port: int, request: bytes, rate: float, seconds: float, *, seen: Callable[[], object]) -> Outcome:
    """A run of the open loop in a process of its own; `seen` is called again and again meanwhile."""
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
    """The request as it is sent."""
    fields = {'Host': 'bench', **request.headers, 'Content-Length': str(len(request.body))}
    head = ''.join(f'{name}: {value}\r\n' for name, value in fields.items())
    return f'{request.method} {request.path} HTTP/1.1\r\n{head}\r\n{request.body}'.encode()


def rows(peak: float, offered: float, goodput: float, held: list[int]) -> list[Row]:
    """The figures with their bars. `held`: the memory before, and as it was seen during the overload."""
    before, *during = held
    half = len(during) // 2
    growth = (max(during[half:]) - max(during[:half])) / 1e6
    times = offered / peak
    return [
        Row(what=f'goodput under {times:.1f} x overload / peak', figure=f'{goodput:,.0f}/s of {peak:,.0f}/s',
            value=goodput / peak, bar=0.8, at_least=True),
        Row(what='memory under it, beyond that at the peak', figure=f'{(max(during) - before) / 1e6:+.1f} MB',
            value=(max(during) - before) / 1e6, bar=64, unit=' MB'),
        Row(what='its growth in the second half', figure=f'{growth:+.1f} MB', value=growth, bar=8, unit=' MB'),
    ]  # fmt: skip
