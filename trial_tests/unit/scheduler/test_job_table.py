"""The jobs of a configuration, built beside those in force."""

from __future__ import annotations

import itertools

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.iterations import run_iteration
from zatotx.interfaces.config import PreparedConfigChange
from zatotx.scheduler.job_table import SLICE, JobTable
from zatotx.schema.scheduler_job import SchedulerJob
from zatotx.schema.snapshot import ChangeSet, Snapshot, StoredObject


def job(number: int, revision: int = 1) -> StoredObject:
    value = SchedulerJob(name=f'job-{number}', service='s', job_type='interval_based', hours=revision)
    return StoredObject(number, 'scheduler_job', value, revision)


class CountingTable(JobTable):
    """A table whose jobs take a tenth of a slice each."""

    loaded = 0

    def _load(self, stored: StoredObject):  # type: ignore[no-untyped-def]  # as in JobTable
        self.loaded += 1
        self.clock.rightNow += SLICE / 10  # type: ignore[attr-defined]  # Clock
        return super()._load(stored)


class JobTableTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.table = CountingTable(self.clock, lambda: 1000.0)
        self.followed: list[tuple[list[int], list[int]]] = []
        self.table.follower = lambda changed, gone: self.followed.append((list(changed), list(gone)))

    def prepare(self, snapshot: Snapshot) -> Deferred[PreparedConfigChange]:
        return Deferred.fromCoroutine(self.table.prepare(snapshot))

    def test_many_jobs_are_loaded_in_slices(self) -> None:
        """No slice loads more than 64 jobs that take a tenth of it each, and nothing is in force before the last."""
        preparing, loaded = self.prepare(Snapshot(1, map(job, range(300)))), [0, self.table.loaded]
        self.assertNoResult(preparing)
        while run_iteration(self.clock):
            loaded.append(self.table.loaded)
        self.assertLessEqual(max(after - before for before, after in itertools.pairwise(loaded)), 64)
        self.assertEqual((len(self.table.jobs), self.followed), (0, []))
        self.successResultOf(preparing).commit()
        self.assertEqual((len(self.table.jobs), len(self.followed[0][0])), (300, 300))

    def test_only_changed_jobs_are_loaded(self) -> None:
        """A change of other objects loads none; one of a job loads that job; the follower hears of what is gone."""
        first = Snapshot(1, [job(1), job(2), job(3)])
        self.successResultOf(self.prepare(first)).commit()
        other = first.apply_changes(ChangeSet(2, (StoredObject(9, 'other', job(9).value, 2),)))
        self.successResultOf(self.prepare(other)).commit()
        self.assertEqual((self.table.loaded, len(self.followed)), (3, 1))
        self.successResultOf(self.prepare(other.apply_changes(ChangeSet(3, (job(2, 3),), (1,))))).commit()
        self.assertEqual((self.table.loaded, self.followed[1:]), (4, [([2], [1])]))
        self.assertEqual(set(self.table.jobs), {2, 3})
