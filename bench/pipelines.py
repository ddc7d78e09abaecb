"""Benchmark of pipelined Redis commands: the zatotx client relative to txredisapi, in alternation on one server."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from bench.figures import Row
from bench.load import LoadError
from bench.machine import LOAD_CORE, SERVER_CORE, pinned, running
from zatotx.redis.server_process import find_server_binary

_BAR = 0.8


def measure(*, rounds: int, seconds: float, say: Callable[[str], None]) -> Row:
    """Measure the median round of each client."""
    with _redis() as path:
        command = [sys.executable, '-m', 'bench.peers.redis_pipelines', str(path), str(rounds), str(seconds)]
        done = subprocess.run(
            pinned(SERVER_CORE, command), capture_output=True, check=False, text=True, timeout=60 + 4 * rounds * seconds
        )
    if done.returncode:
        raise LoadError(f'bench.peers.redis_pipelines exited with status {done.returncode}: {done.stderr[-500:]}')
    rates: dict[str, list[float]] = json.loads(done.stdout)
    for number, pair in enumerate(zip(*rates.values(), strict=True), 1):
        say(f'  round {number}: ours {pair[0]:,.0f}/s, txredisapi {pair[1]:,.0f}/s')
    ours, bare = median(rates['ours']), median(rates['txredisapi'])
    return Row(
        what='pipelined Redis commands relative to txredisapi',
        figure=f'{ours:,.0f}/s : {bare:,.0f}/s',
        value=ours / bare,
        bar=_BAR,
        at_least=True,
        unit=' x',
    )


@contextmanager
def _redis() -> Iterator[Path]:
    """The socket path of a Redis without persistence, so that the disk does not affect the result."""
    with tempfile.TemporaryDirectory(prefix='zatotx-bench-') as name:
        path = Path(name, 'redis.sock')
        command = [str(find_server_binary()), '--port', '0', '--unixsocket', str(path), '--save', '', '--dir', name]
        with running(pinned(LOAD_CORE, command)):
            until = time.monotonic() + 10
            while not path.exists():
                if time.monotonic() > until:
                    raise LoadError('valkey-server did not start')
                time.sleep(0.02)
            yield path
