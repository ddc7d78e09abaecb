"""The services zato.stats.trends.*, zato.stats.summary.get-summary-by-*, zato.stats.get-by-service and
zato.stats.delete, which report and delete the usage of services over time. Dates are in ISO 8601, and in UTC if they
have no time zone. Durations are in milliseconds."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from time import time
from typing import Any, ClassVar

from zatotx.api.admin_service import AdminService, bad_field_error
from zatotx.metrics.counters import LATENCY_BUCKETS
from zatotx.metrics.usage_aggregation import read_usage_of_periods
from zatotx.model.errors import NotFound
from zatotx.model.service_usage import NO_USAGE, UsageByService
from zatotx.rules.statistics.calendar_periods import (
    DAY,
    HOUR,
    MINUTE,
    MONTH,
    PARTS,
    RETENTION,
    WEEK,
    YEAR,
    next_period_start,
    period_start,
    period_starts_between,
    suitable_period_length,
)
from zatotx.rules.statistics.usage_rows import (
    MEAN,
    N_TYPES,
    estimate_percentile,
    highest_usage_rows,
    make_usage_rows,
    mean_time,
    shortest_duration_bound,
)
from zatotx.schema.validation import parse_datetime
from zatotx.service.io.elements import Bool, Int, Text

DEFAULT_N, MAX_N = 10, 10_000
MAX_RANGE = 10 * 366 * 86_400  # seconds


class StatisticsService(AdminService):
    """Base class of the services that report usage statistics."""

    zato_dont_import = True

    def moment(self, field: str) -> float:
        """Return a date of the request as unix time. Raises BadInput."""
        text = str(self.request.input[field] or '')
        found = parse_datetime(text)
        if not isinstance(found, datetime) or not 1970 <= found.year < 9999:
            raise bad_field_error(field, f'expected a date such as 2026-11-30 or 2026-11-30 17:00:00, got {text!r}')
        return found.timestamp()

    def range(self) -> tuple[float, float]:
        """Return start and stop of the request as unix times. Raises BadInput."""
        start, stop = self.moment('start'), self.moment('stop')
        if not start < stop <= start + MAX_RANGE:
            raise bad_field_error('stop', 'must be later than start, by ten years at most')
        return start, stop

    def top(self, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the rows that the request asks for. Raises BadInput."""
        n = DEFAULT_N if self.request.input.n in (None, '') else self.request.input.n
        n_type = self.request.input.n_type or MEAN
        if not 1 <= n <= MAX_N:
            raise bad_field_error('n', f'must be 1 to {MAX_N}')
        if n_type not in N_TYPES:
            raise bad_field_error('n_type', f'must be {" or ".join(N_TYPES)}, not {n_type!r}')
        return highest_usage_rows(rows, n, n_type)

    def rows(self, periods: Sequence[UsageByService], seconds: float) -> list[dict[str, Any]]:
        """Return the rows of a range. `seconds`: its length so far. The services of zatotx itself are omitted if the
        request says `internal: false`."""
        with_internal = self.request.input.get('internal') is not False
        return make_usage_rows(periods, seconds=seconds, bounds=LATENCY_BUCKETS, with_internal=with_internal)


class _RangeInput:
    input_required = (Text('start'), Text('stop'))
    input_optional = (Int('n'), Text('n_type'), Bool('internal'), 'cluster_id')


class _PeriodInput:
    input_required = (Text('start'),)
    input_optional = (Int('n'), Text('n_type'), Bool('internal'), 'cluster_id')


class _RangeReport(StatisticsService):
    zato_dont_import = True

    async def handle(self) -> None:
        start, stop = self.range()
        period = suitable_period_length(start, stop, time())
        starts = list(period_starts_between(period, start, stop))
        periods = await read_usage_of_periods(self.server.usage, period, starts)
        until = next_period_start(period, starts[-1])
        self.response.payload = self.top(self.rows(periods, min(until, time()) - starts[0]))


class GetTrends(_RangeReport):
    """Return the `n` services with the highest `n_type` (mean or usage) between start and stop, with trends. The trends
    are by minute for up to three hours, by hour for up to three days, by day for up to three months, and otherwise by
    month."""

    name = 'zato.stats.trends.get-trends'
    SimpleIO = _RangeInput


class GetSummaryByRange(_RangeReport):
    """Return the `n` services with the highest `n_type` (mean or usage) between start and stop."""

    name = 'zato.stats.summary.get-summary-by-range'
    SimpleIO = _RangeInput


class _PeriodReport(StatisticsService):
    zato_dont_import = True
    period: ClassVar[str]

    async def handle(self) -> None:
        start, store = period_start(self.period, self.moment('start')), self.server.usage
        end = next_period_start(self.period, start)
        periods = await read_usage_of_periods(
            store, PARTS[self.period], list(period_starts_between(PARTS[self.period], start, end))
        )
        summary = await store.usage(self.period, [start])
        if _calls(summary) > _calls(periods):  # the parts are not kept for as long
            periods = summary
        self.response.payload = self.top(self.rows(periods, min(end, time()) - start))


class GetSummaryByDay(_PeriodReport):
    """Return the `n` services with the highest `n_type` (mean or usage) of the day that contains `start`."""

    name = 'zato.stats.summary.get-summary-by-day'
    SimpleIO = _PeriodInput
    period = DAY


class GetSummaryByWeek(_PeriodReport):
    """Return the `n` services with the highest `n_type` (mean or usage) of the week that contains `start`."""

    name = 'zato.stats.summary.get-summary-by-week'
    SimpleIO = _PeriodInput
    period = WEEK


class GetSummaryByMonth(_PeriodReport):
    """Return the `n` services with the highest `n_type` (mean or usage) of the month that contains `start`."""

    name = 'zato.stats.summary.get-summary-by-month'
    SimpleIO = _PeriodInput
    period = MONTH


class GetSummaryByYear(_PeriodReport):
    """Return the `n` services with the highest `n_type` (mean or usage) of the year that contains `start`."""

    name = 'zato.stats.summary.get-summary-by-year'
    SimpleIO = _PeriodInput
    period = YEAR


class GetByService(StatisticsService):
    """Return the usage of one service between start and stop, with its trends, and the totals since the cluster was
    created."""

    name = 'zato.stats.get-by-service'

    class SimpleIO:
        input_required = (Int('service_id'), Text('start'), Text('stop'))
        input_optional = (Int('n'), Text('n_type'), 'cluster_id')

    async def handle(self) -> None:
        stored = self.server.config.snapshot.get(self.request.input.service_id)
        if stored is None or stored.type != 'service':
            raise NotFound(self.cid, f'No service has the id {self.request.input.service_id}')
        start, stop = self.range()
        period = suitable_period_length(start, stop, time())
        starts = list(period_starts_between(period, start, stop))
        periods = await read_usage_of_periods(self.server.usage, period, starts)
        rows = self.rows(periods, min(next_period_start(period, starts[-1]), time()) - starts[0])
        found = next((row for row in rows if row['service_name'] == stored.name), {'service_name': stored.name})
        _, totals = await self.server.usage.totals()
        total = totals.get(stored.name, NO_USAGE)
        self.response.payload = {
            **found, 'usage_all_time': total.calls, 'errors_all_time': total.errors,
            'mean_all_time': round(mean_time(total), 2),
            'min_all_time': shortest_duration_bound(LATENCY_BUCKETS, total.buckets) * 1000,
            'max_all_time': estimate_percentile(LATENCY_BUCKETS, total.buckets, 1.0) * 1000,
        }  # fmt: skip


class Delete(StatisticsService):
    """Delete the statistics of the minutes, hours, days, weeks, months and years that lie between start and stop. The
    totals are kept."""

    name = 'zato.stats.delete'

    class SimpleIO:
        input_required = (Text('start'), Text('stop'))
        input_optional = ('cluster_id',)

    async def handle(self) -> None:
        start, stop = self.range()
        deleted = 0
        for period in (MINUTE, HOUR, DAY, WEEK, MONTH, YEAR):
            begin = max(start, time() - RETENTION[period] - 86_400)
            whole = [one for one in period_starts_between(period, begin, stop)
                     if one >= start and next_period_start(period, one) <= stop]  # fmt: skip
            deleted += await self.server.usage.delete(period, whole)
        self.logger.info('%s deleted the statistics from %s to %s', self.actor.username, _date(start), _date(stop))
        self.response.payload = {'deleted': deleted}


def _calls(periods: Sequence[UsageByService]) -> int:
    return sum(one.calls for usage in periods for one in usage.values())


def _date(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat()


SERVICES = (
    GetTrends, GetSummaryByRange, GetSummaryByDay, GetSummaryByWeek, GetSummaryByMonth, GetSummaryByYear, GetByService,
    Delete,
)  # fmt: skip
