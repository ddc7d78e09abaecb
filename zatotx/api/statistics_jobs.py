"""The services zato.stats.process-raw-times, zato.stats.aggregate-by-* and zato.stats.summary.create-summary-by-*,
which aggregate usage statistics on a schedule. Their jobs exist in every new cluster."""

from __future__ import annotations

from time import time
from typing import ClassVar

import msgspec

from zatotx.api.admin_service import AdminService, bad_field_error
from zatotx.metrics.usage_aggregation import (
    add_minutes_to_totals,
    aggregate_minutes,
    aggregate_period,
    summarize_current_and_previous,
)
from zatotx.rules.statistics.calendar_periods import DAY, HOUR, MONTH, WEEK, YEAR

_OPTION = 'max_batch_size'  # in the text of the job, as in Zato
MAX_BATCH_SIZE = 99_999


class ProcessRawTimes(AdminService):
    """Add the usage of each completed minute to the totals of each service. At most `max_batch_size` minutes are
    processed per run."""

    name = 'zato.stats.process-raw-times'

    async def handle(self) -> None:
        most = _batch_size(self.request.raw_request)
        self.response.payload = {'minutes': await add_minutes_to_totals(self.server.usage, time(), most)}


class AggregateByMinute(AdminService):
    """Sum the counts of all processes by minute. A minute is complete two minutes after it has ended."""

    name = 'zato.stats.aggregate-by-minute'

    async def handle(self) -> None:
        self.response.payload = {'periods': await aggregate_minutes(self.server.usage, time())}


class _Aggregate(AdminService):
    zato_dont_import = True
    period: ClassVar[str]

    async def handle(self) -> None:
        self.response.payload = {'periods': await aggregate_period(self.server.usage, self.period, time())}


class AggregateByHour(_Aggregate):
    """Sum the usage of services by hour."""

    name = 'zato.stats.aggregate-by-hour'
    period = HOUR


class AggregateByDay(_Aggregate):
    """Sum the usage of services by day."""

    name = 'zato.stats.aggregate-by-day'
    period = DAY


class AggregateByMonth(_Aggregate):
    """Sum the usage of services by month."""

    name = 'zato.stats.aggregate-by-month'
    period = MONTH


class _Summarize(AdminService):
    zato_dont_import = True
    period: ClassVar[str]

    async def handle(self) -> None:
        self.response.payload = {
            'periods': await summarize_current_and_previous(self.server.usage, self.period, time())
        }


class CreateSummaryByDay(_Summarize):
    """Sum the usage of services for today and yesterday."""

    name = 'zato.stats.summary.create-summary-by-day'
    period = DAY


class CreateSummaryByWeek(_Summarize):
    """Sum the usage of services for the current and the previous week."""

    name = 'zato.stats.summary.create-summary-by-week'
    period = WEEK


class CreateSummaryByMonth(_Summarize):
    """Sum the usage of services for the current and the previous month."""

    name = 'zato.stats.summary.create-summary-by-month'
    period = MONTH


class CreateSummaryByYear(_Summarize):
    """Sum the usage of services for the current and the previous year."""

    name = 'zato.stats.summary.create-summary-by-year'
    period = YEAR


def _batch_size(text: object) -> int:
    """Return the option max_batch_size of a job's text, which is `max_batch_size=99999` in Zato. Raises BadInput."""
    raw = text.decode('utf-8', 'replace') if isinstance(text, bytes) else str(text or '')
    for line in raw.splitlines():
        key, _, value = line.partition('=')
        if key.strip() == _OPTION:
            try:
                return msgspec.convert(int(value), type=int)
            except ValueError:
                raise bad_field_error(_OPTION, f'must be a whole number, not {value.strip()!r}') from None
    return MAX_BATCH_SIZE


SERVICES = (
    ProcessRawTimes, AggregateByMinute, AggregateByHour, AggregateByDay, AggregateByMonth, CreateSummaryByDay,
    CreateSummaryByWeek, CreateSummaryByMonth, CreateSummaryByYear,
)  # fmt: skip
