"""Records the runs of jobs in this process. Runs are counted, and added to the history in batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from zatotx.interfaces.scheduler import IRunHistory, IRunRecorder
from zatotx.model.job_run import OK, SKIPPED, JobRun
from zatotx.scheduler.metrics import SchedulerCounters

FLUSH_DELAY = 0.05  # seconds for which runs are collected
RETRY_PAUSE = 2.0  # seconds after Redis did not take them
MAX_WAITING = 10_000  # runs that wait for Redis; further ones are missing in the history
MAX_FAILING, MAX_LISTED = 1000, 5  # failing jobs that are remembered, and that findings list
REPORT_AGE = 3600.0  # seconds for which a failed job is reported
_MAX_CAUSE = 200  # characters of a cause


@implementer(IRunRecorder)
@define(eq=False, kw_only=True)
class RunRecorder:
    """Implements IRunRecorder for this process. `now` returns unix time in seconds."""

    clock: IReactorTime
    now: Callable[[], float]
    history: IRunHistory
    counters: SchedulerCounters
    lost: int = 0
    _waiting: list[JobRun] = field(factory=list, init=False)
    _timer: Any = field(default=None, init=False)
    _flushing: Deferred[None] | None = field(default=None, init=False)
    _failing: dict[int, tuple[int, JobRun]] = field(factory=dict, init=False)  # job -> failures in a row, the last one

    _log = Logger()

    def record(self, run: JobRun) -> None:
        if run.result != SKIPPED:
            self.counters.runs += 1
            self._note_result(run)
        if len(self._waiting) < MAX_WAITING:
            self._waiting.append(run)
        else:
            self.lost += 1
        self._flush_in(FLUSH_DELAY)

    def findings(self) -> Iterator[str]:
        """Yield a sentence for each job whose last run on this node failed recently."""
        since = self.now() - REPORT_AGE
        failing = [(count, run) for count, run in self._failing.values() if run.started > since]
        for count, run in failing[-MAX_LISTED:]:
            at = datetime.fromtimestamp(run.started, UTC).strftime('%H:%M:%S UTC')
            times = 'once' if count == 1 else f'{count} times in a row'
            yield (f'job {run.job!r} failed {times} on this server, last at {at} ({run.cause[:_MAX_CAUSE]}): see '
                   f'zatotx job history PATH {run.job!r}')  # fmt: skip
        if len(failing) > MAX_LISTED:
            yield f'{len(failing) - MAX_LISTED} further jobs failed on this server: see zatotx job history PATH'

    async def stop(self) -> None:
        """Store what waits, if Redis takes it now."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        if self._flushing is not None:
            await self._flushing
        await self._flush()
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def _note_result(self, run: JobRun) -> None:
        count, _ = self._failing.pop(run.job_id, (0, None))
        if run.result == OK:
            return
        self.counters.failures += 1
        self._failing[run.job_id] = (count + 1, run)
        if len(self._failing) > MAX_FAILING:
            del self._failing[next(iter(self._failing))]

    def _flush_in(self, delay: float) -> None:
        if self._flushing is None and (self._timer is None or not self._timer.active()):
            self._timer = self.clock.callLater(delay, self._begin_flush)

    def _begin_flush(self) -> None:
        self._flushing = Deferred.fromCoroutine(self._flush())
        self._flushing.addErrback(lambda failure: failure.trap(CancelledError) and None).addBoth(self._flushed)

    def _flushed(self, _: object) -> None:
        self._flushing = None
        if self._waiting:
            self._flush_in(FLUSH_DELAY)

    async def _flush(self) -> None:
        runs, self._waiting = self._waiting, []
        if not runs:
            return
        try:
            await self.history.record(runs)
        except CancelledError:
            raise
        except Exception as error:
            self._log.debug('Runs of jobs cannot be added to the history yet: {why}', why=str(error))
            self._waiting = (runs + self._waiting)[-MAX_WAITING:]
            self._timer = self.clock.callLater(RETRY_PAUSE, self._begin_flush)
