"""The calendar periods of statistics, in UTC: minutes, hours, days, weeks that begin on Monday, months and years. A
period is identified by its start, as unix time in whole seconds."""

from __future__ import annotations

from calendar import timegm
from collections.abc import Iterator
from time import gmtime

MINUTE, HOUR, DAY, WEEK, MONTH, YEAR = 'minute', 'hour', 'day', 'week', 'month', 'year'

# The shorter periods of which a period is the sum. Weeks and years are only summaries.
PARTS = {HOUR: MINUTE, DAY: HOUR, WEEK: DAY, MONTH: DAY, YEAR: MONTH}

# Seconds for which the figures of periods are kept.
RETENTION = {MINUTE: 25 * 3600, HOUR: 35 * 86_400, DAY: 400 * 86_400, WEEK: 400 * 86_400, MONTH: 10 * 366 * 86_400,
             YEAR: 10 * 366 * 86_400}  # fmt: skip

# The longest range, in seconds, that is shown in periods of this length.
_LONGEST_RANGES = ((MINUTE, 3 * 3600), (HOUR, 3 * 86_400), (DAY, 93 * 86_400))

_SECONDS = {MINUTE: 60, HOUR: 3600, DAY: 86_400}
_WEEK = 7 * 86_400
_MONDAY = 4 * 86_400  # the first Monday of 1970


def period_start(period: str, moment: float) -> int:
    """Return the start of the period that contains the time `moment`."""
    if period in _SECONDS:
        return int(moment // _SECONDS[period]) * _SECONDS[period]
    if period == WEEK:
        return int((moment - _MONDAY) // _WEEK) * _WEEK + _MONDAY
    year, month, *_ = gmtime(moment)
    return timegm((year, month if period == MONTH else 1, 1, 0, 0, 0))


def next_period_start(period: str, start: int) -> int:
    """Return the start of the period after the one that begins at `start`."""
    if period in _SECONDS:
        return start + _SECONDS[period]
    if period == WEEK:
        return start + _WEEK
    year, month, *_ = gmtime(start)
    if period == YEAR:
        return timegm((year + 1, 1, 1, 0, 0, 0))
    return timegm((year + month // 12, month % 12 + 1, 1, 0, 0, 0))


def period_starts_between(period: str, begin: float, end: float) -> Iterator[int]:
    """Yield the starts of the periods that overlap the time range from `begin` (inclusive) to `end` (exclusive)."""
    start = period_start(period, begin)
    while start < end:
        yield start
        start = next_period_start(period, start)


def suitable_period_length(begin: float, end: float, now: float) -> str:
    """Return the period length with which a range of time is displayed: short enough to show a trend, and long enough
    that the data is still retained."""
    for period, longest in _LONGEST_RANGES:
        if end - begin <= longest and begin >= now - RETENTION[period]:
            return period
    return MONTH
