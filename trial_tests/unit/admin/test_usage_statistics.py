"""Statistics over time: reports, charts and their screens, over rows as the servers make them."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from twisted.trial.unittest import SynchronousTestCase

from trial_tests.unit.admin.test_application import ApplicationTestCase
from zatotx.admin.charts import HEIGHT, WIDTH, format_value, make_chart, nice_ceiling, sparkline
from zatotx.admin.preferences import Preferences
from zatotx.admin.screens.usage_statistics import heading_of
from zatotx.admin.usage_report import make_report, period_labels
from zatotx.model.service_usage import ServiceUsage, UsageByService
from zatotx.rules.statistics.calendar_periods import DAY, HOUR, MINUTE, MONTH, WEEK, YEAR, period_start
from zatotx.rules.statistics.usage_rows import make_usage_rows

NOW = 1_796_000_400.0  # 2026-11-30 01:00 UTC
BOUNDS = (0.01, 0.1, 1.0)


def usage(calls: int, seconds: float, errors: int = 0) -> ServiceUsage:
    return ServiceUsage(calls=calls, errors=errors, seconds=seconds, buckets=(0, calls, 0, 0))


PERIODS: list[UsageByService] = [
    {'crm.get': usage(10, 1.0), 'crm.slow': usage(1, 5.0)}, {}, {'crm.get': usage(30, 1.0, errors=2)},
]  # fmt: skip


def rows(periods: list[UsageByService] | None = None) -> list[dict[str, Any]]:
    """Rows as zato.stats.trends.get-trends has them."""
    return make_usage_rows(PERIODS if periods is None else periods, seconds=180, bounds=BOUNDS)


class ChartTests(SynchronousTestCase):
    def test_scale(self) -> None:
        """The axis ends at a round number, and the marks lie within it in the order of time."""
        self.assertEqual([nice_ceiling(value) for value in (0, 1, 3, 41, 0.07, 9)], [1, 1, 4, 50, 0.08, 10])
        chart = make_chart('Calls', 'calls', ['a', 'b', 'c'], [0, 41, 20])
        self.assertEqual([mark.height for mark in chart.marks], [0, 147.6, 72])
        self.assertEqual([round(mark.y + mark.height) for mark in chart.marks], [HEIGHT] * 3)
        self.assertLess(chart.marks[2].x + chart.marks[2].width, WIDTH)
        self.assertEqual((chart.ticks[0], chart.ticks[-1]), ((HEIGHT, '0'), (0, '50')))
        for top, texts in ((1, '0 1'), (5, '0 1 2 3 4 5'), (8, '0 2 4 6 8'), (10, '0 2 4 6 8 10')):
            ticks = make_chart('Calls', 'calls', ['a'], [top]).ticks
            self.assertEqual(' '.join(text for _, text in ticks), texts)

    def test_in_words(self) -> None:
        """The summary says what the picture shows."""
        chart = make_chart('Calls', 'calls', ['10:00', '10:01', '10:02'], [1, 1500, 2])
        self.assertEqual(chart.summary,
                         'Calls from 10:00 to 10:02: at most 1,500 calls at 10:01, at the end 2 calls.')
        self.assertIn('nothing', make_chart('Calls', 'calls', ['a'], [0]).summary)
        self.assertIn('nothing', make_chart('Calls', 'calls', [], []).summary)

    def test_labels(self) -> None:
        """A long axis has only some labels, which do not overlap."""
        chart = make_chart('Calls', 'calls', [str(number) for number in range(60)], [1.0] * 60)
        self.assertEqual([text for _, text in chart.labels], ['0', '8', '16', '24', '32', '40', '48', '56'])
        self.assertEqual([format_value(value) for value in (0, 0.1234, 12.5, 1250, 25_300_000)],
                         ['0', '0.123', '12.5', '1,250', '25.3 M'])
        self.assertEqual(sparkline([0, 2, 1]), '0,20 50,1 100,10.5')
        self.assertEqual(sparkline([]), '')


class ReportTests(SynchronousTestCase):
    def test_services(self) -> None:
        """The slowest and the most used services come first, with their change."""
        before = rows([{'crm.get': usage(20, 1.0)}])
        report = make_report(rows(), before, ['a', 'b', 'c'])
        self.assertEqual([one.row['service_name'] for one in report.slowest], ['crm.slow', 'crm.get'])
        self.assertEqual([one.row['service_name'] for one in report.most_used], ['crm.get', 'crm.slow'])
        self.assertEqual([one.usage_change for one in report.most_used], ['+100 %', ''])
        self.assertEqual((report.calls, report.errors, report.mean), (41, 2, 170.73))

    def test_charts(self) -> None:
        """The charts have the calls of all services in each period, and their mean over calls, not over services."""
        report = make_report(rows(), [], ['a', 'b', 'c'])
        self.assertEqual([mark.text for mark in report.usage_chart.marks], ['11', '0', '30'])
        self.assertEqual([mark.text for mark in report.mean_chart.marks], ['545', '0', '33.3'])
        empty = make_report([], [], ['a', 'b'])
        self.assertEqual((empty.calls, [mark.text for mark in empty.usage_chart.marks]), (0, ['0', '0']))

    def test_labels(self) -> None:
        """Minutes and hours are in the zone of the user; days and months are those of UTC, as they are summed."""
        tokyo = Preferences('Asia/Tokyo')
        self.assertEqual(period_labels(MINUTE, NOW, NOW + 120, tokyo), ['10:00', '10:01'])
        self.assertEqual(period_labels(HOUR, NOW, NOW + 1, tokyo), ['10:00'])
        self.assertEqual(period_labels(DAY, NOW, NOW + 86_400, tokyo), ['30 Nov', '01 Dec'])
        self.assertEqual(period_labels(MONTH, NOW, NOW + 86_400, tokyo), ['Nov 2026', 'Dec 2026'])
        headings = [heading_of(period, period_start(period, NOW)) for period in (DAY, WEEK, MONTH, YEAR)]
        self.assertEqual(headings, ['Monday, 30 November 2026', 'Week 49 of 2026, from 30 November', 'November 2026',
                                    '2026'])  # fmt: skip


class StatisticsScreenTests(ApplicationTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.clock.advance(NOW)
        self.log_in()
        for name in ('trends.get-trends', *(f'summary.get-summary-by-{period}' for period in (DAY, WEEK, MONTH, YEAR))):
            self.api.answers[f'zato.stats.{name}'] = rows()
        self.api.answers['zato.service.get-list'] = [{'id': 7, 'name': 'crm.get'}]
        self.api.answers['zato.service.get-by-id'] = {'id': 7, 'name': 'crm.get', 'is_active': True}

    def asked(self, service: str) -> list[Mapping[str, Any]]:
        return self.api.called(f'zato.stats.{service}')

    def test_trends(self) -> None:
        """The last hour by default; the page has the services, the charts in words, and their values as a table."""
        page = self.get('/statistics/trends').body
        (payload,) = self.asked('trends.get-trends')
        self.assertEqual((payload['start'], payload['stop'], payload['internal']),
                         ('2026-11-30T00:00:00+00:00', '2026-11-30T01:00:00+00:00', False))
        for expected in ('Slowest services', 'href="/services/7/statistics"', 'role="img" aria-label="Calls from 00:00',
                         '<td>00:02</td><td>30 calls</td>', 'aria-current="true">Last hour'):
            self.assertIn(expected, page)

    def test_ranges(self) -> None:
        """A range is chosen, or typed in the zone of the user, and compared to the one before on demand."""
        self.api.settings['time_zone'] = 'Europe/Warsaw'
        self.clock.advance(60)
        self.get('/statistics/trends?range=day&internal=1')
        self.assertEqual(self.asked('trends.get-trends')[-1]['internal'], True)
        page = self.get('/statistics/trends?start=2026-11-29T10:00&stop=2026-11-29T12:00&compare=1').body
        self.assertEqual([payload['start'] for payload in self.asked('trends.get-trends')[-2:]],
                         ['2026-11-29T09:00:00+00:00', '2026-11-29T07:00:00+00:00'])
        self.assertIn('value="2026-11-29T10:00"', page)
        self.assertIn('+0 %', page)
        for query in ('start=2026-11-29T10:00', 'start=x&stop=y', f'start={quote("2026-11-29T10:00")}&stop=2026-11-29'):
            self.assertEqual(self.get(f'/statistics/trends?{query}').code, 400, query)
        self.assertEqual(self.get('/statistics/trends?range=century').code, 404)

    def test_summaries(self) -> None:
        """Each calendar period has its page, with links to the one before, and to the next one unless that is to
        come."""
        for period, start, previous in ((DAY, '2026-11-30', '2026-11-29'), (WEEK, '2026-11-30', '2026-11-23'),
                                        (MONTH, '2026-11-01', '2026-10-01'), (YEAR, '2026-01-01', '2025-01-01')):
            page = self.get(f'/statistics/summary/{period}').body
            found = [payload['start'][:10] for payload in self.asked(f'summary.get-summary-by-{period}')]
            self.assertEqual(found, [start, previous])
            self.assertIn(f'/statistics/summary/{period}?start={previous}', page)
            self.assertNotIn('rel="next"', page)
        self.assertIn('rel="next"', self.get('/statistics/summary/day?start=2026-11-01').body)
        self.assertEqual(self.get('/statistics/summary/decade').code, 404)
        self.assertEqual(self.get('/statistics/summary/day?start=x').code, 400)

    def test_csv(self) -> None:
        """The same figures as a file."""
        for path in ('/statistics/trends/csv?range=day', '/statistics/summary/day/csv'):
            found = list(csv.DictReader(io.StringIO(self.get(path).body)))
            self.assertEqual([(row['service_name'], row['usage']) for row in found],
                             [('crm.get', '40'), ('crm.slow', '1')])
            self.assertNotIn('usage_trend', found[0])

    def test_one_service(self) -> None:
        """A service has its charts, also if it was not called."""
        totals = {'usage_all_time': 400, 'errors_all_time': 3, 'mean_all_time': 1.5, 'min_all_time': 0,
                  'max_all_time': 100}  # fmt: skip
        (row, _) = rows()
        self.api.answers['zato.stats.get-by-service'] = {**row, **totals}
        page = self.get('/services/7/statistics').body
        self.assertIn('<dd>400</dd>', page)
        self.assertIn('at most 30 calls', page)
        self.api.answers['zato.stats.get-by-service'] = {'service_name': 'crm.get', **totals}
        self.assertIn('Calls: nothing in this time.', self.get('/services/7/statistics?range=week').body)

    def test_maintenance(self) -> None:
        """Statistics are deleted after a confirmation that names the range."""
        self.api.answers['zato.stats.delete'] = {'deleted': 12}
        form = {'start': '2026-01-01T00:00', 'stop': '2026-02-01T00:00'}
        page = self.post('/statistics/maintenance', form).body
        self.assertIn('2026-01-01 00:00:00', page)
        self.assertEqual(self.asked('delete'), [])
        self.location(self.post('/statistics/maintenance', {**form, 'confirmed': 'yes'}))
        self.assertEqual(self.asked('delete'),
                         [{'start': '2026-01-01T00:00:00+00:00', 'stop': '2026-02-01T00:00:00+00:00'}])
        response = self.post('/statistics/maintenance', {'start': '2026-02-01T00:00', 'stop': '2026-01-01T00:00'})
        self.assertEqual(response.code, 400)
        self.assertIn('value="2026-02-01T00:00"', response.body)
