"""What a leader writes, on a clock of the test."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from zatotx.model.errors import ServiceUnavailable
from zatotx.model.job_run import SKIPPED, job_from_headers
from zatotx.rules.scheduling.tick_schedule import MICROSECONDS, to_datetime
from zatotx.scheduler.job_table import JobTable
from zatotx.scheduler.leader_tick_loop import BATCH, LeaderTickLoop
from zatotx.scheduler.metrics import SchedulerCounters
from zatotx.schema.delivery_fields import DeliveryRetry
from zatotx.schema.scheduler_job import INTERVAL_BASED, ONE_TIME, QUEUE, SCHEDULER_JOB, SKIP, SchedulerJob
from zatotx.schema.snapshot import Snapshot, StoredObject
from zatotx.testing.memory_scheduler_stores import MemoryRunRecorder, MemoryTickWriter

START = 1_800_000_000


class TickLoopTests(SynchronousTestCase):
    """A term of leadership."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.table = JobTable(self.clock, self.now)
        self.store = MemoryTickWriter(epoch=1)
        self.recorder, self.counters = MemoryRunRecorder(), SchedulerCounters()
        self.leads, self.outdated = True, list[str]()
        self.revision = 0

    def now(self) -> float:
        """Unix time."""
        return START + self.clock.seconds()

    def term(self, **fields: Any) -> LeaderTickLoop:
        """A term that has started."""
        arguments: dict[str, Any] = {
            'clock': self.clock, 'now': self.now, 'table': self.table, 'ticks': self.store, 'recorder': self.recorder,
            'counters': self.counters, 'cluster': 'c', 'node': 'server1', 'may_fire': lambda: self.leads,
            'on_outdated': self.outdated.append, 'epoch': 1, 'recovery_point': 0, **fields,
        }  # fmt: skip
        term = LeaderTickLoop(**arguments)
        term.start()
        return term

    def configure(self, *jobs: SchedulerJob, at: float | None = None) -> None:
        """Make these the jobs, numbered from 1; changed ones as of `at`, or now."""
        self.revision += 1
        known = dict(self.table.jobs)
        stored = []
        for number, job in enumerate(jobs, 1):
            old = known.get(number)
            is_same = old is not None and old.value == job
            revision = old.revision if old is not None and is_same else self.revision
            stored.append(StoredObject(number, SCHEDULER_JOB.key, job, revision, self.now() if at is None else at))
        prepared = Deferred.fromCoroutine(self.table.prepare(Snapshot(self.revision, stored)))
        self.successResultOf(prepared).commit()

    @staticmethod
    def job(**fields: Any) -> SchedulerJob:
        """A job that runs each second at the full second."""
        start = to_datetime((START - 1000) * MICROSECONDS)
        common: dict[str, Any] = {'name': 'x', 'service': 'a.b', 'job_type': INTERVAL_BASED, 'seconds': 1,
                                  'start_date': start, **fields}  # fmt: skip
        return SchedulerJob(**common)

    def advance(self, seconds: float) -> None:
        """Let time pass in small steps."""
        for _ in range(round(seconds / 0.05)):
            self.clock.advance(0.05)

    def written(self, job_id: int = 1) -> list[int]:
        """The ticks that were written, in seconds after the start."""
        found = [job_from_headers(message.headers) for message in self.store.added]
        return [round(job.scheduled.timestamp()) - START for job in found if job is not None and job.id == job_id]

    def test_each_tick(self) -> None:
        """Each tick is written when it is due, with what its service needs."""
        self.configure(self.job(extra='more', retry=DeliveryRetry(attempts=3), timeout=7))
        self.term()
        self.advance(0.9)
        self.assertEqual(self.written(), [])
        self.advance(2.2)
        self.assertEqual(self.written(), [1, 2, 3])
        message = self.store.added[0]
        self.assertEqual((message.payload, message.channel, message.channel_name), ('more', 'scheduler', 'x'))
        self.assertEqual((message.timeout, message.max_failures), (7, 3))

    def test_edited(self) -> None:
        """An edit is in force at once, and nothing before it is made up; a job that was paused has no ticks."""
        self.configure(self.job(), self.job(seconds=2))
        self.term()
        self.advance(2.5)
        self.configure(self.job(seconds=3), self.job(seconds=2, is_active=False))
        self.advance(6)
        self.assertEqual(self.written(1), [1, 2, 5, 8])
        self.assertEqual(self.written(2), [2])
        self.configure(self.job(seconds=3), self.job(seconds=2))
        self.advance(2)
        self.assertEqual(self.written(2), [2, 10])
        self.configure()
        self.advance(5)
        self.assertEqual(len(self.store.added), 6)

    def test_taking_over(self) -> None:
        """A new leader makes up what was missed: all of the last minute, and the latest one before."""
        self.configure(self.job(), at=START - 500)
        self.store._last[1] = (START - 300) * MICROSECONDS
        self.term()
        self.advance(1.1)
        self.assertEqual(self.written(), [-61, *range(-60, 2)])
        self.assertEqual(self.counters.missed, 1)

    def test_held_up(self) -> None:
        """A leader that was held up for longer than the grace period decides in the same way."""
        self.configure(self.job())
        self.term()
        self.advance(1)
        self.clock.advance(200)
        self.advance(1)
        self.assertEqual(self.written()[:3], [1, 140, 141])
        self.assertEqual(self.written()[-1], 202)

    def test_redis_away(self) -> None:
        """While nothing can be written ticks wait, without a busy loop, and are written in order afterwards."""
        self.configure(self.job())
        term = self.term()
        self.advance(1.1)
        self.store.problem = ServiceUnavailable(None, 'Redis is away')
        self.advance(5)
        self.assertGreater(term.lateness, 3)
        self.assertLess(term.written_until(), START + 2.001)
        self.store.problem = None
        self.advance(1)
        self.assertEqual(self.written(), [1, 2, 3, 4, 5, 6, 7])
        self.assertEqual(term.lateness, 0)

    def test_outdated(self) -> None:
        """A refused epoch is reported, and nothing is lost for the next leader."""
        self.configure(self.job())
        self.term()
        self.store.epoch = 2
        self.advance(1.1)
        self.assertEqual(self.outdated[:1], ['Redis has epoch 2'])
        self.assertEqual(self.written(), [])

    def test_not_leading(self) -> None:
        """Nothing is written while the node may not fire, or after the term."""
        self.configure(self.job())
        term = self.term()
        self.leads = False
        self.advance(3)
        self.assertEqual(self.written(), [])
        self.leads = True
        self.advance(0.2)
        self.successResultOf(term.stop())
        self.advance(3)
        self.assertEqual(self.written(), [1, 2, 3])

    def test_overlap(self) -> None:
        """A job that skips overlaps is recorded as skipped while its last run has not ended; queued ones are written.
        """
        self.configure(self.job(overlap=SKIP), self.job(overlap=QUEUE))
        self.term()
        self.advance(2.2)
        self.assertEqual((self.written(1), self.written(2)), ([1], [1, 2]))
        self.assertEqual([(run.job_id, run.result) for run in self.recorder.runs], [(1, SKIPPED)])
        self.store.unsettled.clear()
        self.advance(1)
        self.assertEqual(self.written(1), [1, 3])

    def test_burst(self) -> None:
        """Many jobs that are due at once are written in batches, each once."""
        at = to_datetime((START + 1) * MICROSECONDS)
        self.configure(*(self.job(job_type=ONE_TIME, seconds=None, start_date=at, name=f'n{number}')
                         for number in range(3 * BATCH + 1)))  # fmt: skip
        self.term()
        self.advance(1.3)
        self.assertEqual(len({message.cid for message in self.store.added}), 3 * BATCH + 1)
        self.advance(3)
        self.assertEqual(len(self.store.added), 3 * BATCH + 1)

    def test_unusable_job(self) -> None:
        """A job that this node cannot schedule, as it does not know the time zone, does not affect the others."""
        unknown = self.job(job_type='cron_style', cron_definition='* * * * *', timezone='Mars/Olympus', seconds=None)
        self.configure(unknown, self.job())
        self.term()
        self.advance(1.1)
        self.assertEqual((self.written(1), self.written(2)), ([], [1]))
        self.assertIn('Mars/Olympus', self.table.unusable[1])

    def test_jitter(self) -> None:
        """Ticks with jitter are written later, and keep their times."""
        self.configure(self.job(seconds=60, jitter=30), at=START - 100)
        self.store._last[1] = (START - 60) * MICROSECONDS
        self.term()
        self.advance(75)
        written = [message.created_at - START for message in self.store.added]
        self.assertEqual(self.written(), [-40, 20])
        self.assertTrue(all(tick <= at < tick + 30.2 for tick, at in zip(self.written(), written, strict=True)
                            if tick > 0))  # fmt: skip
