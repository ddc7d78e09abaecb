"""SQL connections to databases that fail: wrong settings, frozen servers, restarts under load, deadlocks, hostile
values."""

from __future__ import annotations

import atexit
from collections.abc import Callable
from contextlib import closing
from resource import RUSAGE_SELF, getrusage
from typing import Any

from sqlalchemy.exc import DBAPIError
from twisted.internet.defer import Deferred, gatherResults

from trial_tests.support import mariadb, postgresql
from trial_tests.support.calling import Asking
from trial_tests.support.ports import free_port
from trial_tests.support.sql_databases import BlockingCall, WithDatabase, WithMariaDB, WithPostgreSQL
from trial_tests.support.waiting import allowed
from zatotx.model.errors import BadGateway, ServiceUnavailable, Timeout, TransactionAborted


class FailureContract(WithDatabase):
    """Mixin."""

    password: str

    def server(self) -> Any:
        """A server of this module's own, which may be killed and frozen. It runs."""
        raise NotImplementedError

    async def connect(self, **fields: Any) -> Any:
        """A connection to that server, which has answered once."""
        server = self.server()
        await self.configure(url=self.url_of(server), **fields)
        self.assertEqual(await self.crm().fetch_value('select 1', timeout=20), 1)
        return server

    def url_of(self, server: Any) -> str:
        """The URL of its database."""
        raise NotImplementedError

    async def test_wrong_settings(self) -> None:
        """A wrong password, port, database or option is ServiceUnavailable; neither error nor finding shows the
        password."""
        url = self.url()
        wrong = (
            {'url': url.replace(self.password, 'wrong-sEcReT')},
            {'url': f'{url}_missing'},
            {'url': url.rpartition(':')[0] + f':{free_port()}/x'},
            {'url': f'{url}?no_such_option=1'},
        )
        for fields in wrong:
            await self.configure(**fields)
            error = await self.failure(self.crm().fetch_value('select 1'), ServiceUnavailable)
            self.assertEqual(error.msg, 'Outgoing connection CRM (sql) cannot be used: its database cannot be reached')
            finding = ' '.join(self.outgoing.findings())
            self.assertIn('Outgoing connection CRM (sql): its last statement failed: ', finding)
            for secret in ('sEcReT', self.password):
                self.assertNotIn(secret, finding)
                self.assertNotIn(secret, repr(self.outgoing.registries['sql'].connections))

    async def test_frozen_server(self) -> None:
        """Each call on a frozen server ends in Timeout at its limit, a session's too; the threads are free soon, and
        the connection works again when the server does."""
        server = await self.connect(timeout=1.0, pool_size=2)
        server.freeze()
        try:
            began = self.reactor.seconds()
            calls = [self.started(self.crm().fetch_value('select 1')) for _ in range(4)]
            for call in calls:
                await self.assertFailure(call, Timeout)
            self.assertLess(self.reactor.seconds() - began, allowed(1.1 + 0.4))  # 10 %, and what a busy machine needs
            await self.until(lambda: not self.connection().pool.running)
            began = self.reactor.seconds()

            async def transact() -> None:
                async with self.crm().transaction() as transaction:
                    await transaction.execute('select 1')

            await self.failure(transact(), Timeout)
            self.assertLess(self.reactor.seconds() - began, allowed(1.1 + 0.4))
        finally:
            server.thaw()
        await self.until(lambda: not self.connection().pool.leased and not self.connection().pool.running)
        self.assertEqual(await self.crm().fetch_value('select 1', timeout=20), 1)

    async def test_frozen_server_and_session(self) -> None:
        """A session whose server freezes ends in Timeout, in a statement and in its commit."""
        server = await self.connect(timeout=1.0, pool_size=2)

        def handle() -> None:
            with closing(self.crm(BlockingCall()).session()) as session:
                session.execute('select 1')
                server.freeze()
                session.execute('select 1')

        try:
            began = self.reactor.seconds()
            await self.failure(self.in_thread(handle), Timeout)
            self.assertLess(self.reactor.seconds() - began, allowed(5))
        finally:
            server.thaw()
        await self.until(lambda: not self.connection().pool.leased)
        self.assertEqual(await self.crm().fetch_value('select 1', timeout=20), 1)

    async def test_restart_under_load(self) -> None:
        """While a server is killed and started again, a statement gives the right result or ServiceUnavailable; within
        a second of its return the pool works again."""
        server = await self.connect(pool_size=5, timeout=60)  # the start below blocks the reactor
        outcomes: list[str] = []
        stopping = False

        async def ask(number: int) -> None:
            while not stopping:
                try:
                    result = await self.crm().fetch_value(f'select {number} + 0')
                    outcomes.append('right' if result == number else 'wrong')
                except ServiceUnavailable:
                    outcomes.append('away')
                    await self.sleep(0.01)

        asking = [self.started(ask(number)) for number in range(10)]
        await self.sleep(0.3)
        server.kill()
        await self.sleep(0.2)
        server.start()  # in this thread: it dies with the one that starts it
        began = self.reactor.seconds()
        values = await gatherResults([self.started(self.crm().fetch_value('select 7')) for _ in range(10)])
        self.assertEqual(values, [7] * 10)
        self.assertLess(self.reactor.seconds() - began, allowed(1.0))
        stopping = True
        await gatherResults(asking)
        self.assertGreater(outcomes.count('right'), 0)
        self.assertGreater(outcomes.count('away'), 0)
        self.assertEqual(outcomes.count('wrong'), 0)

    async def test_server_has_gone_away(self) -> None:
        """Connections that the server has closed while they were idle are replaced: no service notices."""
        server = await self.connect(pool_size=3)
        await gatherResults([self.started(self.crm().fetch_value('select 1')) for _ in range(6)])
        server.kill()
        server.start()  # in this thread: it dies with the one that starts it
        values = await gatherResults([self.started(self.crm().fetch_value('select 2')) for _ in range(6)])
        self.assertEqual(values, [2] * 6)

    async def test_deadlock(self) -> None:
        """One of two transactions that wait for each other ends in TransactionAborted, and the other one goes on."""
        await self.configure(url=self.url())
        crm = self.crm()
        await crm.execute('create table account (id integer primary key, balance integer)')
        await crm.execute_many('insert into account values (:id, 0)', [{'id': 1}, {'id': 2}])
        both: Deferred[None] = Deferred()
        ready: list[int] = []

        async def change(first: int, second: int) -> str:
            try:
                async with self.crm().transaction() as transaction:
                    statement = 'update account set balance = balance + 1 where id = :id'
                    await transaction.execute(statement, {'id': first})
                    ready.append(first)
                    if len(ready) == 2:
                        both.callback(None)
                    while len(ready) < 2:
                        await self.sleep(0.01)
                    await transaction.execute(statement, {'id': second})
            except TransactionAborted as error:
                self.assertIn('Outgoing connection CRM (sql)', error.msg)
                return 'aborted'
            return 'committed'

        ends = await gatherResults([self.started(change(1, 2)), self.started(change(2, 1))])
        self.assertEqual(sorted(ends), ['aborted', 'committed'])
        self.assertEqual(await crm.fetch_value('select sum(balance) from account'), 2)

    async def test_an_error_that_was_caught(self) -> None:
        """A transaction that the database has rolled back does not end as if it were committed."""
        await self.configure(url=self.url())
        crm = self.crm()
        await crm.execute('create table account (id integer primary key)')

        async def go_on() -> None:
            async with crm.transaction() as transaction:
                await transaction.execute('insert into account values (1)')
                await self.failure(transaction.execute('insert into account values (1)'), DBAPIError)

        await go_on_or_abort(go_on())
        count = await crm.fetch_value('select count(*) from account')
        self.assertEqual(count, self.kept_after_error)

    kept_after_error: int  # rows

    async def test_hostile_values(self) -> None:
        """64 KB of text come back whole; NUL and numbers beyond the column are errors of the statement."""
        await self.configure(url=self.url())
        crm = self.crm()
        await crm.execute('create table thing (id integer, label text)')
        large = 'ž' * 32_768
        await crm.execute('insert into thing values (1, :label)', {'label': large})
        self.assertEqual(await crm.fetch_value('select label from thing where id = 1'), large)
        await self.failure(crm.execute('insert into thing values (:id, null)', {'id': 2**40}), DBAPIError)
        await self.failure(crm.execute('insert into thing values (:id, null)', {'id': 2**70}), DBAPIError)
        hostile = "'; drop table thing; --"
        await crm.execute('insert into thing values (3, :label)', {'label': hostile})
        self.assertEqual(await crm.fetch_value('select label from thing where id = 3'), hostile)
        self.assertEqual(await crm.fetch_value('select count(*) from thing'), 2)

    async def test_huge_result(self) -> None:
        """A result beyond the limit is BadGateway naming the connection, while it is received; the connection, and its
        transaction's, work again."""
        await self.configure(url=self.url(), max_result_size=1_000_000, pool_size=1)
        crm = self.crm()
        before = _peak_memory()
        error = await self.failure(crm.fetch_all(self.huge), BadGateway)
        self.assertIn('CRM (sql): the result of a statement is larger than 1000000 bytes', error.msg)
        self.assertEqual(await crm.fetch_value('select 1'), 1)

        async def transact() -> None:
            async with crm.transaction() as transaction:
                await transaction.fetch_all(self.huge)

        await self.failure(transact(), BadGateway)
        self.assertEqual(await crm.fetch_value('select 1'), 1)
        self.assertLess(_peak_memory() - before, 500_000_000)

    huge: str  # a query with more than 2 GB of rows

    async def test_no_connection_is_left(self) -> None:
        """After many calls that were cancelled, none of the next statements is cancelled, and the server has no more
        connections than the pool."""
        await self.configure(url=self.url(), pool_size=3)
        for _ in range(20):
            calls = [self.started(self.crm().fetch_value(self.slow)) for _ in range(5)]
            await self.sleep(0.02)
            for call in calls:
                call.addErrback(lambda failure: None)
                call.cancel()
            values = [self.started(self.crm(Asking()).fetch_value('select 5')) for _ in range(10)]
            self.assertEqual(await gatherResults(values), [5] * 10)
        await self.until(lambda: len(self.ask_connections()) <= 3)

    slow: str

    def ask_connections(self) -> Any:
        """The connections of the test, as the server knows them."""
        raise NotImplementedError


async def go_on_or_abort(block: Any) -> None:
    """Run a block that may end in TransactionAborted."""
    try:
        await block
    except TransactionAborted:
        return


def _peak_memory() -> int:
    """Bytes that the process has had at most."""
    return getrusage(RUSAGE_SELF).ru_maxrss * 1024


_servers: dict[str, Any] = {}


def own_server(name: str, make: Callable[[], Any]) -> Any:
    """The server of this module, started by its first test."""
    if name not in _servers:
        server = make()
        atexit.register(server.close)
        server.start()
        _servers[name] = server
    return _servers[name]


class PostgreSQLFailureTests(FailureContract, WithPostgreSQL):
    """PostgreSQL."""

    password = postgresql.PASSWORD
    huge = "select repeat('x', 1000) from generate_series(1, 2000000)"
    kept_after_error = 0

    def server(self) -> Any:
        return own_server('postgresql', postgresql.PostgreSQL)

    def url_of(self, server: Any) -> str:
        return str(server.url('postgres')).replace('+psycopg', '')

    def ask_connections(self) -> Any:
        return postgresql.shared().ask(
            "select pid from pg_stat_activity where application_name = 'zatotx' and datname = "
            f"'{self.connection().database.engine.url.database}'"
        )

    async def test_nul(self) -> None:
        """PostgreSQL has no NUL in text."""
        await self.configure(url=self.url())
        await self.failure(self.crm().fetch_value('select :a', {'a': 'a\0b'}), DBAPIError)

    async def test_isolation_levels(self) -> None:
        """A serializable transaction that lost against another one is TransactionAborted; an unknown level is
        refused."""
        await self.configure(url=self.url())
        crm = self.crm()
        await crm.execute('create table account (id integer primary key, balance integer)')
        await crm.execute('insert into account values (1, 0)')

        async def lose() -> None:
            async with crm.transaction(isolation_level='repeatable read') as transaction:
                await transaction.fetch_value('select balance from account')
                await self.crm().execute('update account set balance = 1')
                await transaction.execute('update account set balance = 2')

        await self.failure(lose(), TransactionAborted)
        self.assertEqual(await crm.fetch_value('select balance from account'), 1)
        async with crm.transaction(isolation_level='serializable') as transaction:
            self.assertEqual(await transaction.fetch_value('show transaction_isolation'), 'serializable')
        with self.assertRaisesRegex(ValueError, 'must be one of READ UNCOMMITTED'):
            crm.transaction(isolation_level='strange')
        await self.configure(url=self.url(), extra='isolation_level=repeatable_read')
        async with self.crm().transaction() as transaction:
            self.assertEqual(await transaction.fetch_value('show transaction_isolation'), 'repeatable read')


class MariaDBFailureTests(FailureContract, WithMariaDB):
    """MariaDB."""

    password = mariadb.PASSWORD
    huge = ("with recursive n(i) as (select 1 union all select i + 1 from n where i < 200) "
            "select repeat('x', 1000) from n a, n b, n c")  # fmt: skip
    kept_after_error = 1

    def server(self) -> Any:
        return own_server('mariadb', mariadb.MariaDB)

    def url_of(self, server: Any) -> str:
        return str(server.url('mysql')).replace('+pymysql', '')

    def ask_connections(self) -> Any:
        name = self.connection().database.engine.url.database
        return mariadb.shared().ask(f"select id from information_schema.processlist where db = '{name}'")


del FailureContract  # else it would be collected
