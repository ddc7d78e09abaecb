"""The stores of the scheduler on a real Redis and on real databases; those in memory pass the same contracts."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from trial_tests.support.odb import ME, OdbCase, edit, on_every_database, per_engine, user
from trial_tests.support.redis import KEYS, RedisCase
from zatotx.interfaces.scheduler import ILeaderStore, ITickWriter
from zatotx.model.job_run import FAILED, JobRun
from zatotx.model.work_message import decode_work
from zatotx.redis.client import ScriptRunner
from zatotx.redis.job_run_history import RedisRunHistory
from zatotx.redis.tick_writer import RedisTickWriter
from zatotx.redis.work_stream import RedisWorkStream
from zatotx.schema.snapshot import Actor, Snapshot
from zatotx.testing.memory_scheduler_stores import MemoryLeaderStore, MemoryTickWriter
from zatotx.testing.scheduler_store_contract import LeaderStoreContract, TickWriterContract


class RedisTickStoreTests(RedisCase, TickWriterContract):
    """On a real Redis."""

    async def setUp(self) -> None:  # type: ignore[override]
        super().setUp()
        self.shared = await self.client()
        scripts = ScriptRunner(self.shared)
        self._work = RedisWorkStream(self.shared, scripts, KEYS)
        self._store = RedisTickWriter(self.shared, scripts, KEYS, self._work)

    def tick_store(self) -> ITickWriter:
        store: ITickWriter = self._store
        return store

    async def payloads(self) -> list[Any]:
        rows: Any = await self.shared.execute('XRANGE', self._work.stream_key(''), '-', '+')
        return [decode_work(fields[1] if isinstance(fields[1], bytes) else fields[1].encode(), entry).payload
                for entry, fields in rows]  # fmt: skip

    async def lose_data(self) -> None:
        await self.shared.execute('FLUSHALL')


class MemoryTickStoreTests(TickWriterContract, TestCase):
    """In memory."""

    def setUp(self) -> None:
        self._store = MemoryTickWriter()

    def tick_store(self) -> ITickWriter:
        store: ITickWriter = self._store
        return store

    async def payloads(self) -> list[Any]:
        return [message.payload for message in self._store.added]

    async def lose_data(self) -> None:
        self._store.wipe()


@on_every_database
class OdbLeaderTests(OdbCase, LeaderStoreContract):
    """On real databases."""

    def leader_store(self) -> ILeaderStore:
        store: Any = self.store
        leaders: ILeaderStore = store
        return leaders

    @per_engine
    async def test_one_claim_of_each_epoch(self) -> None:
        await LeaderStoreContract.test_one_claim_of_each_epoch(self)

    async def test_times_of_changes(self) -> None:
        """The time of an object's last change is known: when it was requested, if the write had to wait."""
        await self.store.write([user('api')], ME)
        before = Snapshot().apply_changes(await self.store.changes(0)).find('basic_auth', 'api')
        assert before is not None
        self.assertGreater(before.changed_at, 1_700_000_000)
        await self.store.write([edit('basic_auth', before.id, realm='other')], ME)
        after = Snapshot().apply_changes(await self.store.changes(0)).find('basic_auth', 'api')
        assert after is not None
        self.assertGreater(after.changed_at, before.changed_at)
        asked = Actor('me', at=before.changed_at + 0.001)
        await self.store.write([edit('basic_auth', before.id, realm='third')], asked)
        last = Snapshot().apply_changes(await self.store.changes(0)).find('basic_auth', 'api')
        assert last is not None
        self.assertEqual(last.changed_at, asked.at)


class MemoryLeaderTests(LeaderStoreContract, TestCase):
    """In memory."""

    def setUp(self) -> None:
        self._store = MemoryLeaderStore()

    def leader_store(self) -> ILeaderStore:
        store: ILeaderStore = self._store
        return store


class RunHistoryTests(RedisCase):
    """The history of runs on a real Redis."""

    async def test_limits(self) -> None:
        """The last runs of each job are kept up to one limit, and those of all jobs up to another; the newest come
        first, whatever the numbers of the jobs begin with."""
        client = await self.client()
        history = RedisRunHistory(client, ScriptRunner(client), KEYS, max_per_job=3, max_runs=8)
        await self.record(history, [(1, n) for n in range(5)])
        self.assertEqual(await self.numbers(history, 1), [4, 3, 2])
        await self.record(history, [(job, job) for job in (10, 11, 12, 13, 14)])
        self.assertEqual(await self.numbers(history, 1), [4, 3, 2])
        await self.record(history, [(15, 15), (16, 16)])
        self.assertEqual(await self.numbers(history, 1), [4])
        self.assertEqual(await self.numbers(history, None, 3), [16, 15, 14])
        self.assertEqual(await self.numbers(history, None), [16, 15, 14, 13, 12, 11, 10, 4])
        self.assertEqual(await client.execute('ZCARD', KEYS.key('scheduler-runs-by-job')), 8)
        (run,) = await history.runs(16, 9)
        self.assertEqual(run, self.run_of(16, 16))

    @staticmethod
    def run_of(job: int, number: int) -> JobRun:
        """A run with that number."""
        return JobRun(job_id=job, job='ż', service='a.b', cid='c', scheduled=1.5, started=float(number),
                      result=FAILED, cause='\udce9'.encode('utf-8', 'replace').decode())  # fmt: skip

    async def record(self, history: RedisRunHistory, runs: list[tuple[int, int]]) -> None:
        """Record runs of jobs with these numbers."""
        recorded: Deferred[None] = history.record([self.run_of(job, number) for job, number in runs])
        await recorded

    async def numbers(self, history: RedisRunHistory, job: int | None, limit: int = 100) -> list[float]:
        """The numbers of the runs that are kept."""
        return [run.started for run in await history.runs(job, limit)]
