"""Statistics of services: usage, periods, rows."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from zatotx.model.service_usage import ServiceUsage, merge_usage
from zatotx.rules.statistics.calendar_periods import (
    DAY,
    HOUR,
    MINUTE,
    MONTH,
    PARTS,
    WEEK,
    YEAR,
    next_period_start,
    period_start,
    period_starts_between,
    suitable_period_length,
)
from zatotx.rules.statistics.usage_rows import MEAN, USAGE, estimate_percentile, highest_usage_rows, make_usage_rows

BOUNDS = (0.01, 0.1)


def at(text: str) -> int:
    """Return unix time."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


class UsageTests(SynchronousTestCase):
    def test_since(self) -> None:
        """The difference of two states of counters; counters that began anew count as a whole."""
        earlier, later = ServiceUsage(2, 1, 0.5, (1, 1)), ServiceUsage(5, 1, 1.5, (1, 4))
        self.assertEqual(later.since(earlier), ServiceUsage(3, 0, 1.0, (0, 3)))
        self.assertEqual(earlier.since(later), earlier)

    def test_merge(self) -> None:
        """Usage is added by service, also that of another version with more buckets."""
        merged = merge_usage([{'a': ServiceUsage(1, 0, 1.0, (1,))}, {'a': ServiceUsage(2, 1, 1.0, (1, 1))}, {}])
        self.assertEqual(merged, {'a': ServiceUsage(3, 1, 2.0, (2, 1))})


class PeriodTests(SynchronousTestCase):
    def test_starts(self) -> None:
        """Periods begin with the calendar, in UTC; weeks on Mondays."""
        moment = at('2026-12-31 23:59:59') + 0.9
        starts = {MINUTE: '2026-12-31 23:59', HOUR: '2026-12-31 23:00', DAY: '2026-12-31', WEEK: '2026-12-28',
                  MONTH: '2026-12-01', YEAR: '2026-01-01'}  # fmt: skip
        for period, start in starts.items():
            self.assertEqual(period_start(period, moment), at(start), period)
        self.assertEqual(next_period_start(MONTH, at('2026-12-01')), at('2027-01-01'))
        self.assertEqual(next_period_start(MONTH, at('2028-02-01')), at('2028-03-01'))
        self.assertEqual(next_period_start(YEAR, at('2028-01-01')), at('2029-01-01'))

    @given(st.floats(0, 4e9), st.sampled_from([MINUTE, HOUR, DAY, WEEK, MONTH, YEAR]))
    def test_every_moment_is_in_one_period(self, moment: float, period: str) -> None:
        """A period contains its moment, and its parts fill it without gaps."""
        start = period_start(period, moment)
        end = next_period_start(period, start)
        self.assertTrue(start <= moment < end)
        self.assertEqual(period_start(period, start), start)
        self.assertEqual(period_start(period, end - 1), start)
        if period in PARTS:
            parts = list(period_starts_between(PARTS[period], start, end))
            self.assertEqual((parts[0], next_period_start(PARTS[period], parts[-1])), (start, end))

    def test_suitable(self) -> None:
        """A short range is shown by minutes as long as they are kept."""
        now = at('2026-11-30')
        self.assertEqual(suitable_period_length(now - 3600, now, now), MINUTE)
        self.assertEqual(suitable_period_length(now - 3 * 86_400, now - 3 * 86_400 + 3600, now), HOUR)
        self.assertEqual(suitable_period_length(now - 7 * 86_400, now, now), DAY)
        self.assertEqual(suitable_period_length(now - 365 * 86_400, now, now), MONTH)


class RowTests(SynchronousTestCase):
    def test_rows(self) -> None:
        """Rows have Zato's fields, in milliseconds, with the shares of all services and a trend."""
        first = {'a': ServiceUsage(3, 1, 0.06, (1, 2, 0)), 'zato.ping': ServiceUsage(1, 0, 0.2, (0, 0, 1))}
        second = {'a': ServiceUsage(1, 0, 0.08, (0, 1, 0)), 'b': ServiceUsage(0, 0, 0.0, (0, 0, 0))}
        a, ping = make_usage_rows([first, second], seconds=120.0, bounds=BOUNDS)
        self.assertEqual(a, {
            'service_name': 'a', 'usage': 4, 'errors': 1, 'mean': 35.0, 'time': 140.0, 'rate': 0.0333,
            'min_resp_time': 0.0, 'max_resp_time': 100.0, 'percentile': 100.0, 'usage_trend': '3,1',
            'mean_trend': '20,80', 'all_services_usage': 5, 'all_services_time': 340.0, 'mean_all_services': 68.0,
            'usage_perc_all_services': 80.0, 'time_perc_all_services': 41.18,
        })  # fmt: skip
        self.assertEqual((ping['usage_trend'], ping['min_resp_time']), ('1,0', 100.0))
        rows = make_usage_rows([first, second], seconds=120.0, bounds=BOUNDS, with_internal=False)
        self.assertEqual([(row['service_name'], row['usage_perc_all_services']) for row in rows], [('a', 100.0)])
        self.assertEqual([row['service_name'] for row in highest_usage_rows([a, ping], 2, MEAN)], ['zato.ping', 'a'])
        self.assertEqual(highest_usage_rows([a, ping], 1, USAGE), [a])

    def test_percentile(self) -> None:
        """The upper bound of the bucket, the largest bound for the last one."""
        estimates = [estimate_percentile((1.0, 2.0), counts, 0.95) for counts in ([0, 0, 5], [0, 0, 0], [9, 1, 0])]
        self.assertEqual(estimates, [2.0, 0.0, 2.0])
