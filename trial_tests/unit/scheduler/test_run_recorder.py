"""Recording the runs of jobs."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from zatotx.interfaces.scheduler import IRunHistory
from zatotx.model.errors import ServiceUnavailable
from zatotx.model.job_run import FAILED, OK, SKIPPED, JobRun
from zatotx.scheduler.metrics import SchedulerCounters
from zatotx.scheduler.run_recorder import FLUSH_DELAY, MAX_LISTED, MAX_WAITING, RETRY_PAUSE, RunRecorder


@implementer(IRunHistory)
class _History:
    def __init__(self) -> None:
        self.batches: list[Sequence[JobRun]] = []
        self.is_away = False

    def record(self, runs: Sequence[JobRun]) -> Deferred[None]:
        if self.is_away:
            return fail(ServiceUnavailable(None, 'Redis is away'))
        self.batches.append(runs)
        return succeed(None)

    def runs(self, job_id: int | None, limit: int) -> Deferred[list[JobRun]]:
        return succeed([])


class RunRecorderTests(SynchronousTestCase):
    """On a clock of the test."""

    def setUp(self) -> None:
        self.clock, self.history = Clock(), _History()
        self.recorder = RunRecorder(clock=self.clock, now=self.clock.seconds, history=self.history,
                                    counters=SchedulerCounters())  # fmt: skip

    def record(self, job_id: int = 1, result: str = OK) -> None:
        """Record a run."""
        self.recorder.record(JobRun(job_id=job_id, job=f'job-{job_id}', service='a.b', cid='c', scheduled=0.0,
                                    started=self.clock.seconds(), result=result, cause='the cause'))  # fmt: skip

    def test_batches(self) -> None:
        """Runs that end shortly after each other are stored together."""
        self.record()
        self.record(2)
        self.assertEqual(self.history.batches, [])
        self.clock.advance(FLUSH_DELAY)
        self.record(3)
        self.clock.advance(FLUSH_DELAY)
        self.assertEqual([[run.job_id for run in batch] for batch in self.history.batches], [[1, 2], [3]])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_redis_away(self) -> None:
        """Runs wait for Redis, in their order, up to a limit; what waits at the end is stored then."""
        self.history.is_away = True
        for number in range(MAX_WAITING + 2):
            self.record(number)
        self.assertEqual(self.recorder.lost, 2)
        self.clock.advance(FLUSH_DELAY)
        self.history.is_away = False
        self.clock.advance(RETRY_PAUSE)
        self.assertEqual([run.job_id for run in self.history.batches[0][:2]], [0, 1])
        self.record(7)
        self.successResultOf(Deferred.fromCoroutine(self.recorder.stop()))
        self.assertEqual([run.job_id for run in self.history.batches[1]], [7])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_findings(self) -> None:
        """A job whose last run failed is reported until it succeeds, or for an hour; a skipped run is no failure."""
        self.record(result=FAILED)
        self.record(result=FAILED)
        self.record(result=SKIPPED)
        (sentence,) = self.recorder.findings()
        self.assertIn("job 'job-1' failed 2 times in a row", sentence)
        self.assertIn('the cause', sentence)
        self.assertEqual((self.recorder.counters.runs, self.recorder.counters.failures), (2, 2))
        self.record()
        self.assertEqual(list(self.recorder.findings()), [])
        for number in range(MAX_LISTED + 3):
            self.record(number, FAILED)
        found = list(self.recorder.findings())
        self.assertEqual(len(found), MAX_LISTED + 1)
        self.assertIn('3 further jobs', found[-1])
        self.clock.advance(3700)
        self.assertEqual(list(self.recorder.findings()), [])
