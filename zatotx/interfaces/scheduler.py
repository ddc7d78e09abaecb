"""Interfaces of the scheduler: its leader, the ticks that it writes, and the runs of its jobs."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface

from zatotx.model.job_run import JobRun
from zatotx.model.work_message import WorkMessage


class LeaderRecord(msgspec.Struct, frozen=True, kw_only=True):
    """The record of the scheduler's leader in the ODB. Times are unix times in seconds."""

    epoch: int = 0  # grows with each leader; 0 = there was none yet
    lease_token: int = 0  # of the lease in Redis with which the leader was elected
    node: str = ''  # name of its server; '' = it has resigned
    node_id: int = 0  # of its row
    since: float = 0.0
    confirmed_at: float = 0.0  # when the leader last confirmed that it leads, by its own clock
    written_until: float = 0.0  # all ticks until then have been written to the work stream


NO_LEADER = LeaderRecord()


class ILeaderStore(Interface):
    """Stores the scheduler's leader in the ODB. If two nodes act as the leader, the one with the higher epoch is the
    current leader. Every method fails with ServiceUnavailable or Timeout if the database is unavailable."""

    def leader() -> Deferred[LeaderRecord]:
        """Return the leader."""

    def claim_leadership(expected_epoch: int, lease_token: int, node: str, node_id: int) -> Deferred[int]:
        """Make a node the leader with the epoch after `expected_epoch`, and return that epoch; 0 if another node was
        faster."""

    def confirm_leadership(epoch: int, written_until: float) -> Deferred[bool]:
        """Record that the leader of this epoch leads. Returns whether its epoch is the newest."""

    def resign_leadership(epoch: int, written_until: float) -> Deferred[None]:
        """Record that the leader of this epoch leads no more; do nothing if there is a newer one."""


class OutdatedLeaderEpoch(Exception):  # noqa: N818 - a state, not an error
    """A leader's write was rejected, because another leader has taken over or Redis has lost its data."""


class TickWrite(msgspec.Struct, frozen=True, kw_only=True):
    """A tick that is to be written to the work stream."""

    job_id: int
    tick: int  # microseconds since 1970
    message: WorkMessage
    skips_overlap: bool = False  # not written while another message with its order key is in the work stream


WRITTEN, DUPLICATE, OVERLAPPING = 'written', 'duplicate', 'overlapping'  # results of a TickWrite


class ITickWriter(Interface):
    """Writes ticks to the work stream, and writes each tick only once. Ticks are as durable as the data in Redis. Every
    method fails with the errors of ICommands.execute."""

    def begin(epoch: int, recovery_point: int) -> Deferred[int]:
        """Begin the leadership of an epoch: from now on, writes of others are refused. Fires with the time from which
        on ticks may be lost, as a tick: `recovery_point` if Redis knows nothing of earlier leaders, and later the same;
        0 if nothing was ever lost. Fails with OutdatedLeaderEpoch if a newer leader has begun."""

    def last_ticks(job_ids: Sequence[int]) -> Deferred[list[int | None]]:
        """Return the last tick that was written of each job, None where there is none."""

    def write(epoch: int, ticks: Sequence[TickWrite]) -> Deferred[list[str]]:
        """Write ticks in one atomic step and return the result of each; a tick that is not later than the last one of
        its job is a duplicate. May be repeated. Fails with OutdatedLeaderEpoch, and then has written none."""

    def forget(job_ids: Sequence[int]) -> Deferred[None]:
        """Remove what is stored about deleted jobs."""


class IRunHistory(Interface):
    """Stores the most recent runs of all jobs. They are as durable as the data in Redis."""

    def record(runs: Sequence[JobRun]) -> Deferred[None]:
        """Add runs, and remove the oldest ones beyond the limits. Fails like ICommands.execute."""

    def runs(job_id: int | None, limit: int) -> Deferred[list[JobRun]]:
        """Return the last runs of one job, or of all jobs with None, the newest first."""


class IRunRecorder(Interface):
    """Records the job runs of this process."""

    def record(run: JobRun) -> None:
        """Add a run to the history, the metrics and the findings. Never fails."""


class IScheduler(Interface):
    """The scheduler of a node, as used by the node and by zato.scheduler.job.*."""

    history: IRunHistory = Attribute('The runs of jobs')

    def start(node_id: int) -> None:
        """Take part in the election of the leader. `node_id`: of this process's row in the ODB."""

    def resign() -> Deferred[None]:
        """Take no more part in the election; a leader hands over. Fires within a few seconds."""

    def stop() -> Deferred[None]:
        """Store the last runs, once no more of them end."""

    def leader() -> Deferred[LeaderRecord]:
        """Return the leader, as ILeaderStore does."""
