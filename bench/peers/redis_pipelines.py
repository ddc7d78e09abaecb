"""Measures pipelines of the zatotx Redis client and of txredisapi in alternation on one Redis.

    python -m bench.peers.redis_pipelines SOCKET ROUNDS SECONDS

Prints {"ours": [commands per second in each round], "txredisapi": [...]} as JSON. Both clients send the same batches of
SET and GET with values of 100 bytes over one connection each, and wait for all replies to a batch before the next one.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react

_BATCH = 1000
_COMMANDS = [('SET', f'bench:{n}', 'x' * 100) if n % 2 else ('GET', f'bench:{n + 1}') for n in range(_BATCH)]

Run = Callable[[], Awaitable[Any]]


async def _ours(reactor: Any, path: str) -> tuple[Run, Callable[[], Any]]:
    from zatotx.redis.client import RedisClient
    from zatotx.redis.redis_url import RedisAddress

    client = RedisClient(reactor, RedisAddress(path=path))
    client.startService()
    await client.wait_connected()
    return lambda: client.execute_batch(_COMMANDS), client.stopService


async def _bare(path: str) -> tuple[Run, Callable[[], Any]]:
    import txredisapi

    # Without converting numbers, as in the zatotx client; the conversion would slow it down.
    client = await txredisapi.UnixConnection(path, reconnect=False, convertNumbers=False)

    async def run() -> Any:
        pipeline = await client.pipeline()
        for words in _COMMANDS:
            pipeline.execute_command(*words)
        return await pipeline.execute_pipeline()

    return run, client.disconnect


async def _rate(run: Run, seconds: float) -> float:
    began, batches = time.monotonic(), 0
    while (passed := time.monotonic() - began) < seconds:
        answers = await run()
        if len(answers) != _BATCH or answers[1] != 'OK':
            raise AssertionError(f'{answers[:2]} instead of {_BATCH} replies')
        batches += 1
    return batches * _BATCH / passed


async def _measure(reactor: Any, path: str, rounds: int, seconds: float) -> None:
    ours, stop = await _ours(reactor, path)
    bare, disconnect = await _bare(path)
    rates: dict[str, list[float]] = {'ours': [], 'txredisapi': []}
    for _ in range(rounds):
        rates['ours'].append(await _rate(ours, seconds))
        rates['txredisapi'].append(await _rate(bare, seconds))
    print(json.dumps(rates))
    await stop()
    await disconnect()


if __name__ == '__main__':
    _, socket, wanted, each = sys.argv
    react(lambda reactor: Deferred.fromCoroutine(_measure(reactor, socket, int(wanted), float(each))))
