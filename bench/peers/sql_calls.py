"""Makes SQL statements, 20 in flight, and prints what came of it as one line of JSON.

    python -m bench.peers.sql_calls WHO URL POOL CALLS      # WHO: zatotx, sqlalchemy, cancelled

`zatotx` fetches one row with `self.out.sql['X']`, as services do, in a process without a server; `sqlalchemy` does so
with SQLAlchemy in POOL threads. `cancelled` cancels CALLS statements while they run, and then counts those of the next
CALLS that fail.
"""

from __future__ import annotations

import sys
from collections import Counter
from random import Random
from threading import Thread
from time import perf_counter
from typing import Any

import msgspec
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.main import installReactor

AT_ONCE, WARM = 20, 500
QUERY, PARAMS = 'select id, label from bench_item where id = :id', {'id': 7}
SETUP = (
    'create table if not exists bench_item (id integer primary key, label varchar(50))',
    "insert into bench_item values (7, 'seven') on conflict do nothing",
)


class Asker:
    """A minimal IServiceCall of a service on the reactor."""

    cid, service, trace = '0123456789abcdef01234567', 'bench', ''

    def __init__(self, reactor: Any) -> None:
        self.deadline = reactor.seconds() + 3600
        self.request = self

    def run(self, begin: Any) -> Any:
        """Return the coroutine, as for an async def service."""
        return begin()

    def cancel_with_request(self, deferred: Deferred[Any]) -> None:
        """The request does not end."""


async def connection(reactor: Any, url: str, pool: int) -> Any:
    """`self.out.sql['X']`, with the table of the benchmark."""
    from twisted.internet.threads import deferToThread

    from zatotx.interfaces.connector_kind import OutgoingContext
    from zatotx.plugins.sql.outgoing import make_outgoing
    from zatotx.plugins.sql.schema import OBJECT_TYPES
    from zatotx.schema.snapshot import Snapshot, StoredObject
    from zatotx.schema.validation import validate

    value, errors = validate(OBJECT_TYPES[0], {'name': 'X', 'url': url, 'pool_size': pool, 'timeout': 60})
    assert not errors, errors
    kind: Any = make_outgoing(OutgoingContext(reactor=reactor, settings={}, run_in_thread=deferToThread))
    await kind.apply(Snapshot(1, [StoredObject(1, 'sql', value, 1)]))
    opened = kind.namespaces['sql'](Asker(reactor))['X']
    for statement in SETUP:
        await opened.execute(statement)
    return opened


async def many(call: Any, count: int) -> None:
    """Make `count` calls, AT_ONCE at a time."""
    left = count

    async def some() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await call()

    await gatherResults([Deferred.fromCoroutine(some()) for _ in range(AT_ONCE)])


async def of_zatotx(reactor: Any, url: str, pool: int, calls: int) -> dict[str, float]:
    """Calls per second of a service."""
    opened = await connection(reactor, url, pool)

    async def call() -> None:
        row = await opened.fetch_one(QUERY, PARAMS)
        assert row.label == 'seven'

    await many(call, WARM)
    began = perf_counter()
    await many(call, calls)
    return {'rate': calls / (perf_counter() - began)}


async def cancelled(reactor: Any, url: str, pool: int, calls: int) -> dict[str, float]:
    """Cancel statements at random times, and count what happens to the next ones."""
    opened = await connection(reactor, url, pool)
    random, found = Random(7), Counter[str]()

    async def cancel() -> None:
        calling = Deferred.fromCoroutine(opened.fetch_value('select pg_sleep(:s)', {'s': random.random() * 0.004}))
        reactor.callLater(random.random() * 0.004, calling.cancel)
        try:
            await calling
        except Exception:
            found['cancelled'] += 1

    async def ask() -> None:
        try:
            row = await opened.fetch_one(QUERY, PARAMS)
            found['right' if row.label == 'seven' else 'wrong'] += 1
        except Exception:
            found['failed'] += 1

    await many(cancel, calls)
    await many(ask, calls)
    backends = await opened.fetch_value("select count(*) from pg_stat_activity where application_name = 'zatotx'")
    return {**found, 'backends': backends}


def of_sqlalchemy(url: str, pool: int, calls: int) -> dict[str, float]:
    """Calls per second of threads that use SQLAlchemy."""
    from sqlalchemy import create_engine, text

    engine = create_engine(url.replace('postgresql:', 'postgresql+psycopg:'), pool_size=pool, max_overflow=0)
    with engine.begin() as setup:
        for statement in SETUP:
            setup.execute(text(statement))

    def work(count: int) -> None:
        for _ in range(count):
            with engine.connect() as connected:
                row = connected.execute(text(QUERY), PARAMS).one()
                assert row.label == 'seven'

    def in_threads(count: int) -> None:
        threads = [Thread(target=work, args=(count // pool,)) for _ in range(pool)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    in_threads(WARM)
    began = perf_counter()
    in_threads(calls)
    return {'rate': calls // pool * pool / (perf_counter() - began)}


def main(who: str, url: str, pool: int, calls: int) -> None:
    """Make all calls and print the result."""
    if who == 'sqlalchemy':
        print(msgspec.json.encode(of_sqlalchemy(url, pool, calls)).decode())
        return
    reactor = EPollReactor()
    installReactor(reactor)

    def over(result: Any) -> None:
        text = msgspec.json.encode(result).decode() if isinstance(result, dict) else result.getTraceback()
        print(text, file=sys.stdout if isinstance(result, dict) else sys.stderr)
        reactor.stop()

    run = {'zatotx': of_zatotx, 'cancelled': cancelled}[who]
    reactor.callWhenRunning(lambda: Deferred.fromCoroutine(run(reactor, url, pool, calls)).addBoth(over))
    reactor.run()


if __name__ == '__main__':
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
