"""The active jobs of the configuration, with their schedules. Every node keeps the jobs loaded, so that it can become
the leader at any time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from attrs import define, field, frozen
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from zatotx.interfaces.config import PreparedConfigChange
from zatotx.rules.scheduling.missed_ticks import MisfirePolicy, misfire_policy
from zatotx.rules.scheduling.tick_schedule import MICROSECONDS, TickSchedule, make_schedule
from zatotx.schema.scheduler_job import SCHEDULER_JOB, SchedulerJob
from zatotx.schema.snapshot import Snapshot, StoredObject
from zatotx.system.time_slices import TimeSlices

SLICE = 0.005  # seconds that the scheduler works before other parts of the node have a turn


@frozen(eq=False)
class LoadedJob:
    """An active job in the job table. `changed_at` is the tick at which it was created, edited or resumed; ticks before
    it do not count as missed."""

    id: int
    value: SchedulerJob
    schedule: TickSchedule
    policy: MisfirePolicy
    changed_at: int
    revision: int


@define(eq=False)
class JobTable:
    """The active jobs by ID. The function `follower` is called with the IDs of new, changed and removed jobs. `now`
    returns unix time in seconds."""

    clock: IReactorTime
    now: Callable[[], float]
    jobs: Mapping[int, LoadedJob] = field(factory=dict)
    unusable: Mapping[int, str] = field(factory=dict)  # jobs that this node cannot schedule: id -> a sentence
    follower: Callable[[Sequence[int], Sequence[int]], None] | None = None
    _snapshot: Snapshot = field(factory=Snapshot, init=False)  # that the jobs belong to

    _log = Logger()

    async def prepare(self, snapshot: Snapshot) -> PreparedConfigChange:
        """Build the table of a snapshot, beside the current one. Thousands of jobs are built in slices, so that the
        node does not stall."""
        if snapshot.has_same_objects(self._snapshot, SCHEDULER_JOB.key) and not self.unusable:
            return PreparedConfigChange()
        current, loaded, changed = self.jobs, dict[int, LoadedJob](), list[int]()
        unusable: dict[int, str] = {}
        slices = TimeSlices(self.clock, SLICE)
        for stored in snapshot.iter_type(SCHEDULER_JOB.key):
            if slices.is_over():
                await slices.next()
            if not stored.value.is_active:
                continue
            job = current.get(stored.id)
            if job is None or job.revision != stored.revision:
                try:
                    job = self._load(stored)
                except (KeyError, ValueError, OSError, OverflowError) as error:  # e.g. another tz database
                    unusable[stored.id] = f'job {stored.name!r} cannot be scheduled on this server ({error})'
                    continue
                changed.append(stored.id)
            loaded[stored.id] = job
        gone = list(current.keys() - loaded.keys())
        return PreparedConfigChange(partial(self._commit, snapshot, loaded, unusable, changed=changed, gone=gone))

    def _load(self, stored: StoredObject) -> LoadedJob:
        changed_at = round(stored.changed_at * MICROSECONDS)
        # The clock of the node that wrote it may be ahead of this one's.
        bound = min(changed_at, round(self.now() * MICROSECONDS))
        schedule = make_schedule(stored.value, changed_at)
        return LoadedJob(stored.id, stored.value, schedule, misfire_policy(stored.value), bound, stored.revision)

    def _commit(
        self, snapshot: Snapshot, loaded: Mapping[int, LoadedJob], unusable: Mapping[int, str], *,
        changed: Sequence[int], gone: Sequence[int],
    ) -> None:
        self._snapshot, self.jobs = snapshot, loaded
        for job_id, sentence in unusable.items():
            if job_id not in self.unusable:
                self._log.error('{sentence}', sentence=sentence)
        self.unusable = unusable
        if self.follower is not None and (changed or gone):
            self.follower(changed, gone)
