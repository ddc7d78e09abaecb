"""Statistics of services over a range of time, from the rows of zato.stats.*: which are slowest and most used, how they
compare to the time before, and the charts of the whole cluster. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from attrs import frozen

from zatotx.admin.charts import Chart, make_chart, sparkline
from zatotx.admin.preferences import Preferences
from zatotx.rules.statistics.periods import DAY, HOUR, MINUTE, MONTH, starts_between

TOP = 10  # services in each of the two lists

Row = Mapping[str, Any]


@frozen
class ReportRow:
    """A service in a report: the row of the API, its trends, and its figures in the time before."""

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
    """What a page of statistics shows."""

    slowest: Sequence[ReportRow]
    most_used: Sequence[ReportRow]
    calls: int
    errors: int
    mean: float  # milliseconds
    usage_chart: Chart
    mean_chart: Chart


def make_report(rows: Sequence[Row], before: Sequence[Row], labels: Sequence[str]) -> UsageReport:
    """Return the report of rows of all services. `before`: of an equal range before, [] = it is not compared;
    `labels`: of the periods that the trends consist of."""
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
    """Return the values of a trend, which is text separated by commas as in Zato, of that many periods: the
    server's clock may be in another one than ours."""
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
    """Return the labels of the periods of a range, in the zone of a user. Periods are those of UTC."""
    return [_label(period, datetime.fromtimestamp(moment, UTC), preferences)
            for moment in starts_between(period, start, stop)]  # fmt: skip


def _label(period: str, when: datetime, preferences: Preferences) -> str:
    if period in (MINUTE, HOUR):
        return when.astimezone(preferences.zone).strftime('%H:%M')
    return when.strftime({DAY: '%d %b', MONTH: '%b %Y'}.get(period, '%Y'))


def table_cells(rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    """Yield the rows of a CSV file: the fields of the API without the trends."""
    for row in rows:
        yield {name: value for name, value in row.items() if not name.endswith('_trend')}
