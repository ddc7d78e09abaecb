"""The scheduler of a node. It keeps the jobs loaded, takes part in the leader election, and records runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from attrs import define, field
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from zatotx.interfaces.config import PreparedConfigChange
from zatotx.interfaces.meters import MetricRow
from zatotx.interfaces.redis import ILeaseStore, IPubSub
from zatotx.interfaces.scheduler import ILeaderStore, IRunHistory, IScheduler, ITickWriter, LeaderRecord
from zatotx.rules.scheduling.tick_schedule import MICROSECONDS
from zatotx.scheduler.job_table import JobTable
from zatotx.scheduler.leader_tick_loop import LeaderTickLoop
from zatotx.scheduler.leadership import LeaderElectionParticipant
from zatotx.scheduler.metrics import SchedulerCounters
from zatotx.scheduler.run_recorder import RunRecorder
from zatotx.schema.snapshot import Snapshot

MAX_LATENESS = 10.0  # seconds by which ticks may be late before that is reported
MAX_LISTED = 5  # jobs that a finding names


@implementer(IScheduler)
@define(eq=False, kw_only=True)
class Scheduler:
    """Implements IScheduler for a node. `now` returns unix time in seconds, and `has_service` returns whether a service
    can be invoked."""

    clock: IReactorTime
    now: Callable[[], float]
    monotonic: Callable[[], float]
    cluster: str
    node: str
    leases: ILeaseStore
    leaders: ILeaderStore
    ticks: ITickWriter
    history: IRunHistory
    read_server_clock: Callable[[], Deferred[float]]
    bus: IPubSub
    has_service: Callable[[str], bool]
    can_lead: bool = True  # whether it takes part in the election; connectors only run jobs
    counters: SchedulerCounters = field(factory=SchedulerCounters)
    table: JobTable = field(init=False)
    recorder: RunRecorder = field(init=False)
    _leadership: LeaderElectionParticipant = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.table = JobTable(self.clock, self.now)
        self.recorder = RunRecorder(clock=self.clock, now=self.now, history=self.history, counters=self.counters)
        self._leadership = LeaderElectionParticipant(
            clock=self.clock, now=self.now, monotonic=self.monotonic, leases=self.leases, leaders=self.leaders,
            read_server_clock=self.read_server_clock, bus=self.bus, make_term=self._make_term, node=self.node,
        )  # fmt: skip

    async def prepare(self, snapshot: Snapshot) -> PreparedConfigChange:
        """Build the table of jobs of a configuration."""
        return await self.table.prepare(snapshot) if self.can_lead else PreparedConfigChange()

    def start(self, node_id: int) -> None:
        if self.can_lead:
            self._leadership.start(node_id)

    def resign(self) -> Deferred[None]:
        return self._leadership.stop()

    def stop(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.recorder.stop())

    def leader(self) -> Deferred[LeaderRecord]:
        return self.leaders.leader()

    def metrics(self) -> Iterator[MetricRow]:
        """Yield the figures of the metrics zatotx_scheduler_*."""
        counters, leadership = self.counters, self._leadership
        counters.is_leader, counters.epoch = leadership.is_leader, leadership.state.epoch
        counters.jobs, counters.clock_offset = len(self.table.jobs), leadership.state.clock_offset or 0.0
        counters.lateness = self._lateness
        return counters.rows()

    def findings(self) -> Iterator[str]:
        """Yield the problems of the scheduler on this node."""
        state = self._leadership.state
        if state.clock_offset is not None and not state.is_clock_right:
            yield (f'the clock of this server is {state.clock_offset:+.1f} s off that of Redis, so that it cannot lead '
                   'the scheduler: set the clocks of both by NTP')  # fmt: skip
        if self._lateness > MAX_LATENESS:
            yield (f'jobs of the scheduler are {self._lateness:.0f} s late: see whether Redis is available, and the '
                   'log of this server')  # fmt: skip
        for sentence in (*self.table.unusable.values(),)[:MAX_LISTED]:
            yield f'{sentence}: see that the time zone database (tzdata) is the same on all servers, or change the job'
        if self._leadership.is_leader:
            yield from self._missing_services()
        yield from self.recorder.findings()

    def _missing_services(self) -> Iterator[str]:
        missing: dict[str, list[str]] = {}
        for job in self.table.jobs.values():
            if not self.has_service(job.value.service):
                missing.setdefault(job.value.service, []).append(job.value.name)
        for service, names in missing.items():
            listed = ', '.join(map(repr, names[:MAX_LISTED])) + (' and others' if len(names) > MAX_LISTED else '')
            yield (f'service {service!r} of the jobs {listed} is not deployed or not active, so that their runs fail: '
                   'deploy it, or change the jobs')  # fmt: skip

    @property
    def _lateness(self) -> float:
        term = self._leadership.term
        return term.lateness if isinstance(term, LeaderTickLoop) else 0.0

    async def _make_term(
        self, epoch: int, record: LeaderRecord, may_fire: Callable[[], bool], on_outdated: Callable[[str], None]
    ) -> LeaderTickLoop:
        recovery_point = await self.ticks.begin(epoch, round(record.written_until * MICROSECONDS))
        return LeaderTickLoop(
            clock=self.clock, now=self._leadership.checked_now, table=self.table, ticks=self.ticks,
            recorder=self.recorder, counters=self.counters,
            cluster=self.cluster, node=self.node, may_fire=may_fire, on_outdated=on_outdated,
            epoch=epoch, recovery_point=recovery_point,
        )  # fmt: skip


def make_server_clock(execute: Callable[..., Deferred[Any]]) -> Callable[[], Deferred[float]]:
    """Return a function whose Deferred fires with the unix time of Redis. `execute` is ICommands.execute."""

    def read() -> Deferred[float]:
        return execute('TIME').addCallback(lambda reply: int(reply[0]) + int(reply[1]) / 1_000_000)

    return read

