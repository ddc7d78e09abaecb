"""What services do with SQL connections, on each database."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from sqlalchemy.exc import DBAPIError, IntegrityError
from twisted.internet.defer import CancelledError, gatherResults
from twisted.internet.threads import blockingCallFromThread

from trial_tests.support.calling import Asking
from trial_tests.support.sql_databases import (
    PATIENCE,
    BlockingCall,
    WithDatabase,
    WithMariaDB,
    WithPostgreSQL,
    WithSQLite,
)
from trial_tests.support.waiting import allowed
from zatotx.model.errors import Inactive, NotFound, ServiceUnavailable, Timeout, TransactionAborted

ACCOUNTS = 'create table account (id integer primary key, owner varchar(100), balance integer)'
INSERT = 'insert into account values (:id, :owner, :balance)'


class StatementContract(WithDatabase):
    """Mixin."""

    slow: str

    async def make_accounts(self, **fields: Any) -> Any:
        """The connection, with three accounts."""
        await self.configure(url=self.url(), **fields)
        crm = self.crm()
        await crm.execute(ACCOUNTS, timeout=PATIENCE)
        for number, owner in enumerate(('Ada', 'Žofie', 'Bob'), 1):
            await crm.execute(INSERT, {'id': number, 'owner': owner, 'balance': number * 100}, timeout=PATIENCE)
        return crm

    async def test_fetching(self) -> None:
        """Rows have their columns as attributes; single rows and values are None where there are none."""
        crm = await self.make_accounts()
        rows = await crm.fetch_all('select id, owner from account order by id')
        self.assertEqual([(row.id, row.owner) for row in rows], [(1, 'Ada'), (2, 'Žofie'), (3, 'Bob')])
        row = await crm.fetch_one('select * from account where id = :id', {'id': 2})
        self.assertEqual((row.owner, row.balance, row[0], tuple(row)), ('Žofie', 200, 2, (2, 'Žofie', 200)))
        self.assertIsNone(await crm.fetch_one('select * from account where id = 7'))
        self.assertEqual(await crm.fetch_value('select sum(balance) from account'), 600)
        self.assertIsNone(await crm.fetch_value('select id from account where id = 7'))

    async def test_changing(self) -> None:
        """A statement gives the number of rows that it changed, and is committed."""
        crm = await self.make_accounts()
        changed = await crm.execute('update account set balance = balance + 1 where id <= :id', {'id': 2})
        self.assertEqual(changed, 2)
        self.assertEqual(await self.crm().fetch_value('select sum(balance) from account'), 602)

    async def test_lists(self) -> None:
        """A list after `in` is expanded, with and without parentheses; an empty list finds nothing."""
        crm = await self.make_accounts()
        for statement in ('select id from account where id in :ids order by id',
                          'select id from account where id IN (:ids) order by id'):  # fmt: skip
            for ids, found in (([1, 3], [1, 3]), ((2,), [2]), (range(2, 9), [2, 3]), ([], [])):
                self.assertEqual([row.id for row in await crm.fetch_all(statement, {'ids': ids})], found)

    async def test_parameters(self) -> None:
        """Parameters that are missing, unknown, without names or no list are refused before anything is sent."""
        crm = await self.make_accounts()
        with self.assertRaisesRegex(ValueError, 'misses the parameters a, b and has no parameters c'):
            crm.execute('select :a, :b', {'c': 1})
        with self.assertRaisesRegex(ValueError, 'misses the parameters a'):
            crm.execute('select :a')
        with self.assertRaisesRegex(TypeError, 'Parameters are named'):
            crm.execute('select :a', [1])
        with self.assertRaisesRegex(ValueError, 'ids follows `in`'):
            crm.execute('select 1 where 1 in :ids', {'ids': 'text'})

    async def test_errors_of_statements(self) -> None:
        """They are SQLAlchemy's, name the connection, and leave the connection usable."""
        crm = await self.make_accounts()
        error = await self.failure(crm.fetch_all('select no_such_column from account'), DBAPIError)
        self.assertIn('Outgoing connection CRM (sql)', str(error))
        error = await self.failure(crm.execute(INSERT, {'id': 1, 'owner': 'secret', 'balance': 0}), IntegrityError)
        self.assertIn('CRM', str(error))
        self.assertNotIn('secret', str(error).partition('[SQL')[2])
        self.assertEqual(await crm.fetch_value('select count(*) from account'), 3)
        self.assertEqual(list(self.outgoing.findings()), [])

    async def test_transactions(self) -> None:
        """A block is committed at its end, and rolled back if it raises."""
        crm = await self.make_accounts()
        async with crm.transaction() as transaction:
            await transaction.execute('update account set balance = 0 where id = 1')
            self.assertEqual(await transaction.fetch_value('select balance from account where id = 1'), 0)
        self.assertEqual(await crm.fetch_value('select balance from account where id = 1'), 0)

        async def fail() -> None:
            async with crm.transaction() as transaction:
                await transaction.execute('update account set balance = 7 where id = 1')
                raise LookupError('of the service')

        await self.failure(fail(), LookupError)
        self.assertEqual(await crm.fetch_value('select balance from account where id = 1'), 0)
        await self.failure(transaction.execute('select 1'), ServiceUnavailable)
        await self.until(lambda: not self.connection().pool.leased)

    async def test_waiting_for_oneself(self) -> None:
        """A request that holds all connections fails at once where it wants another one; another request waits."""
        crm = await self.make_accounts(pool_size=1)
        async with crm.transaction() as transaction:
            error = await self.failure(crm.fetch_value('select 1'), ServiceUnavailable)
            self.assertIn('CRM (sql) cannot be used: all 1 connections of its pool are held by', error.msg)
            other = self.started(self.crm(Asking()).fetch_value('select 2'))
            self.assertEqual(await transaction.fetch_value('select 3'), 3)
            self.assertNoResult(other)
        self.assertEqual(await other, 2)

    async def test_concurrent_statements(self) -> None:
        """More statements than connections wait for their turn; those of one transaction run one after another."""
        crm = await self.make_accounts(pool_size=2)
        statements = [self.started(crm.fetch_value(f'select {number} + 0')) for number in range(20)]
        self.assertEqual(await gatherResults(statements), list(range(20)))
        async with crm.transaction() as transaction:
            statements = [self.started(transaction.fetch_value(f'select {number} + 0')) for number in range(20)]
            self.assertEqual(await gatherResults(statements), list(range(20)))

    async def test_timeout(self) -> None:
        """A statement that takes too long is a Timeout that names the connection, is cancelled at the server, and its
        connection works again."""
        crm = await self.make_accounts(timeout=0.5, pool_size=1)
        began = self.reactor.seconds()
        error = await self.failure(crm.fetch_all(self.slow), Timeout)
        self.assertLess(self.reactor.seconds() - began, allowed(2.0))
        self.assertIn('Outgoing connection CRM (sql)', error.msg)
        self.assertIn('Outgoing connection CRM (sql): its last statement failed: ', next(self.outgoing.findings()))
        await self.until(lambda: not self.connection().pool.running)
        self.assertEqual(await self.crm().fetch_value('select count(*) from account', timeout=20), 3)
        self.assertEqual(list(self.outgoing.findings()), [])

    async def test_cancellation(self) -> None:
        """A call that is cancelled ends at once, and its connection is free soon."""
        crm = await self.make_accounts(pool_size=1)
        calling = self.started(crm.fetch_all(self.slow))
        await self.until(lambda: self.connection().pool.running)
        await self.sleep(0.2)
        calling.cancel()
        await self.assertFailure(calling, CancelledError)
        self.assertEqual(await self.crm().fetch_value('select count(*) from account'), 3)

    async def test_cancelled_transaction(self) -> None:
        """A transaction that is cancelled, or runs into the deadline of its request, is rolled back."""
        await self.make_accounts(pool_size=1)

        async def hold(call: Any, ending: Any) -> None:
            async with self.crm(call).transaction() as transaction:
                await transaction.execute('update account set balance = 7')
                await ending(transaction)

        holding = self.started(hold(Asking(), lambda transaction: transaction.fetch_all(self.slow)))
        await self.until(lambda: self.connection().pool.leased)
        await self.sleep(0.2)
        holding.cancel()
        await self.assertFailure(holding, CancelledError)
        self.assertEqual(await self.crm().fetch_value('select sum(balance) from account'), 600)
        short = Asking(deadline=self.reactor.seconds() + 0.5)
        await self.failure(hold(short, lambda transaction: self.sleep(1)), Timeout)
        self.assertEqual(await self.crm().fetch_value('select sum(balance) from account'), 600)

    async def test_a_timeout_that_was_caught(self) -> None:
        """A transaction whose statement was cancelled does not end as if it were committed."""
        crm = await self.make_accounts()

        async def go_on() -> None:
            async with crm.transaction() as transaction:
                await transaction.execute('update account set balance = 7')
                await self.failure(transaction.fetch_all(self.slow, timeout=0.3), Timeout)
                await self.failure(transaction.execute('update account set balance = 8'), TransactionAborted)

        error = await self.failure(go_on(), TransactionAborted)
        self.assertIn('Outgoing connection CRM (sql)', error.msg)
        self.assertEqual(await self.crm().fetch_value('select sum(balance) from account', timeout=PATIENCE), 600)

    async def test_circuit_breaker(self) -> None:
        """After failures in a row statements, transactions and sessions are rejected at once; one that succeeds later
        closes the circuit. Errors of statements do not count."""
        await self.make_accounts(circuit_breaker={'failures': 2, 'reset': 3.0})
        for _ in range(3):
            await self.failure(self.crm().execute('nonsense'), DBAPIError)
        for _ in range(2):
            await self.failure(self.crm().fetch_all(self.slow, timeout=0.3), Timeout)

        async def transact() -> None:
            async with self.crm().transaction():
                pass

        open_session = self.in_thread(lambda: self.crm(BlockingCall()).session())
        for rejected in (self.crm().fetch_value('select 1'), transact(), open_session):
            error = await self.failure(rejected, ServiceUnavailable)
            self.assertIn('CRM (sql) cannot be used: it is cut off by its circuit breaker', error.msg)
        self.assertIn('is cut off by its circuit breaker, after 2 failures', ' '.join(self.outgoing.findings()))
        await self.sleep(3.1)
        self.assertEqual(await self.crm().fetch_value('select 1', timeout=PATIENCE), 1)
        await transact()
        self.assertEqual(list(self.outgoing.findings()), [])

    async def test_def_services(self) -> None:
        """In a `def` service the same methods return results, and `with` holds a transaction."""
        await self.make_accounts()

        def handle() -> tuple[Any, ...]:
            crm = self.crm(BlockingCall())
            with crm.transaction() as transaction:
                transaction.execute('update account set balance = 1')
            return crm.fetch_value('select sum(balance) from account'), crm.fetch_one('select 5 as a').a

        self.assertEqual(await self.in_thread(handle), (3, 5))
        with self.assertRaises(TypeError), self.crm().transaction():
            pass

    async def test_sessions(self) -> None:
        """Zato's session() in a `def` service: commit, rollback by closing, and the connection returns to the pool."""
        await self.make_accounts(pool_size=1)

        def handle() -> Any:
            outgoing = self.outgoing.namespaces['sql'](BlockingCall())
            with closing(outgoing.get('CRM').session()) as session:
                session.execute('update account set balance = 1')
                session.commit()
                session.execute('update account set balance = 2')
            with outgoing.get('CRM').session() as session:
                return session.execute('select sum(balance) as total from account').one().total

        self.assertEqual(await self.in_thread(handle), 3)
        await self.until(lambda: not self.connection().pool.leased)
        with self.assertRaises(TypeError):
            self.crm().session()

    async def test_sessions_end(self) -> None:
        """A statement of a session that takes too long is a Timeout; a session whose request is over, or that nobody
        closes, gives its connection back."""
        await self.make_accounts(timeout=2, pool_size=1)

        def take_long(call: Any) -> None:
            with closing(self.crm(call).session()) as session:
                session.execute(self.slow).fetchall()

        await self.failure(self.in_thread(take_long, BlockingCall()), Timeout)
        call = BlockingCall()
        running = self.in_thread(take_long, call)
        await self.until(lambda: call.tied)
        call.tied.cancel()
        await self.assertFailure(running, Timeout)
        short = BlockingCall(deadline=self.reactor.seconds() + 2)
        kept = await self.in_thread(lambda: self.crm(short).session())
        self.assertEqual(await self.crm().fetch_value('select count(*) from account', timeout=20), 3)
        await self.in_thread(kept.close)

    async def test_request_ends_while_a_session_connects(self) -> None:
        """The session ends in Timeout, whatever the driver says of the connection that was taken away."""
        await self.make_accounts(pool_size=1)
        call = BlockingCall()

        def cut_off(*_: object) -> None:
            blockingCallFromThread(self.reactor, lambda: call.tied.cancel())
            raise OSError('cut off')

        self.patch(type(self.connection().database), 'check_out', cut_off)
        await self.failure(self.in_thread(lambda: self.crm(call).session()), Timeout)
        await self.until(lambda: not self.connection().pool.leased)

    async def test_live_edit(self) -> None:
        """A changed connection serves new calls at once, while the old one ends what is under way."""
        crm = await self.make_accounts(pool_size=1)
        before = self.connection()
        async with crm.transaction() as transaction:
            await transaction.execute('update account set balance = 5')
            await self.configure(url='sqlite:////nowhere/at/all')
            self.assertIsNot(self.connection(), before)
            await self.failure(self.crm().fetch_value('select 1'), ServiceUnavailable)
            self.assertEqual(await transaction.fetch_value('select sum(balance) from account'), 15)
        await self.until(lambda: not before.pool.leased)
        await self.outgoing.apply(type(self).nothing())
        await self.failure(crm.fetch_all('select 1'), NotFound)

    @staticmethod
    def nothing() -> Any:
        """A configuration without objects."""
        from zatotx.schema.snapshot import Snapshot

        return Snapshot(2, [])

    async def test_ping_and_metrics(self) -> None:
        """A ping tells the time of the response; calls and errors are counted."""
        crm = await self.make_accounts()
        self.assertRegex(await self.outgoing.ping('sql', 'CRM'), r'^SELECT 1 on .* took \d+\.\d ms$')
        await self.failure(crm.execute('nonsense'), DBAPIError)
        rows = {name: value for name, label, value in self.meters._outgoing_rows() if label == ('sql', 'CRM')}
        self.assertEqual((rows['zatotx_outgoing_calls'], rows['zatotx_outgoing_errors']), (6, 1))


class SQLiteTests(StatementContract, WithSQLite):
    """On SQLite."""

    async def test_hostile_values(self) -> None:
        """64 KB of text and NUL come back whole; a number beyond 64 bits is a ValueError that names the connection."""
        await self.configure(url=self.url())
        crm = self.crm()
        for value in ('ž' * 32_768, 'a\0b', "'; drop table x; --"):
            self.assertEqual(await crm.fetch_value('select :value', {'value': value}), value)
        error = await self.failure(crm.fetch_value('select :value', {'value': 2**70}), ValueError)
        self.assertIn('CRM (sql): a number is too large for SQLite', str(error))
        self.assertEqual(await crm.fetch_value('select 1'), 1)


class PostgreSQLTests(StatementContract, WithPostgreSQL):
    """On PostgreSQL."""

    async def test_cancelled_at_the_server(self) -> None:
        """The server no longer executes a statement whose call has timed out."""
        crm = await self.make_accounts(timeout=0.5)
        await self.failure(crm.fetch_all(self.slow), Timeout)
        await self.until(lambda: not self.active())

    async def test_inactive(self) -> None:
        """An inactive connection says so."""
        await self.configure(url=self.url(), is_active=False)
        with self.assertRaises(Inactive):
            self.crm()


class MariaDBTests(StatementContract, WithMariaDB):
    """On MariaDB."""


del StatementContract  # else it would be collected
