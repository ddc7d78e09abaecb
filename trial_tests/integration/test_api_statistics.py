"""zato.stats.*: the jobs that sum the usage of services, and what is shown of it."""

from __future__ import annotations

from datetime import UTC, datetime
from time import time
from typing import Any

from trial_tests.support.internals import InternalTestCase
from zatotx.metrics.counters import LATENCY_BUCKETS
from zatotx.model.service_usage import ServiceUsage
from zatotx.rules.statistics.calendar_periods import DAY, HOUR, MINUTE, period_start

BUCKETS = tuple(int(bound == 0.5) for bound in (*LATENCY_BUCKETS, 0))


def text(moment: float) -> str:
    """Return a time as Zato writes it."""
    return datetime.fromtimestamp(moment, UTC).strftime('%Y-%m-%d %H:%M:%S')


class StatisticsTests(InternalTestCase):
    """On two nodes in memory."""

    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.now = time()
        self.minute = period_start(MINUTE, self.now - 1200)
        usage = {'crm.get-balance': ServiceUsage(2, 1, 1.0, BUCKETS), 'zato.ping': ServiceUsage(3, 0, 0.3, BUCKETS)}
        for source in ('one', 'two'):
            await self.one.usage.record(source, {self.minute: usage})

    async def run_jobs(self) -> None:
        """Run the jobs, in their order."""
        for name in ('aggregate-by-minute', 'process-raw-times', 'aggregate-by-hour', 'aggregate-by-day',
                     'aggregate-by-month', *(f'summary.create-summary-by-{one}' for one in
                                             ('day', 'week', 'month', 'year'))):  # fmt: skip
            await self.call(f'zato.stats.{name}')

    async def test_reports(self) -> None:
        """What two processes recorded is in the trends and in all summaries, and in the totals."""
        await self.run_jobs()
        request: dict[str, Any] = {'start': text(self.now - 3000), 'stop': text(self.now), 'n': '1'}
        (row,) = await self.call('zato.stats.trends.get-trends', request)
        self.assertEqual((row['service_name'], row['usage']), ('crm.get-balance', 4))
        self.assertEqual((row['errors'], row['mean']), (2, 500.0))
        self.assertEqual(sum(map(int, row['usage_trend'].split(','))), 4)
        self.assertIn(len(row['usage_trend'].split(',')), (50, 51))
        (row,) = await self.call('zato.stats.summary.get-summary-by-range', {**request, 'n_type': 'usage'})
        self.assertEqual((row['service_name'], row['usage']), ('zato.ping', 6))
        for period in ('day', 'week', 'month', 'year'):
            rows = await self.call(f'zato.stats.summary.get-summary-by-{period}',
                                   {'start': text(self.minute), 'internal': False})  # fmt: skip
            self.assertEqual([(row['service_name'], row['usage']) for row in rows], [('crm.get-balance', 4)], period)
        await self.with_crm()
        service = self.one.config.snapshot.find('service', 'crm.get-balance')
        assert service is not None
        row = await self.call('zato.stats.get-by-service', {**request, 'service_id': service.id})
        self.assertEqual((row['usage'], row['usage_all_time'], row['max_all_time']), (4, 4, 500.0))

    async def test_delete(self) -> None:
        """Deleting removes the periods within a range, and nothing else."""
        await self.run_jobs()
        found = await self.call('zato.stats.delete', {'start': text(self.minute), 'stop': text(self.minute + 60)})
        self.assertEqual(found, {'deleted': 1})
        self.assertEqual(await self.one.usage.stored(MINUTE, [self.minute]), [False])
        self.assertEqual(await self.one.usage.stored(HOUR, [period_start(HOUR, self.minute)]), [True])
        day = period_start(DAY, self.minute)
        await self.call('zato.stats.delete', {'start': text(day), 'stop': text(day + 86_400)})
        rows = await self.call('zato.stats.summary.get-summary-by-day', {'start': text(day)})
        self.assertEqual(rows, [])

    async def test_mistakes(self) -> None:
        """Wrong dates and options are named."""
        for service, request, expected in (
            ('trends.get-trends', {'start': 'x', 'stop': '2026-01-01'}, '$.start: expected a date'),
            ('trends.get-trends', {'start': '2026-01-02', 'stop': '2026-01-01'}, '$.stop: must be later'),
            ('summary.get-summary-by-day', {'start': '2026-01-01', 'n': 0}, '$.n'),
            ('summary.get-summary-by-day', {'start': '2026-01-01', 'n_type': 'x'}, '$.n_type: must be mean or usage'),
            ('delete', {'start': '1000-01-01', 'stop': '2026-01-01'}, '$.start'),
        ):
            self.assertIn(expected, await self.refusal(f'zato.stats.{service}', request, 400))
