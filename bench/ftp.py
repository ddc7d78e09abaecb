"""Benchmarks of FTP connections: a file of 1 GB from and to vsftpd, relative to curl."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from bench import load
from bench.figures import Row
from bench.machine import SERVER_CORE, pinned
from trial_tests.support.ftp_servers import Vsftpd

SIZE = 1_000_000_000
NAME = 'big.bin'
_RATE_BAR, _MEMORY_BAR = 0.5, 64.0
_DIRECTIONS = (('download', False), ('upload', False), ('download', True), ('upload', True))


def measure(rounds: int, say: Callable[[str], None], size: int = SIZE) -> list[Row]:
    """Measure all rows, on a vsftpd of their own."""
    server = Vsftpd()
    try:
        path = server.write(NAME, b'')
        with path.open('wb') as file:
            for _ in range(size // 1_000_000):
                file.write(bytes(range(250)) * 4000)
        server.start()
        return [row for direction, tls in _DIRECTIONS for row in _rows(server, path, direction, tls=tls, rounds=rounds,
                                                                       say=say)]  # fmt: skip
    finally:
        server.close()


def _rows(server: Vsftpd, path: Path, direction: str, *, tls: bool, rounds: int, say: Callable[[str], None]
          ) -> list[Row]:  # fmt: skip
    found: dict[str, list[float]] = {'zatotx': [], 'curl': []}
    memory = []
    for _ in range(rounds):  # in turns, so that a slower machine affects both alike
        result = _zatotx(server, path, direction, tls=tls)
        found['zatotx'].append(result['seconds'])
        memory.append(result['memory'])
        found['curl'].append(_curl(server, path, direction, tls=tls))
    size = path.stat().st_size
    # the best round of each: whatever else the machine does only makes a transfer slower
    rates = {who: size / min(seconds) / 1e6 for who, seconds in found.items()}
    what = f'{direction} of {size / 1e9:g} GB{" over TLS" if tls else ""}'
    say(f'  {what}: ' + ', '.join(f'{who} {rate:,.0f} MB/s' for who, rate in rates.items()))
    peak = max(memory) / 2**20
    return [
        Row(what=f'{what} from vsftpd: relative to curl', value=rates['zatotx'] / rates['curl'], bar=_RATE_BAR,
            figure=f'{rates["zatotx"]:,.0f} MB/s : {rates["curl"]:,.0f} MB/s', at_least=True, unit=' x'),
        Row(what=f'{what}, growth of memory', figure=f'{peak:.0f} MiB', value=peak, bar=_MEMORY_BAR, unit=' MiB'),
    ]  # fmt: skip


def _zatotx(server: Vsftpd, path: Path, direction: str, *, tls: bool) -> dict[str, float]:
    ca = str(server.authority.path) if tls else ''
    command = [sys.executable, '-m', 'bench.peers.ftp_transfers', direction, str(server.port), ca, str(path),
               str(path.stat().st_size)]  # fmt: skip
    found: dict[str, float] = msgspec.json.decode(_run('zatotx', command))
    return found


def _curl(server: Vsftpd, path: Path, direction: str, *, tls: bool) -> float:
    command = ['curl', '-sS', '-w', '%{time_total} %{time_pretransfer}', '--stderr', '-']
    if tls:
        command += ['--ssl-reqd', '--cacert', str(server.authority.path)]
    url = f'ftp://localhost:{server.port}/{NAME}'
    command += ['-o', '/dev/null', url] if direction == 'download' else ['-T', str(path), f'{url}.uploaded']
    total, before = _run('curl', command).split()
    return float(total) - float(before)


def _run(who: str, command: list[str]) -> bytes:
    done = subprocess.run(pinned(SERVER_CORE, command), capture_output=True, check=False, timeout=600)
    if done.returncode or not done.stdout:
        raise load.LoadError(f'{who} failed: {(done.stderr or done.stdout).decode().strip()[-500:]}')
    return done.stdout
