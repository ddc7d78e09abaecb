"""Benchmarks of two workers relative to one, and of two ways to share a port between workers.

**CPU time of the load generator.** The machine has two cores, and wrk needs a part of one. The benchmark therefore
compares responses per core-second available to the server: the CPU time of its processes (/proc/PID/stat) plus the
idle time of the cores on which it may run (/proc/stat). Time used by wrk or other processes is excluded. One worker
runs on a core of its own, with wrk on the other core. Two workers share both cores with wrk; on two cores of their
own, their rate would be twice their responses per core-second:

    2 R2 / (used2 + idle of both)    to    R1 / (used1 + idle of the one)

Idle time counts against the workers, whether they block each other or wrk is late. The effects of shared resources
(caches, the kernel's network stack, the clock frequency of the CPU) are included.

**Sharing a port.** With `shared`, all workers inherit one listening socket from their parent. The first one to wake up
accepts a connection, and a worker with clearly more connections than another lets that one accept first
(`AcceptBalancer` in processes/workers/shared_listeners.py). With `reuseport`, each worker has its own socket, and the
kernel distributes connections by a hash. Both are measured with a minimal echo server, to make the difference visible:
the rate over keep-alive connections, the rate of short connections, and the distribution of 64 keep-alive connections.
With `reuseport`, the connections in the queue of a worker that crashes are lost, which is why zatotx uses `shared` as
long as the other results are similar. Short connections are about a quarter more expensive with `shared` in this
minimal echo, because each of them wakes up both workers.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path
from statistics import median

from bench import load, subjects
from bench.environment import Environment, quickstart
from bench.figures import Row
from bench.load import Request
from bench.machine import ALL_CORES, LOAD_CORE, SERVER_CORE, Available, pinned, running, wait_for_port
from bench.throughput import serve_echoes
from trial_tests.support.ports import free_port

BAR = 1.6
_ALIKE, _ALIKE_SHORT = 0.8, 0.5  # minimum rates relative to SO_REUSEPORT
_UNEVEN = 0.7  # maximum share of keep-alive connections on one of two workers
_KEPT = 64
_SHORT = {'Connection': 'close'}


def measure(environment: Environment, folder: Path, times: tuple[int, float], say: Callable[[str], None]) -> list[Row]:
    """Measure all rows. The environment runs one worker and serves the echoes. `times`: rounds, seconds per run."""
    with quickstart(cores=ALL_CORES, more=('--workers', '2')) as two_workers:
        two_workers.start()
        serve_echoes(two_workers, folder)
        scale = _scale(*_in_turns(environment, two_workers, times, say))
    return [scale, *_sharing(*times, say)]


def _in_turns(one: Environment, two: Environment, times: tuple[int, float], say: Callable[[str], None]
              ) -> tuple[list[float], list[float]]:
    """The responses per core-second of one worker and of two workers, in each round."""
    rounds, seconds = times
    ones, twos = [], []
    for number in range(rounds):
        ones.append(_a_core_second(one, (SERVER_CORE,), LOAD_CORE, seconds))
        twos.append(_a_core_second(two, (SERVER_CORE, LOAD_CORE), ALL_CORES, seconds))
        say(f'  round {number + 1}: {ones[-1]:,.0f} responses per core-second by one worker, {twos[-1]:,.0f} by two')
    return ones, twos


def _a_core_second(environment: Environment, cores: Sequence[int], load_on: int | str, seconds: float) -> float:
    had = Available(environment.server_pids(), cores)
    result = load.run(environment.port, subjects.echo(), seconds=seconds, cores=load_on, around=had)
    return result.requests / had.seconds


def _scale(ones: list[float], twos: list[float]) -> Row:
    one, two = median(ones), 2 * median(twos)
    return Row(
        what='2 workers on 2 cores relative to 1 on 1, without the CPU time of wrk',
        figure=f'{two:,.0f}/s : {one:,.0f}/s',
        value=two / one,
        bar=BAR,
        at_least=True,
        unit=' x',
    )


def _sharing(rounds: int, seconds: float, say: Callable[[str], None]) -> list[Row]:
    """Compare a shared listening socket with one socket per worker."""
    found: dict[str, list[tuple[float, float, float]]] = {'shared': [], 'reuseport': []}
    with ExitStack() as stack:
        ports = {}
        for mode in found:
            ports[mode] = free_port()
            command = [sys.executable, '-m', 'bench.peers.twisted_workers', str(ports[mode]), mode]
            stack.enter_context(running(pinned(ALL_CORES, command)))
            wait_for_port(ports[mode])
        for _ in range(rounds):
            for mode, port in ports.items():
                kept = load.run(port, subjects.echo(), seconds=seconds, cores=ALL_CORES)
                echo = subjects.echo()
                short = Request(path=echo.path, body=echo.body, headers={**echo.headers, **_SHORT})
                brief = load.run(port, short, seconds=seconds, cores=ALL_CORES)
                found[mode].append((kept.rate, brief.rate, _unevenness(port)))
    shared, other = ([median(column) for column in zip(*found[mode], strict=True)] for mode in ('shared', 'reuseport'))
    say(f'  shared {shared[0]:,.0f}/s keep-alive, {shared[1]:,.0f}/s short, {shared[2]:.0%} of {_KEPT} on one worker; '
        f'reuseport {other[0]:,.0f}/s, {other[1]:,.0f}/s, {other[2]:.0%}')
    return [
        Row(what='shared listening socket relative to SO_REUSEPORT: keep-alive connections',
            figure=f'{shared[0]:,.0f}/s : {other[0]:,.0f}/s', value=shared[0] / other[0], bar=_ALIKE, at_least=True,
            unit=' x'),
        Row(what='shared listening socket relative to SO_REUSEPORT: one request per connection',
            figure=f'{shared[1]:,.0f}/s : {other[1]:,.0f}/s', value=shared[1] / other[1], bar=_ALIKE_SHORT,
            at_least=True, unit=' x'),
        Row(what=f'shared listening socket: largest share of {_KEPT} keep-alive connections on one worker',
            figure=f'{shared[2]:.0%} : {other[2]:.0%}', value=shared[2], bar=_UNEVEN),
    ]  # fmt: skip


def _unevenness(port: int) -> float:
    """The share of keep-alive connections on the worker with the most connections."""
    connections = [HTTPConnection('127.0.0.1', port, timeout=15) for _ in range(_KEPT)]
    seen: Counter[bytes] = Counter()
    for connection in connections:  # connect all of them before the first request
        connection.connect()
    for connection in connections:
        connection.request('POST', '/', body='x')
        seen[connection.getresponse().read()] += 1
        connection.close()
    return max(seen.values()) / _KEPT
