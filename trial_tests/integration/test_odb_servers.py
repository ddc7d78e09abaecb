"""Failures of real PostgreSQL and MariaDB servers: killed, frozen, full, read-only, locked, rejecting."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection, select, text, update
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support import mariadb, postgresql
from trial_tests.support.daemon import Daemon
from trial_tests.support.mariadb import MariaDB
from trial_tests.support.odb import CLUSTER, KEY, ME, TYPES, OdbCase, service, user
from trial_tests.support.odb_process import fill
from trial_tests.support.ports import free_port
from trial_tests.support.postgresql import PostgreSQL
from zatotx.model.errors import ServiceUnavailable, Timeout
from zatotx.odb import engine_factory as engine_module
from zatotx.odb.database_executor import CALL_DEADLINE, CancellableCall
from zatotx.odb.engine_factory import make_engine
from zatotx.odb.engines import mysql as mysql_room
from zatotx.odb.engines import postgresql as postgresql_room
from zatotx.odb.engines.dialect import LOCK_TIMEOUT
from zatotx.odb.odb_urls import parse_odb_url
from zatotx.odb.offline_operations import NewCluster, create_odb, inspect_schema_state, read_snapshot
from zatotx.odb.tables import cluster, server
from zatotx.odb.transaction import ClusterContext, begin_transaction

reactor: Any = global_reactor  # its interfaces are more than its type says
REFUSED_WITHIN = 30.0  # seconds: the contract's 5, and what a busy machine adds
BACK_WITHIN = 60.0
NO_SIGNAL = ('env', '--ignore-signal=XFSZ')  # a write beyond the limit is an error then, not the end of the process


class ServerCase(OdbCase):
    """A test on the shared server, which works afterwards whatever was done to it."""

    __test__ = False
    is_patient = False

    @property
    def server(self) -> Any:
        """Return the shared server of the database."""
        return (postgresql if self.database_kind == 'postgresql' else mariadb).shared()

    async def names(self) -> set[str]:
        return {stored.name for stored in (await self.store.changes(0)).changed}

    async def refusal(self, attempt: Deferred[Any]) -> str:
        """Return the error, which occurred in time and contains no password."""
        began = time.monotonic()
        error: Any = await self.assertFailure(attempt, ServiceUnavailable, Timeout)
        self.assertLess(time.monotonic() - began, REFUSED_WITHIN)
        self.is_a_sentence(str(error))
        return str(error)

    def is_a_sentence(self, said: str) -> None:
        """The message is one line that names the ODB, without secrets."""
        self.assertIn('The ODB (', said)
        self.assertNotIn('\n', said)
        self.assertNotIn('sEcReT', said)

    async def written_soon(self, name: str) -> None:
        """A write succeeds again in time."""
        end = time.monotonic() + BACK_WITHIN
        while True:
            try:
                await self.store.write([user(name, '')], ME)
                return
            except (ServiceUnavailable, Timeout):
                self.assertLess(time.monotonic(), end)


class ServerTests:
    """Tests for both databases; the classes at the end run them."""

    server: Any
    url: str
    store: Any

    async def test_killed_and_back(self: Any) -> None:
        """Reads and writes fail at once; after the restart all acknowledged data is there, on every node."""
        other = self.open()
        await self.store.write([user('before', '')], ME)
        self.assertEqual(len((await other.changes(0)).changed), 1)
        self.addCleanup(self.revive)
        self.server.kill()
        for attempt in (self.store.write([user('refused', '')], ME), self.store.revision(), other.changes(0)):
            await self.refusal(attempt)
        self.server.start()
        await self.written_soon('after')
        self.assertEqual(await self.names(), {'before', 'after'})
        self.assertEqual(len((await other.changes(0)).changed), 2)

    def revive(self: Any) -> None:
        if not self.server.answers():
            self.server.start()

    async def test_frozen_and_back(self: Any) -> None:
        """The call and those behind it are abandoned in time, and the reactor continues. Rejected writes are not made
        later."""
        await self.store.write([user('before', '')], ME)
        turns: list[float] = []
        ticking = LoopingCall(lambda: turns.append(reactor.seconds()))
        ticking.start(0.1)
        self.addCleanup(ticking.stop)
        self.addCleanup(self.server.thaw)
        self.server.freeze()
        attempts = [self.store.write([user('refused', '')], ME), self.store.revision(),
                    self.store.write([user('refused too', '')], ME)]  # fmt: skip
        for attempt in attempts:
            await self.refusal(attempt)
        pauses = [after - before for before, after in pairwise(turns)]
        self.assertGreater(len(turns), 15)
        self.assertLess(max(pauses), CALL_DEADLINE - 1.0)  # it would be the whole of it, were the reactor to wait
        self.server.thaw()
        await self.written_soon('after')
        self.assertEqual(await self.names(), {'before', 'after'})

    async def test_connections_cut_by_the_server_are_made_anew(self: Any) -> None:
        """Cut idle connections are replaced without an error."""
        other = self.open()
        for store in (self.store, other):
            await store.write([user(f'u{id(store)}', '')], ME)
            await store.changes(0)
        self.cut_all()
        self.assertEqual(len(await self.names()), 2)
        await other.write([user('after', '')], ME)
        self.assertEqual(len(await self.names()), 3)

    async def test_a_connection_cut_in_the_middle_is_made_anew(self: Any) -> None:
        """An uncommitted transaction is retried on another connection; a cut during the commit is reported, since its
        outcome is unknown."""
        found, runs = self.database(), []

        def cut_once(connection: Connection, _: ClusterContext) -> int:
            runs.append(1)
            if len(runs) == 1:
                self.cut_all()
            return int(connection.execute(text('SELECT 7')).scalar_one())

        self.assertEqual(await deferToThread(found.read, cut_once), 7)
        del runs[:]
        self.assertEqual(await deferToThread(found.write, CancellableCall(), cut_once), 7)
        self.assertEqual(len(runs), 2)
        call = CancellableCall()

        def cut_in_the_commit(connection: Connection, _: ClusterContext) -> None:
            runs.append(connection.execute(text('SELECT 7')).scalar_one())
            call.begin_commit()
            self.cut_all()

        said = await self.refusal(deferToThread(found.write, call, cut_in_the_commit))
        self.assertIn('did not confirm a commit: check whether it was made', said)
        self.assertEqual(len(runs), 3)

    async def test_who_waits_for_a_lock_makes_no_progress(self: Any) -> None:
        """Several writes that wait for a lock are rejected in time, including the last."""
        await self.store.write([user('before', '')], ME)
        holder = make_engine(self.url, 'migrate').connect()
        self.addCleanup(holder.engine.dispose)
        self.addCleanup(holder.close)
        holder.execute(select(cluster).with_for_update())
        began = reactor.seconds()
        ended: list[float] = []
        writing = [self.store.write([user(f'refused {n}', '')], ME) for n in range(3)]

        def note(result: Any) -> Any:
            ended.append(reactor.seconds() - began)
            return result

        for each in writing:
            each.addBoth(note)
        for each in writing:
            await self.refusal(each)
        holder.rollback()
        self.assertLess(
            max(ended), LOCK_TIMEOUT + CALL_DEADLINE - 1
        )  # each waiting a time of its own, it would be that and more

    async def test_locked(self: Any) -> None:
        """Writes behind another transaction's lock are rejected, and work later; reads work."""
        await self.store.write([user('before', '')], ME)
        holder = make_engine(self.url, 'migrate').connect()
        self.addCleanup(holder.engine.dispose)
        self.addCleanup(holder.close)
        holder.execute(select(cluster).with_for_update())
        writing = self.store.write([user('refused', '')], ME)
        self.assertEqual(await self.names(), {'before'})
        await self.refusal(writing)
        holder.rollback()
        await self.written_soon('after')
        self.assertEqual(await self.names(), {'before', 'after'})

    async def test_a_node_frozen_in_its_transaction_does_not_lock_out_the_others(self: Any) -> None:
        """The server ends its transaction."""
        for room in (postgresql_room, mysql_room):
            self.patch(room, 'IDLE_TIMEOUT', 1.0)
        frozen, thawed = self.database(), threading.Event()
        self.addCleanup(thawed.set)
        locked: Deferred[None] = Deferred()

        def stuck(connection: Connection, found: ClusterContext) -> None:
            begin_transaction(connection, found, ME, lambda: None)
            reactor.callFromThread(locked.callback, None)
            thawed.wait(60)
            connection.execute(text('SELECT 1'))

        running = deferToThread(frozen.write, CancellableCall(), stuck)
        await locked
        await self.written_soon('other')
        thawed.set()
        await self.refusal(running)

    async def test_of_two_that_lock_each_other_out_both_come_through(self: Any) -> None:
        """The database aborts one of two deadlocked transactions, which is retried."""
        one, two = [(await self.store.register_node(f'server{n}', '', 0, 0)).id for n in (1, 2)]
        database, meet, runs = [self.database(), self.database()], threading.Barrier(2, timeout=30), []

        def crosswise(first: int, second: int) -> Any:
            def touch(connection: Connection, found: ClusterContext) -> None:
                runs.append(first)
                connection.execute(update(server).where(server.c.id == first).values(pid=server.c.pid + 1))
                if len(runs) <= 2:
                    meet.wait()
                connection.execute(update(server).where(server.c.id == second).values(pid=server.c.pid + 1))

            return touch

        begun = [
            deferToThread(database[0].write, CancellableCall(), crosswise(one, two)),
            deferToThread(database[1].write, CancellableCall(), crosswise(two, one)),
        ]
        for each in begun:
            await each
        self.assertEqual([node.pid for node in await self.store.nodes()], [2, 2])
        self.assertEqual(len(runs), 3)

    async def test_read_only(self: Any) -> None:
        """Reads work, a write is rejected with the reason; afterwards everything works."""
        await self.store.write([user('before', '')], ME)
        self.addCleanup(self.read_only, False)
        self.read_only(True)
        self.cut_all()
        said = await self.refusal(self.store.write([user('refused', '')], ME))
        self.assertRegex(said, 'read.only')
        self.assertEqual(await self.names(), {'before'})
        self.read_only(False)
        await self.written_soon('after')

    def test_wrong_options_of_the_url_are_sentences(self: Any) -> None:
        """Unknown options, invalid values and missing files are reported in a sentence."""
        for options in self.wrong_options:
            said = str(
                self.assertRaises((ServiceUnavailable, ValueError), inspect_schema_state, f'{self.url}?{options}')
            )
            self.is_a_sentence(said)
            self.assertNotIn('Background', said)

    async def test_an_account_that_may_too_little(self: Any) -> None:
        """The message says which privileges it needs."""
        self.url = self.server.url(self.poor_account(), 'poor', 'poor-sEcReT')
        said = str(self.assertRaises(ServiceUnavailable, create_odb, self.url, KEY, NewCluster(name='x'), types=TYPES))
        self.is_a_sentence(said)
        self.assertIn('the account needs', said)

    def test_wrong_urls_are_sentences(self: Any) -> None:
        """Wrong passwords, databases, ports and hosts are reported to commands and nodes."""
        good = parse_odb_url(self.url)
        for wrong, part in (
            (good.set(password='wrong-sEcReT'), '(?i)password'),
            (good.set(database='nosuch'), 'nosuch'),
            (good.set(port=free_port()), '(?i)refused|can.t connect'),
            (good.set(host='no.such.host.invalid'), 'no.such.host.invalid'),
        ):
            url = wrong.render_as_string(hide_password=False)
            for attempt in (
                lambda url=url: inspect_schema_state(url),
                lambda url=url: create_odb(url, KEY, NewCluster(name='x'), types=TYPES),
            ):
                said = str(self.assertRaises(ServiceUnavailable, attempt))
                self.is_a_sentence(said)
                self.assertRegex(said, part)


class PostgreSQLTests(ServerTests, ServerCase):
    """PostgreSQL."""

    __test__ = True
    database_kind = 'postgresql'
    wrong_options = ('nosuch=1', 'sslmode=nosuch', 'sslmode=verify-full&sslrootcert=/nosuch.pem')

    def cut_all(self) -> None:
        self.server.ask("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'zatotx'")

    def read_only(self, on: bool) -> None:
        name = parse_odb_url(self.url).database
        self.server.ask(f'ALTER DATABASE {name} SET default_transaction_read_only = {on}')

    def poor_account(self) -> str:
        name = str(parse_odb_url(self.make_url()).database)
        self.server.ask("DROP ROLE IF EXISTS poor")
        self.server.ask("CREATE ROLE poor LOGIN PASSWORD 'poor-sEcReT'")
        return name

    async def test_the_encoding_must_be_utf8(self) -> None:
        """A name that another encoding cannot store is reported."""
        self.server.ask("CREATE DATABASE latin ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
        url = self.server.url('latin')
        said = str(self.assertRaises(
            ServiceUnavailable, create_odb, url, KEY, NewCluster(name='x', operations=(user('😀', ''),)), types=TYPES
        ))  # fmt: skip
        self.assertIn('must be UTF8', said)

    async def test_options_of_the_url_hold(self) -> None:
        """Options in the URL apply, such as a schema."""
        url = self.make_url()
        self.server.ask('CREATE SCHEMA mine', str(parse_odb_url(url).database))
        self.url = f'{url}?options=-csearch_path%3Dmine'
        create_odb(self.url, KEY, NewCluster(name=CLUSTER, operations=(service('echo'),)), types=TYPES)
        self.assertEqual([o.name for o in read_snapshot(self.database())], ['echo'])
        found = self.server.ask("SELECT count(*) FROM mine.config_object", str(parse_odb_url(url).database))
        self.assertEqual(found, [(1,)])


class MariaDBTests(ServerTests, ServerCase):
    """MariaDB."""

    __test__ = True
    database_kind = 'mariadb'
    wrong_options = ('nosuch=1', 'read_timeout=soon', 'ssl_ca=/nosuch.pem')

    def setUp(self) -> None:
        """Use an account without administrator rights."""
        super().setUp()
        name = parse_odb_url(self.url).database
        self.server.ask("CREATE OR REPLACE USER plain@'%' IDENTIFIED BY 'plain-sEcReT'")
        self.server.ask(f"GRANT ALL ON {name}.* TO plain@'%'")
        self.url = self.server.url(str(name), 'plain', 'plain-sEcReT')
        self.store = self.open()

    def cut_all(self) -> None:
        for (number,) in self.server.ask("SELECT id FROM information_schema.processlist WHERE user = 'plain'"):
            self.server.ask(f'KILL CONNECTION {number}')

    def read_only(self, on: bool) -> None:
        self.server.ask(f'SET GLOBAL read_only = {int(on)}')

    def poor_account(self) -> str:
        name = str(parse_odb_url(self.make_url()).database)
        self.server.ask("CREATE OR REPLACE USER poor@'%' IDENTIFIED BY 'poor-sEcReT'")
        self.server.ask(f"GRANT SELECT ON {name}.* TO poor@'%'")
        return name

    async def test_a_password_of_any_letters(self) -> None:
        """Passwords may contain characters beyond Latin-1 and those with a meaning in URLs."""
        password = 'пароль é 日本 @:/?#%'
        self.server.ask(f"CREATE OR REPLACE USER anywhere@'%' IDENTIFIED BY '{password}'")
        self.server.ask(f"GRANT ALL ON {parse_odb_url(self.url).database}.* TO anywhere@'%'")
        self.url = self.server.url(str(parse_odb_url(self.url).database), 'anywhere', quote(password, safe=''))
        self.assertEqual(inspect_schema_state(self.url), 'current')
        moved = self.url.replace(f':{quote(password, safe="")}@', '@') + f'?password={quote(password, safe="")}'
        self.assertEqual(inspect_schema_state(moved), 'current')

    async def test_a_statement_that_is_too_big_is_a_sentence(self) -> None:
        """The message names the server's setting; the next statement works."""
        self.addCleanup(self.server.ask, 'SET GLOBAL max_allowed_packet = 67108864')
        self.server.ask('SET GLOBAL max_allowed_packet = 1048576')
        self.store = self.open()
        said = await self.refusal(self.store.write([service('big', impl_name='x' * 3_000_000)], ME))
        self.assertIn('max_allowed_packet', said)
        await self.store.write([user('after', '')], ME)
        self.assertEqual(await self.names(), {'after'})


class FullTests(SynchronousTestCase):
    """The kernel limits the size of the server's files, as a full disk does."""

    def check(self, said: str) -> None:
        self.assertIn('cannot be used now', said)
        self.assertNotIn('\n', said)
        self.assertNotIn('sEcReT', said)

    def full(self, made: Daemon, limit: int) -> Any:
        self.addCleanup(made.close)
        made.start(*NO_SIGNAL, 'prlimit', f'--fsize={limit}')
        return made

    def test_postgresql(self) -> None:
        """The error is one sentence."""
        made = self.full(PostgreSQL(), 17 * 2**20)  # a segment of its log is 16 MB
        self.check(fill(made.fresh(), KEY))

    def test_mariadb(self) -> None:
        """The error is one sentence."""
        made = self.full(MariaDB(), 14 * 2**20)  # its system tables are 12 MB
        self.check(fill(made.fresh(), KEY))

    def test_sqlite(self) -> None:
        """The error is one sentence."""
        directory = Path(self.mktemp()).absolute()
        directory.mkdir(parents=True)
        done = subprocess.run(
            ['prlimit', f'--fsize={2 * 2**20}', sys.executable, '-m', 'trial_tests.support.odb_process', 'fill',
             f'sqlite:///{directory}/zatotx.db', KEY, ''],
            capture_output=True,
            check=True,
            text=True,
            timeout=120,
            env={**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)},
        )  # fmt: skip
        self.check(done.stdout.strip())


class DriverTests(SynchronousTestCase):
    def test_a_missing_driver_is_a_sentence(self) -> None:
        """The message contains the command that installs it."""
        for url, module, extra in (
            ('postgresql+psycopg://me:sEcReT@host/db', 'psycopg', 'postgresql'),
            ('mysql+pymysql://me:sEcReT@host/db', 'pymysql', 'mysql'),
        ):
            self.patch(sys, 'modules', {**sys.modules, module: None})
            said = str(self.assertRaises(ValueError, engine_module.make_engine, url))
            self.assertIn(f"pip install 'zatotx[{extra}]'", said)
            self.assertNotIn('sEcReT', said)
