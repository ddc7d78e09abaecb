"""In-memory stores of the scheduler: the leader, the ticks, and the history of runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from attrs import define, field
from msgspec.structs import replace
from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from zatotx.interfaces.scheduler import (
    DUPLICATE,
    OVERLAPPING,
    WRITTEN,
    ILeaderStore,
    IRunRecorder,
    ITickWriter,
    LeaderRecord,
    OutdatedLeaderEpoch,
    TickWrite,
)
from zatotx.model.job_run import JobRun
from zatotx.model.work_message import WorkMessage


@implementer(ILeaderStore)
@define(eq=False)
class MemoryLeaderStore:
    """An in-memory ILeaderStore. `now` returns unix time in seconds. If `problem` is set, every method raises it. While
    `is_frozen` is set, the methods never return a result."""

    now: Callable[[], float] = lambda: 0.0
    record: LeaderRecord = field(factory=LeaderRecord)
    problem: Exception | None = None
    is_frozen: bool = False

    def leader(self) -> Deferred[LeaderRecord]:
        return self._reply(self.record)

    def claim_leadership(self, expected_epoch: int, lease_token: int, node: str, node_id: int) -> Deferred[int]:
        if self.problem is not None or self.record.epoch != expected_epoch:
            return self._reply(0)
        self.record = replace(self.record, epoch=expected_epoch + 1, lease_token=lease_token, node=node,
                              node_id=node_id, since=self.now(), confirmed_at=self.now())  # fmt: skip
        return self._reply(self.record.epoch)

    def confirm_leadership(self, epoch: int, written_until: float) -> Deferred[bool]:
        if self.problem is not None or self.record.epoch != epoch:
            return self._reply(False)
        self.record = replace(self.record, confirmed_at=self.now(), written_until=written_until)
        return self._reply(True)

    def resign_leadership(self, epoch: int, written_until: float) -> Deferred[None]:
        if self.problem is None and self.record.epoch == epoch:
            self.record = replace(self.record, node='', node_id=0, written_until=written_until)
        return self._reply(None)

    def _reply(self, value: Any) -> Deferred[Any]:
        if self.is_frozen:
            return Deferred()
        return succeed(value) if self.problem is None else fail(self.problem)


@implementer(ITickWriter)
@define(eq=False)
class MemoryTickWriter:
    """An in-memory ITickWriter. `added` contains the written messages, and `unsettled` the order keys of messages that
    have not ended. If `problem` is set, every method raises it."""

    added: list[WorkMessage] = field(factory=list)
    unsettled: set[str] = field(factory=set)
    epoch: int = 0
    recovery_point: int = 0
    problem: Exception | None = None
    _last: dict[int, int] = field(factory=dict)

    def begin(self, epoch: int, recovery_point: int) -> Deferred[int]:
        if self.problem is not None:
            return fail(self.problem)
        if self.epoch > epoch:
            return fail(OutdatedLeaderEpoch(f'Redis has epoch {self.epoch}'))
        if not self.epoch:
            self.recovery_point = recovery_point
        self.epoch = epoch
        return succeed(self.recovery_point)

    def last_ticks(self, job_ids: Sequence[int]) -> Deferred[list[int | None]]:
        if self.problem is not None:
            return fail(self.problem)
        return succeed([self._last.get(job_id) for job_id in job_ids])

    def write(self, epoch: int, ticks: Sequence[TickWrite]) -> Deferred[list[str]]:
        if self.problem is not None:
            return fail(self.problem)
        if epoch != self.epoch:
            return fail(
                OutdatedLeaderEpoch(f'Redis has epoch {self.epoch}' if self.epoch else 'Redis has lost its data')
            )
        return succeed([self._write(one) for one in ticks])

    def forget(self, job_ids: Sequence[int]) -> Deferred[None]:
        for job_id in job_ids:
            self._last.pop(job_id, None)
        return succeed(None)

    def wipe(self) -> None:
        """Lose all data."""
        self.epoch = self.recovery_point = 0
        self._last.clear()
        self.unsettled.clear()

    def _write(self, one: TickWrite) -> str:
        if self._last.get(one.job_id, -1) >= one.tick:
            return DUPLICATE
        self._last[one.job_id] = one.tick
        key = one.message.order_key
        if one.skips_overlap and key in self.unsettled:
            return OVERLAPPING
        if key:
            self.unsettled.add(key)
        self.added.append(one.message)
        return WRITTEN


@implementer(IRunRecorder)
@define(eq=False)
class MemoryRunRecorder:
    """An IRunRecorder that appends the runs to a list."""

    runs: list[JobRun] = field(factory=list)

    def record(self, run: JobRun) -> None:
        self.runs.append(run)
