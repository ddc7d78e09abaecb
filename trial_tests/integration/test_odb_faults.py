"""Failures of the ODB: locked, missing, replaced, busy, killed during writes."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from sqlalchemy import Connection
from twisted.internet import reactor as global_reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from trial_tests.support.odb import CLUSTER, KEY, ME, TYPES, OdbCase, channel, on_every_database, service, user
from trial_tests.support.odb_process import MANY, Forked
from trial_tests.support.waiting import allowed
from zatotx.model.errors import ServiceUnavailable, Timeout
from zatotx.odb import database_executor
from zatotx.odb.config_store import open_store
from zatotx.odb.database_executor import CancellableCall, DatabaseCallAbandoned, DatabaseExecutor
from zatotx.odb.mutations import apply_operations
from zatotx.odb.offline_operations import NewCluster, create_odb, inspect_schema_state, read_snapshot, write_operations
from zatotx.odb.transaction import ClusterContext, begin_transaction

reactor: Any = global_reactor  # its interfaces are more than its type says
SOON = 300.0  # seconds a process may take to say that it is ready: the machine may be busy


class ProcessCase(OdbCase):
    def begin(self, command: str, argument: str, url: str | None = None) -> Forked:
        """Run that command of trial_tests.support.odb_process."""
        process = Forked(command, url or self.url, KEY, argument)
        self.addCleanup(process.close)
        return process

    async def kill_when_ready(self, process: Forked) -> None:
        """kill -9 at the point that the process reports."""
        late = reactor.callLater(SOON, process.kill)
        word = await deferToThread(process.word)
        late.cancel()
        self.assertEqual(word, 'ready')
        process.kill()
        await deferToThread(process.wait)


@on_every_database
class KillTests(ProcessCase):
    async def test_killed_in_the_middle_of_a_big_write(self) -> None:
        """Nothing of the write is stored, and the ODB is usable at once."""
        await self.store.write([service('echo')], ME)
        before = await self.store.revision()
        for step in ('2', '30'):
            await self.kill_when_ready(self.begin('write_many', step))
            self.assertEqual((await self.store.revision(), len((await self.store.changes(0)).changed)), (before, 1))
        self.assertEqual(await self.store.write([channel('c1')], ME), before + 1)

    async def test_killed_right_after_a_big_write(self) -> None:
        """All of it is stored: acknowledged writes survive a kill."""
        await self.store.write([service('echo')], ME)
        await self.kill_when_ready(self.begin('write_many', 'end'))
        self.assertEqual(len((await self.store.changes(0)).changed), MANY + 1)

    async def test_killed_in_the_middle_of_a_migration(self) -> None:
        """No table remains, and the same command then creates the ODB."""
        for table in ('config_object', 'version_verdict'):
            url = self.make_url()
            await self.kill_when_ready(self.begin('make', table, url))
            self.assertEqual(inspect_schema_state(url), 'empty')
            create_odb(url, KEY, NewCluster(name=CLUSTER), types=TYPES)
            self.assertEqual(inspect_schema_state(url), 'current')


@on_every_database
class TwoProcessesTests(ProcessCase):
    async def test_two_processes_write_at_once(self) -> None:
        """All writes of both are stored with distinct revisions, next to those of a node."""
        before = await self.store.revision()
        processes = [self.begin('write_one_by_one', '30') for _ in range(2)]
        for number in range(20):
            await self.store.write([user(f'own.{number}', '')], ME)
        codes = [await deferToThread(process.wait) for process in processes]
        self.assertEqual(codes, [0, 0])
        changes = await self.store.changes(before)
        self.assertEqual((len(changes.changed), changes.revision), (80, before + 80))


class LockedTests(OdbCase):
    is_patient = False

    def lock(self) -> sqlite3.Connection:
        """Hold the write lock, as a frozen process does."""
        path = self.url.removeprefix('sqlite:///')
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        connection.execute('BEGIN IMMEDIATE')
        self.addCleanup(connection.close)
        return connection

    async def test_a_locked_odb_is_503_and_works_again(self) -> None:
        """Writes fail within the contract's 5 s, also queued ones; reads work; rejected writes are not made later."""
        node = await self.store.register_node('server1', '127.0.0.1', 17010, 1)
        holder = self.lock()
        started = time.monotonic()
        beating = self.store.record_heartbeat(node.id, 1, {})
        writing = self.store.write([user('refused', '')], ME)
        self.assertEqual((await self.store.changes(0)).changed, ())
        self.assertEqual((beating.called, writing.called), (False, False))
        error = await self.assertFailure(beating, ServiceUnavailable, Timeout)
        first = time.monotonic()
        other = await self.assertFailure(writing, ServiceUnavailable, Timeout)
        self.assertLess(time.monotonic() - first, database_executor.CALL_DEADLINE - 1)  # no time of its own
        self.assertLess(first - started, 30)
        for each in (error, other):
            self.assertIn(self.url, str(each))
        holder.execute('ROLLBACK')
        await self.store.write([user('accepted', '')], ME)
        self.assertEqual([o.name for o in (await self.store.changes(0)).changed], ['accepted'])


class AwayTests(OdbCase):
    async def test_a_file_that_is_moved_away_is_503_and_works_again(self) -> None:
        """No new file is created, and nothing is written to an unlinked one."""
        path = Path(self.url.removeprefix('sqlite:///'))
        await self.store.write([user('a', '')], ME)
        elsewhere = path.with_name('elsewhere')
        elsewhere.mkdir()
        for file in list(path.parent.glob('zatotx.db*')):
            file.rename(elsewhere / file.name)
        await self.assertFailure(self.store.write([user('b', '')], ME), ServiceUnavailable)
        error = await self.assertFailure(self.store.revision(), ServiceUnavailable)
        self.assertIn('unable to open database file', str(error))
        self.assertFalse(path.exists())
        for file in list(elsewhere.iterdir()):
            file.rename(path.parent / file.name)
        await self.store.write([user('c', '')], ME)
        self.assertEqual({o.name for o in (await self.store.changes(0)).changed}, {'a', 'c'})

    async def test_a_file_that_is_replaced_is_noticed(self) -> None:
        """A restored backup is read next."""
        path = Path(self.url.removeprefix('sqlite:///'))
        await self.store.write([user('a', '')], ME)
        other = self.make_url()
        create_odb(other, KEY, NewCluster(name=CLUSTER, operations=(user('restored', ''),)), types=TYPES)
        for file in path.parent.glob('zatotx.db-*'):
            file.unlink()
        Path(other.removeprefix('sqlite:///')).rename(path)
        self.assertEqual([o.name for o in (await self.store.changes(0)).changed], ['restored'])

    async def test_a_file_that_is_none_of_sqlite_is_503(self) -> None:
        """The message names the file."""
        path = Path(self.make_url().removeprefix('sqlite:///'))
        path.write_bytes(b'not a database at all, by any means' * 100)
        store = open_store(f'sqlite:///{path}', KEY, reactor=reactor, cluster=CLUSTER, types=TYPES)
        self.addCleanup(store.close)
        error = await self.assertFailure(store.revision(), ServiceUnavailable)
        self.assertIn('file is not a database', str(error))

    async def test_a_node_of_an_unknown_cluster_is_told_so(self) -> None:
        """The message names the cluster."""
        store = open_store(self.url, KEY, reactor=reactor, cluster='other', types=TYPES)
        self.addCleanup(store.close)
        error = await self.assertFailure(store.revision(), ServiceUnavailable)
        self.assertIn("no cluster called 'other'", str(error))

    async def test_an_odb_that_comes_later_is_found(self) -> None:
        """A node may start before it."""
        url = self.make_url()
        store = open_store(url, KEY, reactor=reactor, cluster=CLUSTER, types=TYPES)
        self.addCleanup(store.close)
        await self.assertFailure(store.revision(), ServiceUnavailable)
        create_odb(url, KEY, NewCluster(name=CLUSTER), types=TYPES)
        self.assertEqual(await store.revision(), 1)


class ReadOnlyTests(OdbCase):
    async def test_a_file_that_may_only_be_read(self) -> None:
        """Reads work; a write fails with a message."""
        await self.store.write([user('a', '')], ME)
        directory = Path(self.url.removeprefix('sqlite:///')).parent
        for entry in (*directory.iterdir(), directory):
            entry.chmod(0o500 if entry.is_dir() else 0o400)
        self.addCleanup(directory.chmod, 0o700)
        humble = ['setpriv', '--bounding-set', '-dac_override'] if os.geteuid() == 0 else []  # root may write anything
        done = await deferToThread(
            subprocess.run,
            [*humble, sys.executable, '-m', 'trial_tests.support.odb_process', 'write_one', self.url, KEY, ''],
            capture_output=True,
            check=True,
            text=True,
            timeout=60,
            env={**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)},
        )
        self.assertIn(f'1 objects. The ODB ({self.url}) cannot be used now', done.stdout)
        self.assertIn('readonly', done.stdout)


@on_every_database
class GivenUpTests(OdbCase):
    def test_a_write_nobody_waits_for_is_rolled_back(self) -> None:
        """A write reported as failed is not stored."""
        database = self.database()
        call = CancellableCall()

        def late(connection: Connection, found: ClusterContext) -> None:
            apply_operations(begin_transaction(connection, found, ME, call.report_progress), [user('late', '')])
            self.assertTrue(call.abandon())

        self.assertRaises(DatabaseCallAbandoned, database.write, call, late)
        self.assertEqual(len(read_snapshot(database)), 0)
        self.assertEqual(write_operations(database, [user('next', '')], ME), 2)


class LaneTests(TestCase):
    """Deadlines, with short ones."""

    def setUp(self) -> None:
        self.patch(database_executor, 'CALL_DEADLINE', 1.0)
        self.lane = DatabaseExecutor(reactor, threads=1, name='test', database_name='the test')
        self.release = threading.Event()
        self.addCleanup(self.lane.close)
        self.addCleanup(self.release.set)

    async def test_what_makes_no_progress_is_given_up(self) -> None:
        """A call without progress and those behind it are abandoned; calls work again once the thread is free."""
        told: list[str] = []

        def stuck(call: CancellableCall) -> bool:
            freed = self.release.wait(10)
            try:
                call.begin_commit()
            except DatabaseCallAbandoned:
                told.append('given up')
                raise
            return freed

        def second_runs(call: CancellableCall) -> str:
            told.append('second ran')
            return 'second'

        first = self.lane.run(stuck)
        second = self.lane.run(second_runs)
        error = await self.assertFailure(first, Timeout)
        self.assertIn('the test', str(error))
        await self.assertFailure(second, Timeout)
        self.release.set()
        self.assertEqual(await self.lane.run(lambda call: 'served'), 'served')
        self.assertEqual(told, ['given up'])

    async def test_what_moves_on_may_take_its_time(self) -> None:
        """The deadline counts from the last progress."""

        self.patch(database_executor, 'CALL_DEADLINE', 2.5)

        def slow(call: CancellableCall) -> str:
            for _ in range(16):
                self.release.wait(0.2)
                call.report_progress()
            return 'done'

        self.assertEqual(await self.lane.run(slow), 'done')

    async def test_who_moved_once_has_no_second_deadline(self) -> None:
        """It counts from the progress, not from the check."""
        self.patch(database_executor, 'CALL_DEADLINE', 4.0)

        def moved_once(call: CancellableCall) -> bool:
            call.report_progress()
            return self.release.wait(10)

        began = reactor.seconds()
        await self.assertFailure(self.lane.run(moved_once), Timeout)
        self.assertLess(reactor.seconds() - began, allowed(7.8))

    async def test_a_commit_under_way_is_not_called_off(self) -> None:
        """Its outcome is unknown, and reported as such."""

        def committing(call: CancellableCall) -> bool:
            call.begin_commit()
            return self.release.wait(10)

        running = self.lane.run(committing)
        error = await self.assertFailure(running, Timeout)
        self.assertIn('check whether it was made', str(error))

    async def test_a_cancelled_call_writes_nothing(self) -> None:
        """It does not affect the next one either."""
        begun: Deferred[None] = Deferred()
        outcome: Deferred[str] = Deferred()

        def work(call: CancellableCall) -> None:
            reactor.callFromThread(begun.callback, None)
            self.release.wait(10)
            try:
                call.begin_commit()
            except DatabaseCallAbandoned:
                reactor.callFromThread(outcome.callback, 'rolled back')
                raise

        running = self.lane.run(work)
        await begun
        running.cancel()
        await self.assertFailure(running, CancelledError)
        self.release.set()
        self.assertEqual(await outcome, 'rolled back')
        self.assertEqual(await self.lane.run(lambda call: 'served'), 'served')

    async def test_closing_leaves_a_stuck_thread_behind(self) -> None:
        """A frozen database does not prevent a node from stopping."""
        stuck = self.lane.run(lambda call: self.release.wait(10))
        closing = Deferred.fromCoroutine(self.lane.close())
        await self.assertFailure(stuck, Timeout)
        await closing

    async def test_what_a_function_raises_comes_back(self) -> None:
        """Exceptions are passed on unchanged."""
        await self.assertFailure(self.lane.run(lambda call: 1 // 0), ZeroDivisionError)
