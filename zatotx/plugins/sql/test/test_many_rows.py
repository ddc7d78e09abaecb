"""Many rows in and out: streams, bulk inserts, stored procedures, on each database."""

from __future__ import annotations

import tracemalloc
from typing import Any

from sqlalchemy.exc import DBAPIError, IntegrityError
from twisted.internet.defer import CancelledError

from trial_tests.support.sql_databases import BlockingCall, WithDatabase, WithMariaDB, WithPostgreSQL, WithSQLite
from trial_tests.support.waiting import allowed
from zatotx.model.errors import BadGateway, ServiceUnavailable, Timeout

ROWS = 5000
INSERT = 'insert into item values (:id, :label)'


class ManyRowsContract(WithDatabase):
    """Mixin."""

    async def make_items(self, count: int = ROWS, **fields: Any) -> Any:
        """The connection, with a table of `count` rows."""
        await self.configure(url=self.url(), **fields)
        crm = self.crm()
        await crm.execute('create table item (id integer primary key, label varchar(200))')
        made = await crm.execute_many(INSERT, ({'id': number, 'label': 'x' * 100} for number in range(count)))
        self.assertEqual(made, count)
        return crm

    async def returned(self) -> None:
        """All connections are in the pool again."""
        await self.until(lambda: not self.connection().pool.leased)

    async def test_bulk_insert(self) -> None:
        """All rows or none are inserted, and a row that does not fit is named."""
        crm = await self.make_items(10)
        rows = [{'id': number, 'label': ''} for number in (100, 101, 5)]
        await self.failure(crm.execute_many(INSERT, rows), IntegrityError)
        self.assertEqual(await crm.fetch_value('select count(*) from item'), 10)
        error = await self.failure(crm.execute_many(INSERT, [{'id': 7, 'label': ''}, {'id': 8}]), ValueError)
        self.assertIn('Row 2: The statement misses the parameters label', str(error))
        self.assertEqual(await crm.fetch_value('select count(*) from item'), 10)
        async with crm.transaction() as transaction:
            self.assertEqual(await transaction.execute_many(INSERT, [{'id': 200, 'label': 'a'}]), 1)
        self.assertEqual(await crm.fetch_value('select label from item where id = 200'), 'a')

    async def test_stream(self) -> None:
        """All rows arrive in order, batch by batch; then the connection is free."""
        crm = await self.make_items()
        numbers = [row.id async for row in crm.stream('select id from item order by id', batch=777)]
        self.assertEqual(numbers, list(range(ROWS)))
        await self.returned()
        self.assertEqual([row async for row in crm.stream('select id from item where id < 0')], [])
        await self.returned()
        await self.failure(self.drain(crm.stream('delete from item where id = 1')), ValueError, DBAPIError)
        await self.returned()

    async def drain(self, stream: Any) -> None:
        """Read it to its end."""
        async for _ in stream:
            pass

    async def test_stream_in_transaction(self) -> None:
        """A stream sees the changes of its transaction, which goes on after it."""
        crm = await self.make_items()
        async with crm.transaction() as transaction:
            await transaction.execute("update item set label = 'y' where id = 1")
            stream = transaction.stream('select id, label from item order by id', batch=10)
            self.assertEqual([(await anext(stream)).label[:1] for _ in range(2)], ['x', 'y'])
            await stream.aclose()
            self.assertEqual(await transaction.fetch_value('select count(*) from item'), ROWS)
        self.assertEqual(await crm.fetch_value('select label from item where id = 1'), 'y')

    async def test_stream_in_def_services(self) -> None:
        """In a `def` service `for` reads a stream; one that is left early gives its connection back."""
        await self.make_items(pool_size=1)

        def handle() -> tuple[int, int]:
            crm = self.crm(BlockingCall())
            total = sum(row.id for row in crm.stream('select id from item', batch=1000))
            for row in crm.stream('select id from item order by id', batch=10):
                return total, row.id
            return 0, 0

        self.assertEqual(await self.in_thread(handle), (sum(range(ROWS)), 0))
        self.assertEqual(await self.crm().fetch_value('select count(*) from item'), ROWS)

    async def test_stream_that_is_left_early(self) -> None:
        """Leaving the loop, closing, or an error in it return the connection; it works again."""
        crm = await self.make_items(pool_size=1)
        async for row in crm.stream('select id from item order by id', batch=2):
            self.assertEqual(row.id, 0)
            break
        await self.returned()
        stream = crm.stream('select id from item order by id', batch=2)
        await anext(stream)
        await stream.aclose()
        await self.returned()
        holding = crm.stream('select id from item order by id', batch=2)
        await anext(holding)
        await self.failure(crm.fetch_value('select 1'), ServiceUnavailable)
        await holding.aclose()
        self.assertEqual(await crm.fetch_value('select count(*) from item'), ROWS)

    async def test_stream_that_is_cancelled(self) -> None:
        """A stream whose batch takes too long, or whose reader is cancelled, ends, and its connection is free."""
        await self.make_items(10, pool_size=1, timeout=20)
        await self.failure(self.drain(self.crm().stream(self.slow, timeout=0.5)), Timeout)
        await self.returned()
        reading = self.started(self.drain(self.crm().stream(self.slow)))
        await self.until(lambda: self.connection().pool.leased)
        await self.sleep(0.2)
        reading.cancel()
        await self.assertFailure(reading, CancelledError)
        self.assertEqual(await self.crm().fetch_value('select count(*) from item'), 10)

    slow: str


class SQLiteTests(ManyRowsContract, WithSQLite):
    """On SQLite."""

    async def test_huge_result(self) -> None:
        """A result beyond the limit is BadGateway; the rows are not read to their end."""
        crm = await self.make_items(max_result_size=100_000)
        await self.failure(crm.fetch_all('select label from item'), BadGateway)
        self.assertEqual(len(await crm.fetch_all('select id from item where id < 1500')), 1500)


class PostgreSQLTests(ManyRowsContract, WithPostgreSQL):
    """On PostgreSQL."""

    async def test_flat_memory(self) -> None:
        """The memory of a stream does not depend on the number of its rows."""
        await self.configure(url=self.url())
        peaks = []
        for count in (20_000, 200_000):
            statement = f"select i, repeat('x', 100) as label from generate_series(1, {count}) i"
            tracemalloc.start()
            total = 0
            async for _ in self.crm().stream(statement):
                total += 1
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
            self.assertEqual(total, count)
        self.assertLess(peaks[1], peaks[0] * 4)  # ten times as much, were rows kept

    async def test_procedures(self) -> None:
        """A stored procedure gets its parameters in order; those that come out are a row."""
        await self.configure(url=self.url())
        crm = self.crm()
        await crm.execute('create procedure twice(inout a integer, b integer) language plpgsql '
                          "as $$ begin a := a * 2 + b; end $$")  # fmt: skip
        rows = await crm.call_procedure('twice', {'a': 20, 'b': 2})
        self.assertEqual([row.a for row in rows], [42])
        await self.failure(crm.call_procedure('twice; drop table x', {}), ValueError)


class MariaDBTests(ManyRowsContract, WithMariaDB):
    """On MariaDB."""

    async def test_procedures(self) -> None:
        """A stored procedure gets its parameters in order, and gives the rows of its first result."""
        await self.configure(url=self.url())
        crm = self.crm()
        await crm.execute('create procedure twice(a int, b int) begin select a * 2 + b as total; select 7; end')
        rows = await crm.call_procedure('twice', {'a': 20, 'b': 2})
        self.assertEqual([row.total for row in rows], [42])
        self.assertEqual(await crm.fetch_value('select 1'), 1)

    async def test_large_stream_that_is_left_early(self) -> None:
        """The remaining rows of a large result are not read: the server stops sending them."""
        await self.configure(url=self.url(), pool_size=1)
        crm = self.crm()
        await crm.execute('set global max_recursive_iterations = 100000000')
        began = self.reactor.seconds()
        statement = "with recursive n(i) as (select 1 union all select i + 1 from n where i < 100) " \
                    'select a.i from n a, n b, n c, n d, n e'  # fmt: skip
        async for _ in crm.stream(statement):
            break
        self.assertEqual(await crm.fetch_value('select 1'), 1)
        self.assertLess(self.reactor.seconds() - began, allowed(10))


del ManyRowsContract  # else it would be collected
