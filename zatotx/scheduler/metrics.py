"""The scheduler metrics of a node."""

from __future__ import annotations

from collections.abc import Iterator

from attrs import define

from zatotx.interfaces.meters import MetricRow
from zatotx.interfaces.scheduler import DUPLICATE, OVERLAPPING, WRITTEN

LATE = 1.0  # seconds after which a tick that is written counts as late


@define
class SchedulerCounters:
    """Counters of the scheduler on this node, as leader and as a node that runs jobs."""

    is_leader: bool = False
    epoch: int = 0
    jobs: int = 0  # active ones
    clock_offset: float = 0.0
    written: int = 0
    duplicates: int = 0
    overlapping: int = 0
    late: int = 0
    missed: int = 0  # ticks older than the grace period that were made up
    lateness: float = 0.0  # seconds by which the first tick that waits is late
    runs: int = 0
    failures: int = 0

    def count(self, result: str, lateness: float) -> None:
        """Count a tick that was written, or refused."""
        if result == WRITTEN:
            self.written += 1
            self.late += lateness > LATE
        elif result == DUPLICATE:
            self.duplicates += 1
        elif result == OVERLAPPING:
            self.overlapping += 1

    def rows(self) -> Iterator[MetricRow]:
        """Yield the figures of the metrics zatotx_scheduler_*."""
        yield 'zatotx_scheduler_leader', (), float(self.is_leader)
        yield 'zatotx_scheduler_epoch', (), self.epoch
        yield 'zatotx_scheduler_jobs', (), self.jobs
        yield 'zatotx_scheduler_clock_offset_seconds', (), self.clock_offset
        yield 'zatotx_scheduler_lateness_seconds', (), self.lateness
        yield 'zatotx_scheduler_ticks', (), self.written
        yield 'zatotx_scheduler_late_ticks', (), self.late
        yield 'zatotx_scheduler_missed_ticks', (), self.missed
        yield 'zatotx_scheduler_duplicate_ticks', (), self.duplicates
        yield 'zatotx_scheduler_skipped_ticks', (), self.overlapping
        yield 'zatotx_scheduler_runs', (), self.runs
        yield 'zatotx_scheduler_failed_runs', (), self.failures
