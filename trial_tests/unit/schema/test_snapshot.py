"""Snapshots: each follows from the one before at the cost of what has changed, in steps of a given size."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from zatotx.schema.rate_limit import RateLimit
from zatotx.schema.scheduler_job import SchedulerJob
from zatotx.schema.snapshot import ChangeSet, Snapshot, SnapshotUpdate, StoredObject

JOB, LIMIT = 'scheduler_job', 'rate_limit'


def job(number: int, name: str = '', revision: int = 1) -> StoredObject:
    value = SchedulerJob(name=name or f'job-{number}', service='s', job_type='interval_based', hours=1)
    return StoredObject(number, JOB, value, revision)


def limit(number: int, revision: int = 1) -> StoredObject:
    return StoredObject(number, LIMIT, RateLimit(name=f'limit-{number}', limit='10/s'), revision)


class CountedUpdate(SnapshotUpdate):
    """Counts the changes that it applies."""

    applied = 0

    def _store(self, stored: StoredObject) -> None:
        self.applied += 1
        super()._store(stored)

    def _delete(self, object_id: int) -> None:
        self.applied += 1
        super()._delete(object_id)


class SnapshotTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.first = Snapshot(1, [job(1), job(2), limit(3)])

    def test_objects_are_found_by_id_and_by_name(self) -> None:
        """Lists of a type are sorted by name."""
        snapshot = Snapshot(1, [job(1, 'b'), job(2, 'a'), limit(3)])
        self.assertEqual([stored.name for stored in snapshot.objects_of_types(JOB)], ['a', 'b'])
        self.assertEqual([stored.name for stored in snapshot.objects_of_types(LIMIT, JOB)], ['a', 'b', 'limit-3'])
        self.assertEqual((snapshot.get(1), snapshot.get(9)), (job(1, 'b'), None))
        self.assertEqual((snapshot.find(JOB, 'a'), snapshot.find(LIMIT, 'a')), (job(2, 'a'), None))
        self.assertEqual((len(snapshot), {stored.id for stored in snapshot}), (3, {1, 2, 3}))

    def test_a_change_leaves_the_snapshot_before_as_it_is(self) -> None:
        """What was edited, created and deleted is in the next one only."""
        second = self.first.apply_changes(ChangeSet(2, (job(1, 'renamed', 2), job(4, revision=2)), (3, 2, 99)))
        self.assertEqual([stored.name for stored in second.objects_of_types(JOB, LIMIT)], ['job-4', 'renamed'])
        self.assertEqual((second.find(JOB, 'job-1'), second.find(JOB, 'job-2'), second.get(3)), (None, None, None))
        self.assertEqual((second.has_type(LIMIT), second.revision), (False, 2))
        self.assertEqual([stored.name for stored in self.first.objects_of_types(JOB, LIMIT)],
                         ['job-1', 'job-2', 'limit-3'])  # fmt: skip
        self.assertEqual(self.first.find(JOB, 'job-1'), job(1))

    def test_names_can_be_swapped(self) -> None:
        """Each name leads to the object that has it now, in whatever order the changes come."""
        for changed in ((job(1, 'job-2', 2), job(2, 'job-1', 2)), (job(2, 'job-1', 2), job(1, 'job-2', 2))):
            second = self.first.apply_changes(ChangeSet(2, changed))
            found = [second.find(JOB, name) for name in ('job-1', 'job-2')]
            self.assertEqual([stored and stored.id for stored in found], [2, 1])

    def test_types_without_changes_are_shared(self) -> None:
        """Whoever depends on them need not look at their objects again."""
        second = self.first.apply_changes(ChangeSet(2, (limit(3, 2),)))
        self.assertTrue(second.has_same_objects(self.first, JOB, 'a type without objects'))
        self.assertFalse(second.has_same_objects(self.first, JOB, LIMIT))
        self.assertFalse(Snapshot(1, [job(1)]).has_same_objects(Snapshot(1, [job(1)]), JOB))

    def test_objects_with_a_field(self) -> None:
        """One look at a type says whether its objects have it."""
        self.assertEqual([stored.name for stored in self.first.objects_with('burst')], ['limit-3'])
        self.assertEqual(list(self.first.objects_with('max_in_flight')), [])

    def test_no_step_applies_more_than_it_is_told(self) -> None:
        """An import of thousands of objects and the deletion of as many can be interrupted after each step."""
        changes = ChangeSet(2, tuple(job(number, revision=2) for number in range(10, 20)), tuple(range(1, 4)))
        update, before = CountedUpdate(self.first, changes), 0
        steps = []
        while update.advance(4):
            steps.append(update.applied - before)
            before = update.applied
        steps.append(update.applied - before)
        self.assertEqual(steps, [4, 4, 4, 1])
        self.assertEqual(len(update.finish()), 10)
