"""The scheduling loop of the leader. Ten times per second, it takes the ticks of jobs that are due from a heap, and
writes them to the work stream.

Ticks of one job are written one after another: the next one is put on the heap when the last one is stored. So a write
that failed is repeated before any later tick of its job, and the store refuses what it has already.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from heapq import heapify, heappop, heappush
from typing import Any

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger

from zatotx.interfaces.scheduler import OVERLAPPING, IRunRecorder, ITickWriter, OutdatedLeaderEpoch, TickWrite
from zatotx.model.job_run import SKIPPED, JobRun
from zatotx.rules.scheduling.job_run_message import make_run_message
from zatotx.rules.scheduling.missed_ticks import (
    due_ticks_lower_bound,
    missed_ticks_to_run,
    next_tick_in_grace_period,
    tick_jitter,
)
from zatotx.rules.scheduling.tick_schedule import MICROSECONDS
from zatotx.scheduler.job_table import SLICE, JobTable, LoadedJob
from zatotx.scheduler.metrics import SchedulerCounters
from zatotx.schema.scheduler_job import SKIP

INTERVAL = 0.1  # seconds between two looks at the heap
BATCH = 100  # ticks of one write
MAX_IN_FLIGHT = 8  # writes at a time
LOAD_BATCH = 500  # jobs whose last ticks are read at once
RETRY_PAUSE = 0.5  # seconds after a failed read or write
_CHECK_EVERY = 16  # jobs between two looks at the clock


@define(eq=False)
class _JobState:
    """Where a job is. Ticks are microseconds since 1970."""

    generation: int  # entries of the heap with another one are outdated
    bound: int = 0  # the last tick that was written, or the time before which none is due
    covered_until: int = 0  # when it was last decided which missed ticks are made up
    missed: deque[int] = field(factory=deque)  # ticks older than the grace period that are made up


@define(eq=False)
class _Due:
    """A tick that was taken off the heap."""

    due: int
    job_id: int
    tick: int
    generation: int


@define(eq=False, kw_only=True)
class LeaderTickLoop:
    """Writes the ticks of one term of leadership. `now` returns unix time in seconds, and `may_fire` returns whether
    this node is currently the leader. `on_outdated` is called when Redis rejects a write because this node is no longer
    the leader."""

    clock: IReactorTime
    now: Callable[[], float]
    table: JobTable
    ticks: ITickWriter
    recorder: IRunRecorder
    counters: SchedulerCounters
    cluster: str
    node: str
    may_fire: Callable[[], bool]
    on_outdated: Callable[[str], None]
    epoch: int
    recovery_point: int  # from which time on ticks may have been lost: see ITickWriter.begin
    _heap: list[tuple[int, int, int, int]] = field(factory=list, init=False)  # due, job, tick, generation
    _states: dict[int, _JobState] = field(factory=dict, init=False)
    _to_load: deque[int] = field(factory=deque, init=False)
    _loading: Deferred[None] | None = field(default=None, init=False)
    _writes: dict[Deferred[Any], int] = field(factory=dict, init=False)  # writes in flight -> their first due time
    _paused_until: float = field(default=0.0, init=False)
    _is_slicing: bool = field(default=False, init=False)
    _is_stopped: bool = field(default=False, init=False)
    _is_outdated: bool = field(default=False, init=False)  # Redis refused the epoch, which does not change
    _generation: int = field(default=0, init=False)
    _written_until: float = field(default=0.0, init=False)
    _loop: LoopingCall = field(init=False)

    _log = Logger()

    def __attrs_post_init__(self) -> None:
        self._loop = LoopingCall(self._check_heap)
        self._loop.clock = self.clock

    def start(self) -> None:
        """Begin to write ticks."""
        self.table.follower = self._jobs_changed
        self._to_load.extend(self.table.jobs)
        self._loop.start(INTERVAL, now=True)

    def stop(self) -> Deferred[None]:
        """Write no more ticks. Fires when the writes in flight have ended."""
        self._is_stopped = True
        self.table.follower = None
        if self._loop.running:
            self._loop.stop()
        if self._loading is not None:
            self._loading.cancel()
        waiting = [write.addErrback(lambda _: None) for write in tuple(self._writes)]
        return gatherResults(waiting).addCallback(lambda _: None)

    def written_until(self) -> float:
        """Return the unix time until which all ticks have been written."""
        now = round(self.now() * MICROSECONDS)
        if not self._to_load and self._loading is None:
            waiting = [*self._writes.values(), *(entry[0] for entry in self._heap[:1])]
            self._written_until = min((now, *waiting)) / MICROSECONDS
        return self._written_until

    @property
    def lateness(self) -> float:
        """Seconds by which the first tick that waits to be written is late."""
        return max(0.0, self.now() - self._heap[0][0] / MICROSECONDS) if self._heap else 0.0

    def _jobs_changed(self, changed: Sequence[int], gone: Sequence[int]) -> None:
        for job_id in (*changed, *gone):
            self._states.pop(job_id, None)  # its entries on the heap are outdated now
        self._to_load.extend(changed)
        if gone:
            # Jobs that were paused are gone, too: their last ticks stay unimportant, as resuming sets a new bound.
            self.ticks.forget(gone).addErrback(self._log_failure, 'The last ticks of deleted jobs cannot be removed')

    def _check_heap(self) -> None:
        if not self._is_slicing:
            self._slice()

    def _may_write(self) -> bool:
        is_over = self._is_stopped or self._is_outdated
        return not is_over and self.clock.seconds() >= self._paused_until and self.may_fire()

    def _slice(self) -> None:
        """Write due ticks for up to SLICE seconds; the rest follows in the next turn of the reactor."""
        self._is_slicing = False
        try:
            self._write_due()
        except Exception:  # the other jobs must run all the same
            self._log.failure('Due jobs were left out because of an error in the scheduler')

    def _write_due(self) -> None:
        if not self._may_write():
            return
        if self._to_load and self._loading is None:
            self._loading = Deferred.fromCoroutine(self._load())
            self._loading.addErrback(self._not_loaded).addBoth(self._loaded)
        end, now = self.clock.seconds() + SLICE, round(self.now() * MICROSECONDS)
        while self._heap and self._heap[0][0] <= now and len(self._writes) < MAX_IN_FLIGHT and self._may_write():
            batch = list(self._take_due(now))
            if batch:
                self._write(batch, now)
            if self.clock.seconds() > end:
                self._continue()
                return

    def _continue(self) -> None:
        if not self._is_slicing:
            self._is_slicing = True
            self.clock.callLater(0, self._slice)

    def _take_due(self, now: int) -> Iterator[_Due]:
        for _ in range(BATCH):
            if not self._heap or self._heap[0][0] > now:
                return
            entry = _Due(*heappop(self._heap))
            state, job = self._states.get(entry.job_id), self.table.jobs.get(entry.job_id)
            if state is None or job is None or state.generation != entry.generation:
                continue
            if entry.tick < now - job.policy.grace and entry.tick > state.covered_until:
                self._plan(job, state, now)  # this node did not get to it in time
                continue
            yield entry

    def _write(self, batch: Sequence[_Due], now: int) -> None:
        jobs = [self.table.jobs[entry.job_id] for entry in batch]
        writes = [
            TickWrite(job_id=job.id, tick=entry.tick, skips_overlap=job.value.overlap == SKIP,
                      message=make_run_message(self.cluster, job.id, job.value, entry.tick, now / MICROSECONDS))
            for entry, job in zip(batch, jobs, strict=True)
        ]  # fmt: skip
        written = self.ticks.write(self.epoch, writes)
        self._writes[written] = batch[0].due
        written.addCallbacks(self._stored, self._not_stored, callbackArgs=(batch, jobs), errbackArgs=(batch,))
        written.addBoth(self._write_ended, written)

    def _write_ended(self, _: object, written: Deferred[Any]) -> None:
        self._writes.pop(written, None)
        if self._heap and self._heap[0][0] <= self.now() * MICROSECONDS and self._may_write():
            self._continue()

    def _stored(self, results: Sequence[str], batch: Sequence[_Due], jobs: Sequence[LoadedJob]) -> None:
        now = self.now()
        for entry, job, result in zip(batch, jobs, results, strict=True):
            self.counters.count(result, now - entry.due / MICROSECONDS)
            if result == OVERLAPPING:
                self._note_skipped(job, entry, now)
            state = self._states.get(entry.job_id)
            if state is not None and state.generation == entry.generation:
                self._advance(job, state, entry.tick)

    def _note_skipped(self, job: LoadedJob, entry: _Due, now: float) -> None:
        message = make_run_message(self.cluster, job.id, job.value, entry.tick, now)
        self.recorder.record(JobRun(
            job_id=job.id, job=job.value.name, service=job.value.service, cid=message.cid, started=now, node=self.node,
            scheduled=entry.tick / MICROSECONDS, result=SKIPPED, cause='another run of the job had not ended',
        ))  # fmt: skip

    def _not_stored(self, failure: Any, batch: Sequence[_Due]) -> None:
        for entry in batch:
            heappush(self._heap, (entry.due, entry.job_id, entry.tick, entry.generation))
        if failure.check(OutdatedLeaderEpoch):
            self._is_outdated = True
            self.on_outdated(failure.getErrorMessage())
            return
        self._paused_until = self.clock.seconds() + RETRY_PAUSE
        self._log_failure(failure, 'Due jobs cannot be written to the work stream yet')

    def _advance(self, job: LoadedJob, state: _JobState, written: int) -> None:
        """Put the tick after the one that was written on the heap."""
        state.bound = max(state.bound, written)
        if state.missed:
            self._push(job, state, state.missed.popleft())
        elif written < state.covered_until - job.policy.grace:  # the last one that was made up
            self._push(job, state, next_tick_in_grace_period(job.schedule, written, state.covered_until, job.policy))
        else:
            self._push(job, state, job.schedule.next(written))

    def _plan(self, job: LoadedJob, state: _JobState, now: int) -> None:
        """Decide which missed ticks are made up, and put the first tick on the heap."""
        state.covered_until = now
        state.missed = deque(missed_ticks_to_run(job.schedule, state.bound, now, job.policy))
        if state.missed:
            self.counters.missed += len(state.missed)
            self._push(job, state, state.missed.popleft())
        else:
            self._push(job, state, next_tick_in_grace_period(job.schedule, state.bound, now, job.policy))

    def _push(self, job: LoadedJob, state: _JobState, tick: int | None) -> None:
        if tick is not None:
            due = tick + tick_jitter(job.id, tick, job.value.jitter)
            heappush(self._heap, (due, job.id, tick, state.generation))

    async def _load(self) -> None:
        """Read the last ticks of new and changed jobs, and plan their next ones."""
        while self._to_load:
            ids = [self._to_load.popleft() for _ in range(min(LOAD_BATCH, len(self._to_load)))]
            try:
                last_ticks = await self.ticks.last_ticks(ids)
            except BaseException:
                self._to_load.extendleft(reversed(ids))
                raise
            deadline = self.clock.seconds() + SLICE
            for number, (job_id, last) in enumerate(zip(ids, last_ticks, strict=True)):
                self._load_job(job_id, last)
                if number % _CHECK_EVERY == 0 and self.clock.seconds() > deadline:
                    await deferLater(self.clock, 0)
                    deadline = self.clock.seconds() + SLICE
            if len(self._heap) > 4 * len(self._states) + 1000:
                self._compact()

    def _load_job(self, job_id: int, last: int | None) -> None:
        job = self.table.jobs.get(job_id)
        if job is None:
            return
        self._generation += 1
        state = self._states[job_id] = _JobState(self._generation)
        state.bound = due_ticks_lower_bound(last, job.changed_at, self.recovery_point, job.policy)
        self._plan(job, state, round(self.now() * MICROSECONDS))

    def _compact(self) -> None:
        """Remove outdated entries, which many edits leave behind."""
        states = self._states
        self._heap = [e for e in self._heap if e[1] in states and states[e[1]].generation == e[3]]
        heapify(self._heap)

    def _loaded(self, _: object) -> None:
        self._loading = None

    def _not_loaded(self, failure: Any) -> None:
        if not failure.check(CancelledError):
            self._paused_until = self.clock.seconds() + RETRY_PAUSE
            self._log_failure(failure, 'The last ticks of jobs cannot be read yet')

    def _log_failure(self, failure: Any, what: str) -> None:
        self._log.warn('{what}: {why}', what=what, why=failure.getErrorMessage())

