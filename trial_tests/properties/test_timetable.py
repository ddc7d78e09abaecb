"""Properties of the timetable: `next` and `previous` agree with a search minute by minute, in a year of each zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.properties import holds
from zatotx.rules.scheduling.tick_schedule import MICROSECONDS, CronStyle, Interval, to_datetime, to_tick
from zatotx.wire.cron import CronExpression, parse_cron

ZONES = ('UTC', 'Europe/Berlin', 'America/New_York', 'Australia/Lord_Howe', 'America/Santiago', 'Africa/Casablanca',
         'Asia/Kolkata', 'America/St_Johns', 'Asia/Beirut')  # fmt: skip
# Around each change of a clock in 2025: the hours in which rules matter.
CHANGES = {
    'Europe/Berlin': ('2025-03-30T01:00', '2025-10-26T01:00'),
    'America/New_York': ('2025-03-09T07:00', '2025-11-02T06:00'),
    'Australia/Lord_Howe': ('2025-04-05T15:00', '2025-10-04T15:30'),
    'America/Santiago': ('2025-04-06T03:00', '2025-09-07T04:00'),  # at midnight
    'Africa/Casablanca': ('2025-02-23T02:00', '2025-04-06T02:00'),
    'America/St_Johns': ('2025-03-09T05:30', '2025-11-02T04:30'),
    'Asia/Beirut': ('2025-03-29T22:00', '2025-10-25T21:00'),  # at midnight
}


def _numbers(low: int, high: int) -> st.SearchStrategy[str]:
    single = st.integers(low, high).map(str)
    spans = st.tuples(st.integers(low, high), st.integers(low, high)).map(lambda p: f'{min(p)}-{max(p)}')
    steps = st.tuples(st.just('*') | spans, st.integers(1, high)).map(lambda p: f'{p[0]}/{p[1]}')
    return st.just('*') | single | spans | steps | st.lists(single | spans, min_size=2, max_size=3).map(','.join)


EXPRESSIONS = st.tuples(
    _numbers(0, 59), _numbers(0, 23), st.just('*') | _numbers(1, 28), st.just('*') | _numbers(1, 12),
    st.just('*') | _numbers(0, 7),
).map(' '.join)  # fmt: skip


def matches(expression: CronExpression, local: datetime) -> bool:
    """Whether a clock time matches, field by field."""
    day, weekday = local.day in expression.days, local.isoweekday() % 7 in expression.weekdays
    return (local.minute in expression.minutes and local.hour in expression.hours and local.month in expression.months
            and ((day or weekday) if expression.is_either_day else (day and weekday)))  # fmt: skip


def brute_force(expression: CronExpression, zone: ZoneInfo, begin: datetime, end: datetime) -> list[datetime]:
    """All ticks from `begin` to `end`, both exclusive: goes through the minutes, and through the clock times that each
    of them skips or repeats."""
    found = set()
    seen: set[datetime] = set()  # clock times that were shown before
    moment = begin - timedelta(hours=3)
    before = moment.astimezone(zone).replace(tzinfo=None) - timedelta(minutes=1)
    while moment < end:
        local = moment.astimezone(zone).replace(tzinfo=None)
        skipped = before + timedelta(minutes=1)
        while skipped < local:  # the clock was set forward
            if not expression.is_any_hour and matches(expression, skipped):
                found.add(moment)
            seen.add(skipped)
            skipped += timedelta(minutes=1)
        if matches(expression, local) and (expression.is_any_hour or local not in seen):
            found.add(moment)
        seen.add(local)
        before = local
        moment += timedelta(minutes=1)
    return sorted(one for one in found if begin < one < end)


class CronProperties(SynchronousTestCase):
    """Cron-style jobs."""

    @holds(120, text=EXPRESSIONS, name=st.sampled_from(sorted(CHANGES)), which=st.integers(0, 1),
           shift=st.integers(-900, 900))  # fmt: skip
    def test_changes_of_the_clock(self, text: str, name: str, which: int, shift: int) -> None:
        """Around each change of the clock, in both hemispheres, `next` and `previous` find the ticks that a search
        minute by minute finds."""
        change = datetime.fromisoformat(CHANGES[name][which]).replace(tzinfo=UTC) + timedelta(minutes=shift)
        self._compare(text, name, change - timedelta(hours=14), change + timedelta(hours=14))

    @holds(50, text=EXPRESSIONS, name=st.sampled_from(ZONES), day=st.integers(0, 364))
    def test_any_day(self, text: str, name: str, day: int) -> None:
        """The same on any day of a year."""
        begin = datetime(2025, 1, 1, tzinfo=UTC) + timedelta(days=day)
        self._compare(text, name, begin, begin + timedelta(days=2))

    def _compare(self, text: str, name: str, begin: datetime, end: datetime) -> None:
        expression, zone = parse_cron(text), ZoneInfo(name)
        expected = brute_force(expression, zone, begin, end)
        schedule = CronStyle(expression, zone, 0)
        forwards: list[datetime] = []
        tick = schedule.next(to_tick(begin))
        while tick is not None and tick < to_tick(end):
            forwards.append(to_datetime(tick))
            tick = schedule.next(tick)
        self.assertEqual(forwards, expected)
        backwards: list[datetime] = []
        tick = schedule.previous(to_tick(end))
        while tick is not None and tick > to_tick(begin):
            backwards.append(to_datetime(tick))
            tick = schedule.previous(tick)
        self.assertEqual(backwards[::-1], expected)


class IntervalProperties(SynchronousTestCase):
    """Interval-based jobs."""

    @holds(100, start=st.integers(-100, 100), step=st.integers(1, 20), repeats=st.none() | st.integers(1, 9),
           at=st.integers(-150, 350))  # fmt: skip
    def test_like_counting(self, start: int, step: int, repeats: int | None, at: int) -> None:
        """`next` and `previous` find the ticks that counting finds."""
        unit = MICROSECONDS
        ticks = [(start + number * step) * unit for number in range(repeats or 600)]
        schedule = Interval(start * unit, step * unit, repeats)
        for moment in (at * unit, at * unit + 1, at * unit - 1):
            self.assertEqual(schedule.next(moment), next((tick for tick in ticks if tick > moment), None))
            self.assertEqual(schedule.previous(moment), next((t for t in reversed(ticks) if t < moment), None))
