"""Calls to an echo, 32 at a time over kept connections, and what processor time each took.

    python -m bench.peers.outgoing_calls WHO METHOD PORT CALLS      # WHO: zatotx, treq, treq-on-zatotx

`zatotx` is what services call, `self.out.rest['X']`, in a process without a server; `treq` is treq over Twisted's Agent
with a pool; `treq-on-zatotx` is treq over our Agent. Prints one line of JSON.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from time import process_time
from typing import Any

import msgspec
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.main import installReactor

AT_ONCE, WARM = 32, 500
BODY = {'customer': 123, 'name': 'Anna', 'items': [1, 2, 3]}
Call = Callable[[], Awaitable[Any]]


class Asker:
    """ICall of a service on the reactor."""

    cid, service, trace = '0123456789abcdef01234567', 'bench', ''

    def __init__(self, reactor: Any) -> None:
        self.deadline = reactor.seconds() + 3600

    def result(self, begin: Callable[[], Any]) -> Any:
        """On the reactor calls are coroutines."""
        return begin()


async def outgoing(reactor: Any, url: str) -> Any:
    """An outgoing connection of that URL, as a node makes it."""
    from twisted.internet.threads import deferToThread

    from zatotx.interfaces.kind import OutgoingContext
    from zatotx.plugins.http.outgoing import make_outgoing
    from zatotx.plugins.http.schema import OBJECT_TYPES
    from zatotx.schema.snapshot import Snapshot, Stored

    struct = next(one.struct for one in OBJECT_TYPES if one.key == 'outgoing_rest')
    value = struct(name='X', host=url, url_path='/echo', data_format='json', pool_size=AT_ONCE, timeout=60)
    kind = make_outgoing(OutgoingContext(reactor=reactor, settings={}, offload=deferToThread))
    await kind.apply(Snapshot(1, [Stored(1, 'outgoing_rest', value, 1)]))
    return kind


async def of_zatotx(reactor: Any, method: str, url: str) -> Call:
    """As a service calls."""
    kind = await outgoing(reactor, url)
    asker = Asker(reactor)
    data = BODY if method == 'POST' else None

    async def call() -> Any:
        response = await kind.doors['rest'](asker)['X'].call(method, data)
        return response.data

    return call


async def of_treq(reactor: Any, method: str, url: str) -> Call:
    """Over Twisted's Agent."""
    from treq.client import HTTPClient
    from twisted.web.client import Agent, HTTPConnectionPool

    pool = HTTPConnectionPool(reactor, persistent=True)
    pool.maxPersistentPerHost = AT_ONCE
    return _treq(HTTPClient(Agent(reactor, pool=pool)), method, url)


async def of_treq_on_zatotx(reactor: Any, method: str, url: str) -> Call:
    """Over ours."""
    kind = await outgoing(reactor, url)
    return _treq(kind.doors['rest'](Asker(reactor))['X'].treq, method, url)


def _treq(client: Any, method: str, url: str) -> Call:
    async def call() -> Any:
        if method == 'POST':
            return await (await client.post(f'{url}/echo', json=BODY)).json()
        return await (await client.get(f'{url}/echo')).content()

    return call


WHO = {'zatotx': of_zatotx, 'treq': of_treq, 'treq-on-zatotx': of_treq_on_zatotx}


async def many(call: Call, count: int) -> None:
    """So many calls, AT_ONCE at a time."""
    left = count

    async def some() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await call()

    await gatherResults([Deferred.fromCoroutine(some()) for _ in range(AT_ONCE)])


async def measured(reactor: Any, who: str, method: str, *, port: int, calls: int) -> dict[str, float]:
    """Processor seconds of a call, once both sides are warm."""
    call = await WHO[who](reactor, method, f'http://127.0.0.1:{port}')
    await many(call, WARM)
    began = process_time()
    await many(call, calls)
    return {'calls': calls, 'cpu': process_time() - began}


def main(who: str, method: str, port: int, calls: int) -> None:
    """Until all calls are done."""
    reactor = EPollReactor()
    installReactor(reactor)

    def over(result: Any) -> None:
        text = msgspec.json.encode(result).decode() if isinstance(result, dict) else result.getTraceback()
        print(text, file=sys.stdout if isinstance(result, dict) else sys.stderr)
        reactor.stop()

    reactor.callWhenRunning(
        lambda: Deferred.fromCoroutine(measured(reactor, who, method, port=port, calls=calls)).addBoth(over)
    )
    reactor.run()


if __name__ == '__main__':
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
