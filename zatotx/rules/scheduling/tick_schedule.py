"""Calculates the next and the previous tick of one-time, interval-based and cron-style jobs. Pure: no I/O.

A tick is the time for which a run is scheduled, in microseconds since 1970 in UTC. Intervals are elapsed time. Cron
expressions are matched against the clock of their time zone. When that clock is set:

- If the hours are fixed (`30 2 * * *`), a time in the skipped hour is moved to the end of the gap, and a time in the
  repeated hour counts once, at its first occurrence.
- If the hour field begins with `*` (`*/15 * * * *`, `0 */2 * * *`), runs follow elapsed time: skipped times have no
  runs, and times in a repeated hour have one in each pass.

These are the rules of cron(8).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from calendar import monthrange
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Protocol
from zoneinfo import ZoneInfo

from attrs import frozen

from zatotx.schema.scheduler_job import CRON_STYLE, INTERVAL_BASED, SchedulerJob
from zatotx.wire.cron import CronExpression, parse_cron

MICROSECONDS = 1_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_DAY = date(1970, 1, 1).toordinal()
_DAY = 86_400
MAX_TICK = int((datetime(9999, 12, 1, tzinfo=UTC) - _EPOCH).total_seconds()) * MICROSECONDS
_MAX_YEARS = 400  # the Gregorian calendar repeats after that


class TickSchedule(Protocol):
    """The schedule of a job: calculates its ticks."""

    def next(self, after: int) -> int | None:
        """Return the first tick later than `after`; None if there is none."""

    def previous(self, before: int) -> int | None:
        """Return the last tick earlier than `before`; None if there is none."""


@frozen
class OneTime:
    """A schedule with a single tick."""

    at: int

    def next(self, after: int) -> int | None:
        return self.at if self.at > after else None

    def previous(self, before: int) -> int | None:
        return self.at if self.at < before else None


@frozen
class Interval:
    """A schedule with a tick at `start` and a further tick every `step` microseconds. `repeats` is the total number of
    ticks, or None if the number is not limited."""

    start: int
    step: int
    repeats: int | None = None

    def next(self, after: int) -> int | None:
        number = max(0, (after - self.start) // self.step + 1)
        if self.repeats is not None and number >= self.repeats:
            return None
        tick = self.start + number * self.step
        return tick if tick <= MAX_TICK else None

    def previous(self, before: int) -> int | None:
        number = (min(before, MAX_TICK) - self.start - 1) // self.step
        if self.repeats is not None:
            number = min(number, self.repeats - 1)
        return self.start + number * self.step if number >= 0 else None


@frozen
class CronStyle:
    """A schedule whose ticks are the times, not earlier than `start`, at which the clock in time zone `zone` matches a
    cron expression."""

    expression: CronExpression
    zone: ZoneInfo
    start: int

    def next(self, after: int) -> int | None:
        after = max(after, self.start - 1) // MICROSECONDS  # ticks are whole seconds, so the fraction does not matter
        if after * MICROSECONDS >= MAX_TICK:
            return None
        first = datetime.fromtimestamp(after, self.zone).date() - timedelta(days=1)
        dates = _matching_dates(self.expression, first, forward=True)
        found: int | None = None
        for day in dates:
            ticks = _Day(self.expression, self.zone, day)
            tick = ticks.first_after(after)
            if tick is not None:
                found = tick if found is None else min(found, tick)
            if found is not None and ticks.is_uniform:
                break
        return found * MICROSECONDS if found is not None and found * MICROSECONDS <= MAX_TICK else None

    def previous(self, before: int) -> int | None:
        before = -(-min(before, MAX_TICK) // MICROSECONDS)  # the next whole second
        if before * MICROSECONDS <= self.start:
            return None
        last = datetime.fromtimestamp(before, self.zone).date() + timedelta(days=1)
        found: int | None = None
        for day in _matching_dates(self.expression, last, forward=False):
            ticks = _Day(self.expression, self.zone, day)
            tick = ticks.last_before(before)
            if tick is not None:
                found = tick if found is None else max(found, tick)
            if (found is not None and ticks.is_uniform) or (found is None and ticks.midnight_is_before(self.start)):
                break
        return found * MICROSECONDS if found is not None and found * MICROSECONDS >= self.start else None


class _Day:
    """The ticks of one local date, in seconds since 1970. On most dates all clock times have one UTC offset, and no
    time has to be converted."""

    def __init__(self, expression: CronExpression, zone: ZoneInfo, day: date) -> None:
        self._expression = expression
        self._zone = zone
        self._day = day
        self._midnight, self.is_uniform = _local_midnight(zone, day)

    def first_after(self, after: int) -> int | None:
        """Return the first tick later than `after`."""
        if not self.is_uniform:
            ticks = _converted_ticks(self._expression, self._zone, self._day)
            at = bisect_right(ticks, after)
            return ticks[at] if at < len(ticks) else None
        minute = _first_minute(self._expression, (after - self._midnight) // 60 + 1)
        return None if minute is None else self._midnight + minute * 60

    def last_before(self, before: int) -> int | None:
        """Return the last tick earlier than `before`."""
        if not self.is_uniform:
            ticks = _converted_ticks(self._expression, self._zone, self._day)
            at = bisect_left(ticks, before)
            return ticks[at - 1] if at else None
        minute = _last_minute(self._expression, (before - self._midnight - 1) // 60)
        return None if minute is None else self._midnight + minute * 60

    def midnight_is_before(self, start: int) -> bool:
        """Return whether the date begins more than a day before `start`, which is in microseconds."""
        return (self._midnight + 2 * _DAY) * MICROSECONDS < start


@lru_cache(maxsize=1024)
def _converted_ticks(expression: CronExpression, zone: ZoneInfo, day: date) -> tuple[int, ...]:
    """Return the ticks of a local date on which the clock is set, in order."""
    midnight = datetime(day.year, day.month, day.day)
    return tuple(sorted({
        tick
        for hour in expression.hours
        for minute in expression.minutes
        for tick in _instants(midnight + timedelta(hours=hour, minutes=minute), expression.is_any_hour, zone)
    }))  # fmt: skip


def _instants(clock_time: datetime, is_any_hour: bool, zone: ZoneInfo) -> Iterator[int]:
    early, late = (_instant(clock_time.replace(fold=fold), zone) for fold in (0, 1))
    if early <= late:  # one instant, or a repeated hour
        yield early
        if early != late and is_any_hour:
            yield late
    elif not is_any_hour:  # a gap: `fold` exchanges the offsets before and after it
        yield _gap_end(late, early, zone)


def _instant(clock_time: datetime, zone: ZoneInfo) -> int:
    return round((clock_time.replace(tzinfo=zone) - _EPOCH).total_seconds())


def _gap_end(low: int, high: int, zone: ZoneInfo) -> int:
    """Return the instant at which the offset changes, which is after `low` and not after `high`."""
    before = _offset_at(low, zone)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _offset_at(middle, zone) == before else (low, middle)
    return high


def _offset_at(seconds: int, zone: ZoneInfo) -> timedelta | None:
    return datetime.fromtimestamp(seconds, zone).utcoffset()


@lru_cache(maxsize=4096)
def _local_midnight(zone: ZoneInfo, day: date) -> tuple[int, bool]:
    """Return the start of a local date in seconds since 1970, and whether the UTC offset is the same all day."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=zone)
    offset = midnight.utcoffset() or timedelta()
    following = (midnight + timedelta(days=1)).replace(fold=1).utcoffset()
    seconds = (day.toordinal() - _EPOCH_DAY) * _DAY - round(offset.total_seconds())
    return seconds, following == offset


def _first_minute(expression: CronExpression, minimum: int) -> int | None:
    """Return the first matching minute of the day, from 0 to 1439, that is not less than `minimum`."""
    hours, minutes = expression.hours, expression.minutes
    hour, minute = divmod(max(minimum, 0), 60)
    at = bisect_left(hours, hour)
    if at < len(hours) and hours[at] == hour:
        within = bisect_left(minutes, minute)
        if within < len(minutes):
            return hour * 60 + minutes[within]
        at += 1
    return hours[at] * 60 + minutes[0] if at < len(hours) else None


def _last_minute(expression: CronExpression, most: int) -> int | None:
    """Return the last matching minute of the day that is not more than `most`."""
    if most < 0:
        return None
    hours, minutes = expression.hours, expression.minutes
    hour, minute = divmod(min(most, 1439), 60)
    at = bisect_right(hours, hour) - 1
    if at >= 0 and hours[at] == hour:
        within = bisect_right(minutes, minute) - 1
        if within >= 0:
            return hour * 60 + minutes[within]
        at -= 1
    return hours[at] * 60 + minutes[-1] if at >= 0 else None


def _matching_dates(expression: CronExpression, start: date, *, forward: bool) -> Iterator[date]:
    """Yield the dates that match the expression from `start` on, in either direction."""
    year, month = start.year, start.month
    end = year + _MAX_YEARS if forward else year - _MAX_YEARS
    while date.min.year < year < date.max.year and year != end:
        if month in expression.months:
            days = _matching_days(expression, year, month)
            for day in days if forward else reversed(days):
                found = date(year, month, day)
                if (found >= start) if forward else (found <= start):
                    yield found
        month += 1 if forward else -1
        if not 1 <= month <= 12:
            year, month = (year + 1, 1) if forward else (year - 1, 12)


@lru_cache(maxsize=4096)
def _matching_days(expression: CronExpression, year: int, month: int) -> tuple[int, ...]:
    first, count = monthrange(year, month)  # `first`: Monday is 0
    days, weekdays = frozenset(expression.days), frozenset(expression.weekdays)
    return tuple(
        day for day in range(1, count + 1)
        if _matches(day in days, (first + day) % 7 in weekdays, either=expression.is_either_day)
    )  # fmt: skip


def _matches(day: bool, weekday: bool, *, either: bool) -> bool:
    return (day or weekday) if either else (day and weekday)


def to_tick(moment: datetime) -> int:
    """Convert an aware datetime to a tick, which is a number of microseconds."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def to_datetime(tick: int) -> datetime:
    """Convert a tick to an aware datetime in UTC."""
    return _EPOCH + timedelta(microseconds=tick)


def make_schedule(job: SchedulerJob, changed_at: int) -> TickSchedule:
    """Return the schedule of a valid job. `changed_at` is the tick at which the job was created or last changed; a job
    without a configured start begins at this tick."""
    start = changed_at if job.start_date is None else to_tick(job.start_date)
    if job.job_type == CRON_STYLE:
        first = 0 if job.start_date is None else start
        return CronStyle(parse_cron(job.cron_definition or ''), ZoneInfo(job.timezone), first)
    if job.job_type == INTERVAL_BASED:
        step = job.interval * MICROSECONDS
        return Interval(start + step if job.start_date is None else start, step, job.repeats)
    return OneTime(start)
