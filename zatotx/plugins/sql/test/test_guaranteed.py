"""SQL connections with `delivery: guaranteed`."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.calling import Asking
from trial_tests.support.kind_contracts import GuaranteedContract
from trial_tests.support.sql_databases import WithSQLite
from zatotx.connectors.guaranteed_delivery import DELIVER_SERVICE, StoredCall
from zatotx.interfaces.connector_kind import OutgoingContext
from zatotx.interfaces.outgoing import IOutgoingKind
from zatotx.plugins.sql.outgoing import SENDS, make_outgoing
from zatotx.plugins.sql.schema import SqlOutgoing
from zatotx.plugins.sql.stored_statements import MAX_ROWS, decode_value, encode_value, prepare_stored
from zatotx.schema.delivery import GUARANTEED
from zatotx.schema.snapshot import Snapshot, StoredObject
from zatotx.testing.memory_work import MemoryWorkStream

INSERT = 'insert or ignore into entry (text) values (:text)'
VALUES = (
    None, True, 7, -(2**63), 1.5, 'žluť', b'\x00\xff', datetime(2026, 11, 30, 12, 1, 2, 345_678),
    datetime(2026, 11, 30, 12, 1, tzinfo=UTC), date(2026, 11, 30), time(1, 2, 3, 4), timedelta(days=-1, microseconds=1),
    Decimal('1.200'), UUID(int=7), 2**63, -(2**70),
)  # fmt: skip


class SqlGuaranteedTests(GuaranteedContract):
    """The contract."""

    object_type, namespace = 'sql', 'sql'

    def make_outgoing(self, context: OutgoingContext) -> IOutgoingKind:
        return make_outgoing(context)

    def setUp(self) -> None:
        super().setUp()
        self.directory = self.mktemp()

    def url(self, is_reachable: bool) -> str:
        """That of the database, or of a file that cannot be opened."""
        from pathlib import Path

        path = Path(self.directory).absolute()
        if is_reachable:
            path.mkdir(exist_ok=True)
        return f'sqlite:///{path / "db" if is_reachable else path / "no" / "db"}'

    def objects(self, *, is_reachable: bool) -> list[StoredObject]:
        fields: dict[str, Any] = {'url': self.url(is_reachable), 'timeout': 20}
        return [StoredObject(1, 'sql', SqlOutgoing(name='peer', delivery=GUARANTEED, **fields), 1)]

    async def configure(self, *, is_reachable: bool) -> Any:
        connection = await super().configure(is_reachable=is_reachable)
        if is_reachable:
            direct = self.outgoing.namespaces['sql'](Asking(service=DELIVER_SERVICE))['peer']
            await direct.execute('create table if not exists entry (text varchar(100) primary key)', {})
        return connection

    def send(self, connection: Any, text: str) -> Any:
        return connection.execute(INSERT, {'text': text})

    def send_wrong(self, connection: Any) -> Any:
        return connection.execute('insert into no_such_table values (1)')

    def send_unstorable(self, connection: Any) -> Any:
        return connection.execute(INSERT, {'text': object()})

    async def received(self) -> list[str]:
        rows = await self.outgoing.namespaces['sql'](Asking())['peer'].fetch_all('select text from entry order by text')
        return [row.text for row in rows]

    async def test_methods_that_are_direct(self) -> None:
        """Methods that return rows, transactions and pings are not stored."""
        connection = await self.configure(is_reachable=True)
        self.assertEqual(await connection.fetch_value('select 7'), 7)
        async with connection.transaction() as transaction:
            await transaction.execute(INSERT, {'text': 'direct'})
        self.assertIn('SQLite', await connection.ping())
        self.assertEqual((await self.received(), self.messages()), (['direct'], []))

    async def test_rows(self) -> None:
        """The rows of execute_many are stored as one message, and executed all or none."""
        connection = await self.configure(is_reachable=True)
        await connection.execute_many(INSERT, [{'text': 'a'}, {'text': 'b'}], timeout=7)
        (message,) = self.messages()
        self.assertEqual(message.payload['kwargs'], {'timeout': 7})
        await self.deliver(message)
        self.assertEqual(await self.received(), ['a', 'b'])


class StoredFormTests(SynchronousTestCase):
    def prepare(self, method: str, *args: Any, **kwargs: Any) -> StoredCall:
        """The stored form of a call."""
        value = SqlOutgoing(name='CRM', url='sqlite:////x')
        return prepare_stored(value, StoredCall(method=method, args=args, kwargs=kwargs), 'id')

    def test_parameters(self) -> None:
        """A parameter comes back with its value and type, also by way of JSON, in which a dead letter is edited."""
        for value in VALUES:
            for codec in (msgspec.msgpack, msgspec.json):
                found = decode_value(codec.decode(codec.encode(encode_value(value, 'x'))))
                self.assertEqual((found, type(found)), (value, type(value)))
        self.assertEqual(decode_value(encode_value((Decimal(1), [VALUES[9]]), 'x')), [Decimal(1), [VALUES[9]]])

    def test_broken_parameters(self) -> None:
        """A form that an editor of a dead letter has broken is a ValueError that says what was expected."""
        for broken, reason in (({'decimal': 'x'}, 'is no decimal'), ({'datetime': 7}, 'is no datetime'),
                               ({'money': '1'}, "has the type 'money': expected datetime, date"),
                               ({}, 'mapping of 0 keys')):  # fmt: skip
            with self.assertRaisesRegex(ValueError, reason):
                decode_value(broken)

    def test_arguments(self) -> None:
        """The arguments are those of the direct methods; mistakes are found when the call is stored."""
        self.assertEqual(self.prepare('execute', 'select 1', timeout=2).kwargs, {'timeout': 2})
        self.assertEqual(self.prepare('execute', 'select :a', params={'a': 1}).args, ['select :a', {'a': 1}])
        for error, reason, args, kwargs in (
            (TypeError, 'the parameter a is a dict', ('select :a', {'a': {}}), {}),
            (ValueError, 'misses the parameters a', ('select :a',), {}),
            (TypeError, 'at most 2 arguments', ('select 1', None, 3), {}),
            (TypeError, 'got params twice', ('select :a', {'a': 1}), {'params': {'a': 1}}),
            (TypeError, 'no argument rows', ('select 1',), {'rows': []}),
            (TypeError, 'needs statement', (), {}),
        ):
            with self.assertRaisesRegex(error, reason):
                self.prepare('execute', *args, **kwargs)
        with self.assertRaisesRegex(TypeError, 'row 2: the parameter a is a object'):
            self.prepare('execute_many', 'select :a', [{'a': 1}, {'a': object()}])
        with self.assertRaisesRegex(ValueError, f'no more than {MAX_ROWS} are stored'):
            self.prepare('execute_many', 'select 1', [{}] * (MAX_ROWS + 1))

    def test_names(self) -> None:
        """The stored methods are those of the type."""
        self.assertEqual(SENDS, ('execute', 'execute_many'))


class BesideTests(WithSQLite):
    async def test_direct_beside(self) -> None:
        """A connection without it executes at once, beside one with it."""
        self.outgoing = make_outgoing(OutgoingContext(
            reactor=self.reactor, settings={}, run_in_thread=deferToThread, meters=self.meters.outgoing,
            work=MemoryWorkStream(Clock()),
        ))  # fmt: skip
        self.addCleanup(self.outgoing.stop)
        values = [SqlOutgoing(name=name, url=self.url(), delivery=delivery)
                  for name, delivery in (('CRM', 'direct'), ('Kept', GUARANTEED))]  # fmt: skip
        await self.outgoing.apply(Snapshot(1, [StoredObject(at, 'sql', one, 1) for at, one in enumerate(values, 1)]))
        self.assertEqual(await self.crm().execute('create table entry (text varchar(9))'), 0)
        kept = self.outgoing.namespaces['sql'](Asking())['Kept']
        self.assertRegex(await kept.execute('insert into entry values (1)'), '^[0-9a-f]{24}$')


del GuaranteedContract, WithSQLite  # else they would be collected
