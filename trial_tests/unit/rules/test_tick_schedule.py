"""When jobs run, by the examples of the documentation, and which missed runs are made up."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from twisted.trial.unittest import SynchronousTestCase

from zatotx.rules.scheduling.missed_ticks import (
    MAX_MISSED,
    MisfirePolicy,
    due_ticks_lower_bound,
    misfire_policy,
    missed_ticks_to_run,
    next_tick_in_grace_period,
    tick_jitter,
)
from zatotx.rules.scheduling.tick_schedule import (
    MICROSECONDS,
    CronStyle,
    Interval,
    OneTime,
    TickSchedule,
    make_schedule,
    to_datetime,
    to_tick,
)
from zatotx.schema.scheduler_job import (
    CRON_STYLE,
    INTERVAL_BASED,
    ONE_TIME,
    RUN_ALL,
    RUN_ONCE,
    SCHEDULER_JOB,
    SKIP_MISSED,
    SchedulerJob,
    past_start_error,
)
from zatotx.schema.validation import validate, validate_edit
from zatotx.wire.cron import parse_cron

SECOND = MICROSECONDS


def cron(text: str, zone: str = 'UTC') -> CronStyle:
    """That schedule."""
    return CronStyle(parse_cron(text), ZoneInfo(zone), 0)


def next_times(schedule: TickSchedule, after: str, count: int) -> list[str]:
    """The next times in UTC."""
    tick, found = to_tick(datetime.fromisoformat(after + '+00:00')), []
    for _ in range(count):
        following = schedule.next(tick)
        assert following is not None
        found.append(to_datetime(following).strftime('%Y-%m-%d %H:%M'))
        tick = following
    return found


class CronTests(SynchronousTestCase):
    """Cron-style jobs."""

    def test_changes_of_the_clock(self) -> None:
        """A fixed time in a gap runs at its end, and one in a repeated hour once; hours that begin with * follow
        elapsed time."""
        fixed = cron('30 2 * * *', 'Europe/Berlin')
        self.assertEqual(next_times(fixed, '2026-03-28 12:00', 2), ['2026-03-29 01:00', '2026-03-30 00:30'])
        self.assertEqual(next_times(fixed, '2026-10-24 12:00', 2), ['2026-10-25 00:30', '2026-10-26 01:30'])
        hourly = cron('30 * * * *', 'Europe/Berlin')
        self.assertEqual(next_times(hourly, '2026-03-29 00:00', 2), ['2026-03-29 00:30', '2026-03-29 01:30'])
        self.assertEqual(next_times(hourly, '2026-10-25 00:00', 3),
                         ['2026-10-25 00:30', '2026-10-25 01:30', '2026-10-25 02:30'])  # fmt: skip
        self.assertEqual(next_times(cron('*/20 2 * * *', 'Europe/Berlin'), '2026-03-28 12:00', 2),
                         ['2026-03-29 01:00', '2026-03-30 00:00'])  # fmt: skip

    def test_rare_dates(self) -> None:
        """29 February is found across the year 2100, which has none; day of month or weekday suffices."""
        self.assertEqual(next_times(cron('0 0 29 2 *'), '2096-03-01 00:00', 1), ['2104-02-29 00:00'])
        self.assertEqual(next_times(cron('0 0 13 * 5'), '2026-11-01 00:00', 3),
                         ['2026-11-06 00:00', '2026-11-13 00:00', '2026-11-20 00:00'])  # fmt: skip

    def test_skipped_date(self) -> None:
        """A date that a time zone skipped as a whole runs at the end of the gap."""
        self.assertEqual(next_times(cron('0 12 * * *', 'Pacific/Apia'), '2011-12-29 12:00', 3),
                         ['2011-12-29 22:00', '2011-12-30 10:00', '2011-12-30 22:00'])  # fmt: skip

    def test_limits(self) -> None:
        """There are no ticks before the start, and none after the last year of a date."""
        start = to_tick(datetime(2026, 1, 1, 0, 0, 30, tzinfo=UTC))
        schedule = CronStyle(parse_cron('* * * * *'), ZoneInfo('UTC'), start)
        self.assertEqual(schedule.next(0), start + 30 * SECOND)
        self.assertIsNone(schedule.previous(start + 30 * SECOND))
        self.assertEqual(schedule.previous(start + 31 * SECOND), start + 30 * SECOND)
        self.assertIsNone(schedule.next(to_tick(datetime(9999, 12, 31, tzinfo=UTC))))


class JobTests(SynchronousTestCase):
    """Schedules of jobs."""

    def test_starts(self) -> None:
        """An interval begins at its start date; without one, an interval after the last change of the job."""
        at = datetime(2026, 1, 1, tzinfo=UTC)
        common: Any = {'name': 'x', 'service': 's'}
        timed = SchedulerJob(job_type=INTERVAL_BASED, minutes=1, seconds=30, start_date=at, repeats=2, **common)
        self.assertEqual(make_schedule(timed, 5), Interval(to_tick(at), 90 * SECOND, 2))
        untimed = SchedulerJob(job_type=INTERVAL_BASED, weeks=1, **common)
        self.assertEqual(make_schedule(untimed, 5).next(5), 5 + 604_800 * SECOND)
        self.assertEqual(make_schedule(SchedulerJob(job_type=ONE_TIME, start_date=at, **common), 5),
                         OneTime(to_tick(at)))  # fmt: skip
        daily = SchedulerJob(job_type=CRON_STYLE, cron_definition='0 8 * * *', timezone='Asia/Tokyo', **common)
        self.assertEqual(next_times(make_schedule(daily, 5), '2026-01-01 00:00', 1), ['2026-01-01 23:00'])

    def test_other_types_fields(self) -> None:
        """A field of another type is a mistake, unless it is unset when the type changes."""
        common = {'name': 'x', 'service': 's'}
        _, errors = validate(SCHEDULER_JOB, {**common, 'job_type': CRON_STYLE, 'cron_definition': '@daily',
                                             'seconds': 5})  # fmt: skip
        self.assertEqual(errors, [('seconds', 'is for interval_based jobs only, and this one is cron_style')])
        before, _ = validate(SCHEDULER_JOB, {**common, 'job_type': INTERVAL_BASED, 'seconds': 5, 'repeats': 2})
        job, errors = validate_edit(SCHEDULER_JOB, before, {'job_type': CRON_STYLE, 'cron_definition': '@daily'})
        self.assertEqual((errors, job.seconds, job.cron_definition), ([], None, '0 0 * * *'))

    def test_past_one_time_jobs(self) -> None:
        """A one-time job whose time is over is a mistake, unless it is inactive or had that time before."""
        now = datetime(2026, 6, 1, tzinfo=UTC)
        job = SchedulerJob(name='x', service='s', job_type=ONE_TIME, start_date=datetime(2026, 5, 1, tzinfo=UTC))
        self.assertEqual([path for path, _ in past_start_error(job, None, now)], ['start_date'])
        self.assertEqual(past_start_error(job, job, now), [])
        inactive = SchedulerJob(name='x', service='s', job_type=ONE_TIME, start_date=job.start_date, is_active=False)
        self.assertEqual(past_start_error(inactive, None, now), [])
        self.assertEqual(past_start_error(job, None, datetime(2026, 4, 1, tzinfo=UTC)), [])


class MisfireTests(SynchronousTestCase):
    """Missed runs."""

    schedule = Interval(0, 10 * SECOND)

    def test_policies(self) -> None:
        """Of ticks older than the grace period the policy selects the latest one, none, or all; later ones all run."""
        now, after = 1000 * SECOND, 500 * SECOND
        for misfire, expected in ((RUN_ONCE, [930]), (SKIP_MISSED, []), (RUN_ALL, list(range(510, 940, 10)))):
            policy = MisfirePolicy(misfire, 60 * SECOND)
            found = missed_ticks_to_run(self.schedule, after, now, policy)
            self.assertEqual(found, [second * SECOND for second in expected])
            self.assertEqual(
                next_tick_in_grace_period(self.schedule, found[-1] if found else after, now, policy), 940 * SECOND
            )
            self.assertEqual(missed_ticks_to_run(self.schedule, 930 * SECOND, now, policy), [])

    def test_at_most_a_thousand(self) -> None:
        """The latest ones are made up."""
        found = missed_ticks_to_run(self.schedule, 0, 100_000 * SECOND, MisfirePolicy(RUN_ALL, 0))
        self.assertEqual((len(found), found[-1], found[0]), (MAX_MISSED, 99_990 * SECOND, 90_000 * SECOND))

    def test_bounds(self) -> None:
        """Ticks before the last one and before the last change are not due. Where the last one is not known because
        Redis lost it, those of the grace period before the loss are repeated."""
        policy = MisfirePolicy(RUN_ONCE, 60 * SECOND)
        self.assertEqual(due_ticks_lower_bound(700, 500, 0, policy), 700)
        self.assertEqual(due_ticks_lower_bound(700, 900, 0, policy), 900)
        self.assertEqual(due_ticks_lower_bound(None, 900, 0, policy), 900)
        self.assertEqual(due_ticks_lower_bound(None, 900, 100 * SECOND, policy), 40 * SECOND)

    def test_jitter(self) -> None:
        """Each tick has its own delay within the limit, always the same, and is not late because of it."""
        delays = {tick_jitter(7, tick, 2.0) for tick in range(100)}
        self.assertEqual(len(delays), 100)
        self.assertTrue(all(0 <= delay < 2 * SECOND for delay in delays))
        self.assertEqual(tick_jitter(7, 1, 2.0), tick_jitter(7, 1, 2.0))
        self.assertEqual(tick_jitter(7, 1, 0.0), 0)
        job = SchedulerJob(name='x', service='s', job_type=INTERVAL_BASED, seconds=1, jitter=5)
        self.assertEqual(misfire_policy(job).grace, 65 * SECOND)
