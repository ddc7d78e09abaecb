"""Two workers beside one, and the two ways in which workers can share a port.

**How the generator's cost is subtracted.** This machine has two cores and wrk needs a part of one. So what is compared
is answers per core-second that the server had: what its processes used (/proc/PID/stat) and what the cores it may run
on were idle (/proc/stat). What wrk used, or anybody else, is in neither. One worker is measured as everywhere here: on
a core of its own, wrk on the other. Two workers and wrk share both cores, and on two cores of their own the workers
would give twice what they give a core-second:

    2 R2 / (used2 + idle of both)    to    R1 / (used1 + idle of the one)

Time that nobody uses counts against the workers, whether they are in each other's way or wrk is late. What they share
(caches, the kernel's network stack, the frequency of the processor) is in the figure as it is.

**How a port is shared.** `shared`: one listening socket that all workers have inherited from their parent; whoever
wakes first accepts, and who has clearly more connections than another lets that one go first
(node/workers/adopting.py).
`reuseport`: a socket a worker, the kernel chooses by a hash. Measured on the barest echo there is, so that the
difference would show: the rate over kept connections, of short connections, and how evenly 64 kept connections come to
lie. The socket of a worker that dies takes the connections in its queue with it where each has its own; held by the
parent it does not. That decides it, as long as the other figures are alike. Short connections are dearer, because each
of them wakes both: on this echo, which does next to nothing else, by about a quarter.
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
from bench.machine import ALL_CORES, LOAD_CORE, SERVER_CORE, Available, free_port, pinned, running, wait_for_port
from bench.throughput import serve_echoes

BAR = 1.6
_ALIKE, _ALIKE_SHORT = 0.8, 0.5  # of SO_REUSEPORT's rate: less would be a reason to change
_UNEVEN = 0.7  # of all kept connections on one of two workers: more would leave the other one idle
_KEPT = 64
_SHORT = {'Connection': 'close'}


def measure(environment: Environment, folder: Path, times: tuple[int, float], say: Callable[[str], None]) -> list[Row]:
    """The rows. The environment has one worker, runs, and serves the echoes. `times`: rounds, and seconds of a run."""
    with quickstart(cores=ALL_CORES, more=('--workers', '2')) as crew:
        crew.start()
        serve_echoes(crew, folder)
        scale = _scale(*_in_turns(environment, crew, times, say))
    return [scale, *_sharing(*times, say)]


def _in_turns(one: Environment, two: Environment, times: tuple[int, float], say: Callable[[str], None]
              ) -> tuple[list[float], list[float]]:
    """Answers a core-second of one worker and of two, a figure a round."""
    rounds, seconds = times
    ones, twos = [], []
    for number in range(rounds):
        ones.append(_a_core_second(one, (SERVER_CORE,), LOAD_CORE, seconds))
        twos.append(_a_core_second(two, (SERVER_CORE, LOAD_CORE), ALL_CORES, seconds))
        say(f'  round {number + 1}: a core-second gives {ones[-1]:,.0f} of one worker, {twos[-1]:,.0f} of two')
    return ones, twos


def _a_core_second(environment: Environment, cores: Sequence[int], load_on: int | str, seconds: float) -> float:
    had = Available(environment.server_pids(), cores)
    result = load.run(environment.port, subjects.echo(), seconds=seconds, cores=load_on, around=had)
    return result.requests / had.seconds


def _scale(ones: list[float], twos: list[float]) -> Row:
    one, two = median(ones), 2 * median(twos)
    return Row(
        what='2 workers on 2 cores beside 1 on 1, the load generator\'s share of the cores subtracted',
        figure=f'{two:,.0f}/s : {one:,.0f}/s',
        value=two / one,
        bar=BAR,
        at_least=True,
        unit=' x',
    )


def _sharing(rounds: int, seconds: float, say: Callable[[str], None]) -> list[Row]:
    """One listening socket beside one a worker."""
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
    say(f'  shared {shared[0]:,.0f}/s kept, {shared[1]:,.0f}/s short, {shared[2]:.0%} of {_KEPT} on the fuller one; '
        f'reuseport {other[0]:,.0f}/s, {other[1]:,.0f}/s, {other[2]:.0%}')
    return [
        Row(what='one listening socket beside one a worker: kept connections',
            figure=f'{shared[0]:,.0f}/s : {other[0]:,.0f}/s', value=shared[0] / other[0], bar=_ALIKE, at_least=True,
            unit=' x'),
        Row(what='one listening socket beside one a worker: a connection a request',
            figure=f'{shared[1]:,.0f}/s : {other[1]:,.0f}/s', value=shared[1] / other[1], bar=_ALIKE_SHORT,
            at_least=True, unit=' x'),
        Row(what=f'one listening socket: the share of {_KEPT} kept connections that the fuller worker has',
            figure=f'{shared[2]:.0%} : {other[2]:.0%}', value=shared[2], bar=_UNEVEN),
    ]  # fmt: skip


def _unevenness(port: int) -> float:
    """The share of kept connections that lie on the worker that has most of them."""
    connections = [HTTPConnection('127.0.0.1', port, timeout=15) for _ in range(_KEPT)]
    seen: Counter[bytes] = Counter()
    for connection in connections:  # all of them first: they come as a crowd
        connection.connect()
    for connection in connections:
        connection.request('POST', '/', body='x')
        seen[connection.getresponse().read()] += 1
        connection.close()
    return max(seen.values()) / _KEPT
