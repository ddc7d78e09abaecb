"""Service statistics over a time range, built from the rows of zato.stats.*. They contain the slowest and the most used
services, a comparison with the previous range, and charts of the whole cluster. Pure functions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from attrs import frozen

from zatotx.admin.charts import Chart, make_chart, sparkline
from zatotx.admin.preferences import Preferences
from zatotx.rules.statistics.calendar_periods import DAY, HOUR, MINUTE, MONTH, period_starts_between

TOP = 10  # services in each of the two lists

Row = Mapping[str, Any]


@frozen
class ReportRow:
    """A service in a report, with the row of the API, its trends, and its figures in the previous range."""

    row: Row
    usage_line: str  # points of a small line
    mean_line: str
    before: Row | None = None

    @property
    def usage_change(self) -> str:
        """The change of the number of calls, in per cent."""
        return _change(self.row['usage'], self.before['usage']) if self.before else ''

    @property
    def mean_change(self) -> str:
        """The change of the mean duration, in per cent."""
        return _change(self.row['mean'], self.before['mean']) if self.before else ''


@frozen(kw_only=True)
class UsageReport:
    """The content of a page of statistics."""

    slowest: Sequence[ReportRow]
    most_used: Sequence[ReportRow]
    calls: int
    errors: int
    mean: float  # milliseconds
    usage_chart: Chart
    mean_chart: Chart


def make_report(rows: Sequence[Row], before: Sequence[Row], labels: Sequence[str]) -> UsageReport:
    """Build the report for the rows of all services. `before` contains the rows of the previous range of equal length,
    or is empty if the ranges are not compared. `labels` are the labels of the periods in the trends."""
    earlier = {row['service_name']: row for row in before}
    found = [_report_row(row, earlier.get(row['service_name']), len(labels)) for row in rows]
    calls, seconds = sum(row['usage'] for row in rows), sum(row['time'] for row in rows)
    usage, means = _cluster_trends(rows, len(labels))
    return UsageReport(
        slowest=sorted(found, key=lambda one: -one.row['mean'])[:TOP],
        most_used=sorted(found, key=lambda one: -one.row['usage'])[:TOP],
        calls=calls, errors=sum(row['errors'] for row in rows), mean=round(seconds / calls, 2) if calls else 0.0,
        usage_chart=make_chart('Calls', 'calls', labels, usage),
        mean_chart=make_chart('Mean duration', 'ms', labels, means),
    )  # fmt: skip


def _report_row(row: Row, before: Row | None, periods: int) -> ReportRow:
    usage, mean = (sparkline(trend(row, name, periods)) for name in ('usage_trend', 'mean_trend'))
    return ReportRow(row, usage, mean, before)


def trend(row: Row, name: str, periods: int) -> list[float]:
    """Return the values of a trend, with one value for each period. As in Zato, a trend is text with values separated
    by commas. Values are cut off, or zeros appended, because the clock of the server may be in another period."""
    values = [float(part) for part in str(row.get(name, '')).split(',') if part][:periods]
    return values + [0.0] * (periods - len(values))


def _cluster_trends(rows: Sequence[Row], periods: int) -> tuple[list[float], list[float]]:
    """Return the calls of all services in each period, and their mean duration."""
    calls, times = [0.0] * periods, [0.0] * periods
    for row in rows:
        pairs = zip(trend(row, 'usage_trend', periods), trend(row, 'mean_trend', periods), strict=True)
        for number, (usage, mean) in enumerate(pairs):
            calls[number] += usage
            times[number] += usage * mean
    means = [round(time / number, 2) if number else 0.0 for time, number in zip(times, calls, strict=True)]
    return calls, means


def _change(now: float, before: float) -> str:
    if not before:
        return 'new' if now else ''
    return f'{100 * (now - before) / before:+.0f} %'


def period_labels(period: str, start: float, stop: float, preferences: Preferences) -> list[str]:
    """Return the labels of the periods in a time range, in the time zone of a user. The periods themselves are calendar
    periods in UTC."""
    return [_label(period, datetime.fromtimestamp(moment, UTC), preferences)
            for moment in period_starts_between(period, start, stop)]  # fmt: skip


def _label(period: str, when: datetime, preferences: Preferences) -> str:
    if period in (MINUTE, HOUR):
        return when.astimezone(preferences.zone).strftime('%H:%M')
    return when.strftime({DAY: '%d %b', MONTH: '%b %Y'}.get(period, '%Y'))


def table_cells(rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    """Yield the rows of a CSV file, which contain the fields of the API without the trends."""
    for row in rows:
        yield {name: value for name, value in row.items() if not name.endswith('_trend')}
