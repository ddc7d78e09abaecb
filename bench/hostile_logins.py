"""Benchmark of password guessing: the duration of a first login while another address sends wrong passwords."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import yaml

from bench import subjects
from bench.environment import Environment, quickstart
from bench.figures import Row
from bench.footprint import allow_files

WAITING = 1_100  # connections that send a wrong password, wait for the response, and repeat
HASTY = 40  # connections that disconnect before the response
PATIENCE = 0.06  # seconds after which they disconnect
FIRST_LOGINS = 8
BAR = 5.0  # seconds
_REFUSED = 60.0  # seconds that count for a login that does not succeed
_GUESSER, _CALLER = '127.0.0.66', '127.0.0.77'
_PAUSE = 2.0  # seconds between attempts: the test is about waiting logins, not a flood of requests


def measure(environment: Environment, folder: Path, *, say: Callable[[str], None]) -> list[Row]:
    """Measure the slowest of several first logins. The environment runs and serves the echo."""
    allow_files(WAITING + HASTY + 200)
    environment.enmasse(_callers(folder))
    environment.wait_until_served(subjects.echo())
    crowd = _Crowd(environment.port)
    with crowd:
        time.sleep(3.0)  # until the attackers have exceeded their limit and their queues are full
        took = [first_login(environment.port, number) for number in range(FIRST_LOGINS)]
    say(f'  first logins: {", ".join(f"{seconds:.2f} s" for seconds in took)}; attackers received '
        f'{dict(sorted(crowd.answers.items()))}')  # fmt: skip
    return rows(took)


def rows(took: Sequence[float]) -> list[Row]:
    """The row. `took`: the seconds of each login, or `_REFUSED` if it failed."""
    worst = max(took)
    return [Row(what=f'first login while {WAITING:,} wrong logins from another address wait and {HASTY} disconnect',
                figure=f'{worst:.2f} s, the slowest of {len(took)}', value=worst, bar=BAR, unit=' s')]  # fmt: skip


class _Crowd:
    """Attackers at one address, which run in a thread from `__enter__` to `__exit__`."""

    def __init__(self, port: int) -> None:
        self.answers: dict[str, int] = {}  # status -> count
        self._port = port
        self._numbers = count()
        self._loop = asyncio.new_event_loop()
        self._over = asyncio.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(30)

    def _run(self) -> None:
        self._loop.run_until_complete(self._all())
        self._loop.close()

    async def _all(self) -> None:
        guessers = [self._guess_on(self._patient) for _ in range(WAITING)]
        guessers += [self._guess_on(self._hasty) for _ in range(HASTY)]
        tasks = [asyncio.ensure_future(guesser) for guesser in guessers]
        await self._over.wait()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _guess_on(self, guess: Callable[[], Coroutine[Any, Any, None]]) -> None:
        while True:
            try:
                await guess()
            except (OSError, asyncio.IncompleteReadError):
                self._count('lost')
                await asyncio.sleep(_PAUSE)

    async def _patient(self) -> None:
        await self._answered()
        await asyncio.sleep(_PAUSE)

    async def _hasty(self) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._answered(), PATIENCE)
        await asyncio.sleep(PATIENCE)

    async def _answered(self) -> None:
        """Send one wrong login on a new connection and wait for the response."""
        reader, writer = await asyncio.open_connection('127.0.0.1', self._port, local_addr=(_GUESSER, 0))
        try:
            writer.write(_wire(f'guess {next(self._numbers)}', 'bench.first.0'))
            head = await reader.readuntil(b'\r\n\r\n')
            self._count(head.split(b' ', 2)[1].decode())
        finally:
            writer.transport.abort()

    def _count(self, what: str) -> None:
        self.answers[what] = self.answers.get(what, 0) + 1


def first_login(port: int, number: int) -> float:
    """The seconds until correct credentials that the server has not cached are answered with 200."""
    async def login() -> int:
        reader, writer = await asyncio.open_connection('127.0.0.1', port, local_addr=(_CALLER, 0))
        try:
            writer.write(_wire(_password(number), f'bench.first.{number}'))
            return int((await reader.readuntil(b'\r\n\r\n')).split(b' ', 2)[1])
        finally:
            writer.transport.abort()

    began = time.monotonic()
    try:
        status = asyncio.run(asyncio.wait_for(login(), _REFUSED))
    except (TimeoutError, OSError, asyncio.IncompleteReadError):
        return _REFUSED
    return time.monotonic() - began if status == 200 else _REFUSED


def _wire(password: str, user: str) -> bytes:
    credentials = b64encode(f'{user}:{password}'.encode()).decode()
    return (f'POST /{user.replace(".", "/")} HTTP/1.1\r\nHost: bench\r\nAuthorization: Basic {credentials}\r\n'
            f'Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}').encode()  # fmt: skip


def _password(number: int) -> str:
    return f'correct-horse-{number}'


def _callers(folder: Path) -> Path:
    """Write an enmasse file with users who have not logged in yet, each with a channel."""
    names = [f'bench.first.{number}' for number in range(FIRST_LOGINS)]
    users = [{'name': name, 'type': 'basic_auth', 'username': name, 'realm': 'bench', 'password': _password(number)}
             for number, name in enumerate(names)]  # fmt: skip
    channels = [{**subjects.channel(name, f'/{name.replace(".", "/")}', 'bench.echo'), 'security': name}
                for name in names]  # fmt: skip
    file = folder / 'first_logins.yaml'
    file.write_text(yaml.safe_dump({'security': users, 'channel_rest': channels}, sort_keys=False))
    return file


def main() -> int:
    """Run this benchmark alone: `python -m bench.hostile_logins`."""
    import tempfile

    from bench import throughput
    from bench.figures import table

    with tempfile.TemporaryDirectory(prefix='zatotx-bench-') as name, quickstart() as environment:
        environment.start()
        throughput.serve_echoes(environment, Path(name))
        found = measure(environment, Path(name), say=print)
    print(table(found))
    return 0 if all(row.met for row in found) else 1


if __name__ == '__main__':
    sys.exit(main())
