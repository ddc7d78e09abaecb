"""Measures the CPU time of calls to an echo server, 32 at a time over keep-alive connections.

    python -m bench.peers.outgoing_calls WHO METHOD PORT CALLS      # WHO: zatotx, treq, treq-on-zatotx

`zatotx` uses `self.out.rest['X']`, as services do, in a process without a server; `treq` is treq over Twisted's Agent
with a connection pool; `treq-on-zatotx` is treq over the Agent of zatotx. Prints one line of JSON.
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
    """A minimal ICall of a service on the reactor."""

    cid, service, trace = '0123456789abcdef01234567', 'bench', ''

    def __init__(self, reactor: Any) -> None:
        self.deadline = reactor.seconds() + 3600

    def run(self, begin: Callable[[], Any]) -> Any:
        """Return the coroutine, as for an async def service."""
        return begin()


async def outgoing(reactor: Any, url: str) -> Any:
    """Create the outgoing connections of a server, with one to this URL."""
    from twisted.internet.threads import deferToThread

    from zatotx.interfaces.connector_kind import OutgoingContext
    from zatotx.plugins.http.outgoing import make_outgoing
    from zatotx.plugins.http.schema import OBJECT_TYPES
    from zatotx.schema.snapshot import Snapshot, StoredObject

    struct = next(one.struct for one in OBJECT_TYPES if one.key == 'outgoing_rest')
    value = struct(name='X', host=url, url_path='/echo', data_format='json', pool_size=AT_ONCE, timeout=60)
    kind = make_outgoing(OutgoingContext(reactor=reactor, settings={}, run_in_thread=deferToThread))
    await kind.apply(Snapshot(1, [StoredObject(1, 'outgoing_rest', value, 1)]))
    return kind


async def of_zatotx(reactor: Any, method: str, url: str) -> Call:
    """A call with `self.out.rest`, as in a service."""
    kind = await outgoing(reactor, url)
    asker = Asker(reactor)
    data = BODY if method == 'POST' else None

    async def call() -> Any:
        response = await kind.namespaces['rest'](asker)['X'].call(method, data)
        return response.data

    return call


async def of_treq(reactor: Any, method: str, url: str) -> Call:
    """A call with treq over Twisted's Agent."""
    from treq.client import HTTPClient
    from twisted.web.client import Agent, HTTPConnectionPool

    pool = HTTPConnectionPool(reactor, persistent=True)
    pool.maxPersistentPerHost = AT_ONCE
    return _treq(HTTPClient(Agent(reactor, pool=pool)), method, url)


async def of_treq_on_zatotx(reactor: Any, method: str, url: str) -> Call:
    """A call with treq over the Agent of zatotx."""
    kind = await outgoing(reactor, url)
    return _treq(kind.namespaces['rest'](Asker(reactor))['X'].treq, method, url)


def _treq(client: Any, method: str, url: str) -> Call:
    async def call() -> Any:
        if method == 'POST':
            return await (await client.post(f'{url}/echo', json=BODY)).json()
        return await (await client.get(f'{url}/echo')).content()

    return call


WHO = {'zatotx': of_zatotx, 'treq': of_treq, 'treq-on-zatotx': of_treq_on_zatotx}


async def many(call: Call, count: int) -> None:
    """Make `count` calls, AT_ONCE at a time."""
    left = count

    async def some() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await call()

    await gatherResults([Deferred.fromCoroutine(some()) for _ in range(AT_ONCE)])


async def measured(reactor: Any, who: str, method: str, *, port: int, calls: int) -> dict[str, float]:
    """The CPU seconds of `calls` calls, after a warm-up."""
    call = await WHO[who](reactor, method, f'http://127.0.0.1:{port}')
    await many(call, WARM)
    began = process_time()
    await many(call, calls)
    return {'calls': calls, 'cpu': process_time() - began}


def main(who: str, method: str, port: int, calls: int) -> None:
    """Make all calls and print the result."""
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
