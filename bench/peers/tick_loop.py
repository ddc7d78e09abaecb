"""The scheduler's leader with many jobs, in a process of its own, on the Redis at a socket: prints its figures as JSON.

    python -m bench.peers.tick_loop SOCKET JOBS BURST SECONDS
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from time import monotonic, process_time, time
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall, deferLater, react

from trial_tests.support.reactor import reactor
from zatotx.node.gc_tuning import tune_gc
from zatotx.redis.client import RedisClient, ScriptRunner
from zatotx.redis.key_names import RedisKeys
from zatotx.redis.redis_url import RedisAddress
from zatotx.redis.tick_writer import RedisTickWriter
from zatotx.redis.work_stream import RedisWorkStream
from zatotx.rules.scheduling.tick_schedule import to_datetime
from zatotx.scheduler.job_table import JobTable
from zatotx.scheduler.leader_tick_loop import LeaderTickLoop
from zatotx.scheduler.metrics import SchedulerCounters
from zatotx.schema.scheduler_job import INTERVAL_BASED, ONE_TIME, SCHEDULER_JOB, SchedulerJob
from zatotx.schema.snapshot import Snapshot, StoredObject
from zatotx.testing.memory_scheduler_stores import MemoryRunRecorder

INTERVAL = 1000  # seconds of each job: with 100,000 jobs, 100 are due in a second
PROBE = 0.005  # seconds between two looks at the clock, which show how long the reactor was held


class Stall:
    """The longest time for which the reactor did not call a timer, beyond its interval."""

    def __init__(self) -> None:
        self.longest, self._last = 0.0, monotonic()
        self._loop = LoopingCall(self._look)
        self._loop.start(PROBE, now=False)

    def _look(self) -> None:
        now = monotonic()
        self.longest, self._last = max(self.longest, now - self._last - PROBE), now

    def take(self) -> float:
        """Return the longest one since the last call."""
        longest, self.longest = self.longest, 0.0
        return longest


def interval_jobs(count: int, now: float) -> Iterator[StoredObject]:
    """Jobs that are due one after another."""
    begin = round((now - INTERVAL) * 1_000_000)
    for number in range(count):
        start = to_datetime(begin + number * INTERVAL * 1_000_000 // count)
        job = SchedulerJob(name=f'job-{number}', service='bench.tick', job_type=INTERVAL_BASED, seconds=INTERVAL,
                           start_date=start)  # fmt: skip
        yield StoredObject(number + 1, SCHEDULER_JOB.key, job, 1, now)


def burst_jobs(count: int, at: float, first: int) -> Iterator[StoredObject]:
    """One-time jobs that are all due within one second."""
    for number in range(count):
        start = to_datetime(round((at + number / count) * 1_000_000))
        job = SchedulerJob(name=f'burst-{number}', service='bench.tick', job_type=ONE_TIME, start_date=start)
        yield StoredObject(first + number, SCHEDULER_JOB.key, job, 2, at - 10)


async def measure(path: str, count: int, burst: int, seconds: float) -> dict[str, float]:
    """Run all and return the figures."""
    client = RedisClient(reactor, RedisAddress(path=path))
    client.startService()
    await client.wait_connected()
    scripts, keys = ScriptRunner(client), RedisKeys('bench')
    ticks = RedisTickWriter(client, scripts, keys, RedisWorkStream(client, scripts, keys))
    table, counters = JobTable(reactor, time), SchedulerCounters()
    jobs = list(interval_jobs(count, time()))
    stall, figures = Stall(), {}
    tune_gc()
    stall.take()
    began = monotonic()
    (await table.prepare(Snapshot(1, jobs))).commit()
    figures['table'], figures['table stall'] = monotonic() - began, stall.take()
    await ticks.begin(1, 0)
    loop = LeaderTickLoop(
        clock=reactor, now=time, table=table, ticks=ticks, recorder=MemoryRunRecorder(), counters=counters,
        cluster='bench', node='bench', may_fire=lambda: True, on_outdated=print, epoch=1, recovery_point=0,
    )  # fmt: skip
    began, used = monotonic(), process_time()
    tune_gc()
    loop.start()
    while loop._to_load or loop._loading is not None:
        await deferLater(reactor, 0.01)
    figures['takeover'], figures['takeover cpu'] = monotonic() - began, process_time() - used
    figures['takeover stall'] = stall.take()
    await deferLater(reactor, 1)
    written, used, began = counters.written, process_time(), monotonic()
    await deferLater(reactor, seconds)
    passed = monotonic() - began
    figures['cpu'], figures['rate'] = (process_time() - used) / passed, (counters.written - written) / passed
    stall.take()
    at = time() + 3
    (await table.prepare(Snapshot(2, [*jobs, *burst_jobs(burst, at, count + 1)]))).commit()
    figures['change stall'] = stall.take()
    await deferLater(reactor, at - time())
    stall.take()
    written = counters.written
    while counters.written - written < burst and time() < at + 60:
        await deferLater(reactor, 0.01)
    figures['burst'], figures['burst stall'] = time() - at - 1, stall.take()
    await loop.stop()
    await client.stopService()
    return figures


def main(_: Any, path: str, *numbers: str) -> Deferred[None]:
    """Measure, and print the figures."""
    count, burst, seconds = int(numbers[0]), int(numbers[1]), float(numbers[2])
    measured = Deferred.fromCoroutine(measure(path, count, burst, seconds))
    return measured.addCallback(lambda figures: print(json.dumps(figures)))


if __name__ == '__main__':
    react(main, sys.argv[1:])
