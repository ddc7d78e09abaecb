"""Benchmarks of outgoing HTTP: CPU time of a call relative to treq over Agent, and a relay relative to an echo."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec
import yaml

from bench import load, subjects
from bench.environment import Environment
from bench.figures import Row, in_turns, median_of
from bench.machine import LOAD_CORE, SERVER_CORE, pinned, running, wait_for_port
from trial_tests.support.ports import free_port

CALLS = 10_000
_CALL_BAR, _RELAY_BAR = 4.0, 0.35
RELAY = '''
from zatotx import Service


class Relay(Service):
    """ Forwards the request and returns the response unchanged. """
    name = 'bench.relay'

    async def handle(self):
        answer = await self.out.rest['bench.upstream'].post(self.request.raw_request)
        self.response.payload = answer.text
'''


class _Spent(msgspec.Struct):
    calls: int
    cpu: float  # seconds

    @property
    def micros(self) -> float:
        """Microseconds per call."""
        return self.cpu / self.calls * 1e6


def measure(environment: Environment, folder: Path, budget: tuple[int, float], say: Callable[[str], None]) -> list[Row]:
    """Measure all rows. The environment runs and serves the echo. `budget`: number of rounds, seconds per run."""
    rounds, seconds = budget
    port = free_port()
    with running(pinned(LOAD_CORE, [sys.executable, '-m', 'bench.peers.twisted_echo', str(port)])):
        wait_for_port(port)
        rows = [_calls(method, port, rounds, say) for method in ('GET', 'POST')]
        return [*rows, _relay(environment, folder, (rounds, seconds, port), say)]


def _calls(method: str, port: int, rounds: int, say: Callable[[str], None]) -> Row:
    whom = ('zatotx', 'treq', 'treq-on-zatotx')
    spent = {who: median_of(rounds, partial(_spent, who, method, port)) for who in whom}
    say(f'  {method}: ' + ', '.join(f'{who} {micros:.0f} us' for who, micros in spent.items()))
    return Row(
        what=f'CPU time of an outgoing {method}, 32 concurrent: treq over Agent relative to zatotx',
        figure=f'{spent["treq"]:.0f} us : {spent["zatotx"]:.0f} us (treq over zatotx {spent["treq-on-zatotx"]:.0f})',
        value=spent['treq'] / spent['zatotx'], bar=_CALL_BAR, at_least=True, unit=' x',
    )  # fmt: skip


def _spent(who: str, method: str, port: int) -> float:
    command = [sys.executable, '-m', 'bench.peers.outgoing_calls', who, method, str(port), str(CALLS)]
    done = subprocess.run(pinned(SERVER_CORE, command), capture_output=True, text=True, check=False, timeout=120)
    if done.returncode or not done.stdout:
        raise load.LoadError(f'{who} failed: {done.stderr.strip()[-500:]}')
    return msgspec.json.decode(done.stdout, type=_Spent).micros


def _relay(environment: Environment, folder: Path, asked: tuple[int, float, int], say: Callable[[str], None]) -> Row:
    rounds, seconds, port = asked
    module = folder / 'bench_relay.py'
    module.write_text(RELAY)
    environment.deploy([module])
    environment.enmasse(_document(folder, port))
    targets = {'echo': subjects.echo(), 'relay': subjects.echo('/bench/relay')}
    status, body = load.answer(environment.port, targets['relay'])
    if status != 200 or body.replace(b' ', b'') != subjects.BODY.replace(' ', '').encode():
        raise load.LoadError(f'The relay returned a wrong response: {status} {body[:200]!r}')
    runs = {name: _runner(environment.port, to, seconds) for name, to in targets.items()}
    found = in_turns(rounds, runs, say)
    return Row(
        what='relay that forwards bodies unchanged relative to an echo',
        figure=f'{found["relay"].rate:,.0f}/s (p99 {found["relay"].p99 / 1000:.2f} ms) : {found["echo"].rate:,.0f}/s',
        value=found['relay'].rate / found['echo'].rate, bar=_RELAY_BAR, at_least=True, unit=' x',
    )  # fmt: skip


def _runner(port: int, request: load.Request, seconds: float) -> Callable[[], load.Result]:
    return lambda: load.run(port, request, seconds=seconds)


def _document(folder: Path, port: int) -> Path:
    document = {
        'channel_rest': [subjects.channel('bench.relay', '/bench/relay', 'bench.relay')],
        'outgoing_rest': [{'name': 'bench.upstream', 'host': f'http://127.0.0.1:{port}', 'url_path': '/echo',
                           'data_format': 'json', 'pool_size': load.CONNECTIONS}],
    }  # fmt: skip
    file = folder / 'relay.yaml'
    file.write_text(yaml.safe_dump(document, sort_keys=False))
    return file
