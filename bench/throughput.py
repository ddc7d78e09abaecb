"""Throughput benchmark: the broker's echo relative to minimal echo servers, in alternation."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench import load, subjects
from bench.environment import Environment
from bench.figures import Row, in_turns
from bench.machine import SERVER_CORE, pinned, running, wait_for_port
from trial_tests.support.ports import free_port

PEERS = {'twisted': 'raw Twisted + httptools', 'uvicorn': 'uvicorn', 'gunicorn': 'gunicorn + gevent'}
_BARS = {'twisted': 0.6, 'uvicorn': 1.2, 'gunicorn': 4.5}
_THREAD_BAR = 0.4
_PEER_TOLERANCE = 0.01  # share of a peer's responses that may fail; the row shows how many did


@contextmanager
def peer(name: str) -> Iterator[int]:
    """Run a peer and yield its port."""
    port = free_port()
    command = pinned(SERVER_CORE, [sys.executable, '-m', f'bench.peers.{name}_echo', str(port)])
    with running(command):
        wait_for_port(port)
        yield port


def measure(environment: Environment, *, rounds: int, seconds: float, say: Callable[[str], None]) -> list[Row]:
    """Measure all rows. The environment runs and serves both echoes."""
    targets = {
        'zatotx async': (environment.port, subjects.echo()),
        'zatotx def': (environment.port, subjects.echo('/bench/echo/thread')),
    }
    with ExitStack() as stack:
        for name in PEERS:
            targets[name] = stack.enter_context(peer(name)), subjects.echo()
        for name, (port, request) in targets.items():
            _check(name, port, request)
        results = in_turns(rounds, {name: _runner(name, *to, seconds) for name, to in targets.items()}, say)
    return rows(results)


def _check(name: str, port: int, request: load.Request) -> None:
    """Check that the server returns the document that was sent. Raises LoadError."""
    status, body = load.answer(port, request)
    if status != 200 or body.replace(b' ', b'') != request.body.replace(' ', '').encode():
        raise load.LoadError(f'{name} does not echo: {status} {body[:200]!r}')


def _runner(name: str, port: int, request: load.Request, seconds: float) -> Callable[[], load.Result]:
    """A run that names the server when it fails. Our own server must not lose a single response."""

    def measured() -> load.Result:
        try:
            return load.run(port, request, seconds=seconds, tolerance=_PEER_TOLERANCE if name in PEERS else 0.0)
        except load.LoadError as error:
            raise load.LoadError(f'{name}: {error}') from None

    return measured


def rows(results: Mapping[str, load.Result]) -> list[Row]:
    """The rows of the measured runs by server. What a peer lost counts as if it had answered as fast as all others."""
    ours, rates = results['zatotx async'], {name: result.rate for name, result in results.items()}
    found = [
        Row(
            what=f'echo relative to {title}',
            figure=f'{ours.rate:,.0f}/s (p99 {ours.p99 / 1000:.2f} ms) : {_peer_figure(results[name])}',
            value=ours.rate / rates[name],
            bar=_BARS[name],
            at_least=True,
            unit=' x',
        )
        for name, title in PEERS.items()
    ]
    thread = Row(
        what='def echo relative to async def',
        figure=f'{rates["zatotx def"]:,.0f}/s : {rates["zatotx async"]:,.0f}/s',
        value=rates['zatotx def'] / rates['zatotx async'],
        bar=_THREAD_BAR,
        at_least=True,
        unit=' x',
    )
    return [*found, thread]


def _peer_figure(result: load.Result) -> str:
    lost = f' ({result.failed} of {result.requests:,} responses failed: {result.describe_failures()})'
    return f'{result.rate:,.0f}/s{lost if result.failed else ""}'


def serve_echoes(environment: Environment, folder: Path) -> None:
    """Deploy both echo services and their channels."""
    environment.deploy([subjects.echo_module(folder)])
    environment.enmasse(subjects.echo_channels(folder))
