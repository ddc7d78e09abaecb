"""SQL connections in real servers: clients that go away, a frozen database, live edits, metrics."""

from __future__ import annotations

import json
import socket
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support import postgresql
from trial_tests.support.broker import Broker, create, shared
from trial_tests.support.waiting import allowed, until

SERVICES = '''
from contextlib import closing

from zatotx import Service

SLOW = "select pg_sleep(60) /* {} */"


class Async(Service):
    name = 'sql.async'

    async def handle(self):
        await self.out.sql['CRM'].fetch_all(SLOW.format('async'))


class Transaction(Service):
    name = 'sql.transaction'

    async def handle(self):
        async with self.out.sql['CRM'].transaction() as transaction:
            await transaction.fetch_all(SLOW.format('transaction'))


class Blocking(Service):
    name = 'sql.def'

    def handle(self):
        self.out.sql['CRM'].fetch_all(SLOW.format('def'))


class Session(Service):
    name = 'sql.session'

    def handle(self):
        with closing(self.outgoing.sql.get('CRM').session()) as session:
            session.execute(SLOW.format('session'))


class Value(Service):
    name = 'sql.value'

    async def handle(self):
        self.response.payload = str(await self.out.sql['CRM'].fetch_value('select current_database()'))


class Kept(Service):
    name = 'sql.kept'

    async def handle(self):
        self.response.payload = await self.out.sql['Kept'].execute(
            'insert or ignore into entry values (:id)', {'id': self.request.payload['id']})
'''
KINDS = ('async', 'transaction', 'def', 'session')


def connection(url: str, timeout: float = 30) -> dict[str, object]:
    """The connection of the tests, without the password."""
    return {'name': 'CRM', 'url': url.replace('+psycopg', ''), 'pool_size': 8, 'timeout': timeout}


def build() -> Broker:
    """A server with the services of these tests."""
    broker = create()
    broker.start()
    broker.serve('sql_services.py', SERVICES)
    channels = [{'name': f'sql.{kind}', 'url_path': f'/sql/{kind}', 'service': f'sql.{kind}', 'security': None}
                for kind in (*KINDS, 'value')]  # fmt: skip
    url = postgresql.shared().fresh()
    broker.configure(json.dumps({'channel_rest': channels, 'sql': [connection(url)]}))
    return broker


class SqlTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.server = postgresql.shared()
        self.broker = shared('sql', build)

    def active(self) -> set[str]:
        """The services whose statement the server executes now."""
        found = self.server.ask("select query from pg_stat_activity where state = 'active' and pid <> pg_backend_pid()")
        return {kind for kind in KINDS for (query,) in found if f'/* {kind} */' in str(query)}

    def test_clients_that_go_away(self) -> None:
        """The statement of a client that has gone is cancelled at the server, whatever the service is written as."""
        clients = []
        for kind in KINDS:
            client = socket.create_connection(('127.0.0.1', self.broker.port()), 20)
            client.sendall(b'GET /sql/%s HTTP/1.1\r\nHost: x\r\n\r\n' % kind.encode())
            clients.append(client)
        until(lambda: self.active() == set(KINDS), 'statements of all services')
        for client in clients:
            client.close()
        until(lambda: not self.active(), 'cancellation of all statements', 20)
        self.assertEqual(self.broker.ask('GET', '/sql/value').status, 200)

    def test_live_edit(self) -> None:
        """A changed connection serves the next call, while the ping and metrics know it by its name."""
        url = self.server.fresh()
        self.broker.configure(json.dumps({'sql': [connection(url)]}))
        self.assertEqual(self.broker.ask('GET', '/sql/value').body.decode(), url.rpartition('/')[2])
        said = self.broker.must('service', 'invoke', str(self.broker.path), 'zato.outgoing.sql.ping', '--payload',
                                '{"name": "CRM"}')  # fmt: skip
        self.assertIn('SELECT 1 on PostgreSQL took', said)
        metrics = self.broker.ask('GET', '/zato/metrics', fields=self.broker.admin()).body.decode()
        self.assertIn('zatotx_outgoing_calls_total{connection="CRM",type="sql"}', metrics)

    def test_frozen_database(self) -> None:
        """Calls on a frozen database end in 504 at the connection's timeout; the server answers others meanwhile."""
        self.broker.configure(json.dumps({'sql': [connection(self.server.fresh(), timeout=2)]}))
        until(lambda: self.broker.ask('GET', '/sql/value').status == 200, 'a statement within the timeout')
        self.server.freeze()
        try:
            with ThreadPoolExecutor(20) as threads:
                began = time.monotonic()
                calls = [threads.submit(self.broker.ask, 'GET', '/sql/value') for _ in range(20)]
                pings = 0
                while time.monotonic() - began < 1.5:
                    self.assertEqual(self.broker.ask('GET', '/zato/ping').status, 200)
                    pings += 1
                answers = [call.result() for call in calls]
                self.assertLess(time.monotonic() - began, allowed(2 * 1.1 + 1.5))  # and what a busy machine needs
            self.assertGreater(pings, 5)
            self.assertEqual({answer.status for answer in answers}, {504})
            self.assertIn('Outgoing connection CRM (sql) gave no answer within 2 s', answers[0].body.decode())
        finally:
            self.server.thaw()
        until(lambda: self.broker.ask('GET', '/sql/value').status == 200, 'recovery')

    def test_guaranteed(self) -> None:
        """With guaranteed delivery, statements are kept while the database is away and the server is killed, and are
        executed in their order when it is back."""
        folder = self.broker.path.parent / 'away'
        self.broker.configure(json.dumps({'sql': [
            {'name': 'Kept', 'url': f'sqlite:///{folder}/db', 'delivery': 'guaranteed', 'timeout': 2}]}))  # fmt: skip
        for text in ('first', 'second', 'third'):
            answer = self.broker.invoke('sql.kept', json.dumps({'id': text}).encode())
            self.assertRegex(answer.body.decode(), '^[0-9a-f]{24}$')
        self.broker.kill()
        self.broker.start()
        folder.mkdir()
        with closing(sqlite3.connect(folder / 'db')) as database:
            database.execute('create table entry (id text primary key)')
            until(lambda: database.execute('select id from entry order by rowid').fetchall()
                  == [('first',), ('second',), ('third',)], 'the rows', 90.0)  # fmt: skip
