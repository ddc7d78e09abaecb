"""Scripted SQL connections: transactions and streams."""

from __future__ import annotations

from zatotx import Service
from zatotx.testing import ServiceTestCase


class Report(Service):
    """A service that uses everything that doubles have."""

    name = 'test.report'

    async def handle(self) -> None:
        crm = self.out.sql['CRM']
        async with crm.transaction(isolation_level='serializable') as transaction:
            changed = await transaction.execute_many('insert into x values (:a)', rows=[{'a': 1}])
        names = [row.name async for row in crm.stream('select name from x', batch=10)]
        self.response.payload = {'changed': changed, 'names': names}


class BlockingReport(Service):
    """The same in a `def` service."""

    name = 'test.blocking-report'

    def handle(self) -> None:
        crm = self.out.sql['CRM']
        with crm.transaction() as transaction:
            changed = transaction.execute('delete from x')
        self.response.payload = {'changed': changed, 'names': [row.name for row in crm.stream('select name from x')]}


class DoubleTests(ServiceTestCase):
    def test_doubles(self) -> None:
        """Scripted connections have transactions and streams, in async and `def` services."""
        for service, method in ((Report, 'execute_many'), (BlockingReport, 'execute')):
            crm = self.outgoing.sql['CRM']
            crm.on(method).answers(3)
            crm.on('stream').answers([{'name': 'Ada'}, {'name': 'Bob'}])
            self.assertEqual(self.call(service, {}).payload, {'changed': 3, 'names': ['Ada', 'Bob']})
