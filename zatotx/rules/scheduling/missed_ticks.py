"""Determines which ticks of a job are due, and which missed ticks are run later. Pure functions.

Ticks that were missed for at most the grace period all run, with their own times. Of older ones the policy of the job
selects the latest one, none, or all, of which at most MAX_MISSED.
"""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b

from attrs import frozen

from zatotx.rules.scheduling.tick_schedule import MICROSECONDS, TickSchedule
from zatotx.schema.scheduler_job import RUN_ALL, RUN_ONCE, SchedulerJob

MAX_MISSED = 1000  # ticks older than the grace period that `misfire: all` makes up


@frozen
class MisfirePolicy:
    """The misfire policy of a job: whether missed ticks are skipped or run later. `grace` is in microseconds."""

    misfire: str = RUN_ONCE
    grace: int = 60 * MICROSECONDS


def misfire_policy(job: SchedulerJob) -> MisfirePolicy:
    """Return the misfire policy of a job. A tick that is delayed by the job's jitter does not count as late."""
    return MisfirePolicy(job.misfire, round((job.misfire_grace + job.jitter) * MICROSECONDS))


def missed_ticks_to_run(schedule: TickSchedule, after: int, now: int, policy: MisfirePolicy) -> list[int]:
    """Return the missed ticks that must be run now, in order. These ticks are later than `after` and older than the
    grace period."""
    cutoff = now - policy.grace
    if after >= cutoff:  # the usual case, when thousands of jobs are planned
        return []
    limit = {RUN_ALL: MAX_MISSED, RUN_ONCE: 1}.get(policy.misfire, 0)
    found: list[int] = []
    for tick in _backwards(schedule, cutoff):
        if tick <= after or len(found) == limit:
            break
        found.append(tick)
    return found[::-1]


def _backwards(schedule: TickSchedule, before: int) -> Iterator[int]:
    tick = schedule.previous(before)
    while tick is not None:
        yield tick
        tick = schedule.previous(tick)


def next_tick_in_grace_period(schedule: TickSchedule, after: int, now: int, policy: MisfirePolicy) -> int | None:
    """Return the first tick that is later than `after` and within the grace period."""
    return schedule.next(max(after, now - policy.grace - 1))


def due_ticks_lower_bound(last_tick: int | None, changed_at: int, recovery_point: int, policy: MisfirePolicy) -> int:
    """Return the tick after which ticks of a job are due for a new leader. `last_tick` is the last tick that was
    written, or None if it is unknown. `changed_at` is the tick at which the job was created, edited or resumed.
    `recovery_point` is set if Redis lost its data. All ticks before the recovery point had been written; those within
    the grace period before it may be lost, and are repeated."""
    if last_tick is not None:
        return max(last_tick, changed_at)
    return max(changed_at, recovery_point - policy.grace if recovery_point else 0)


def tick_jitter(job_id: int, tick: int, jitter: float) -> int:
    """Return the delay of a tick by jitter, in microseconds. The delay is the same for every leader. `jitter` is the
    maximum delay in seconds."""
    if not jitter:
        return 0
    digest = blake2b(f'{job_id}:{tick}'.encode(), digest_size=8).digest()
    return int(int.from_bytes(digest) / 2**64 * jitter * MICROSECONDS)
