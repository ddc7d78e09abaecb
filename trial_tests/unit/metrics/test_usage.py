"""Recording the usage of services, and summing it over periods."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from zatotx.metrics.counters import CallCounters
from zatotx.metrics.definitions import OVERFLOW_LABEL
from zatotx.metrics.usage_aggregation import (
    RECOMPUTED,
    add_minutes_to_totals,
    aggregate_minutes,
    aggregate_period,
    summarize_current_and_previous,
)
from zatotx.metrics.usage_recorder import INTERVAL, MAX_MINUTES, UsageRecorder
from zatotx.model.errors import ServiceUnavailable
from zatotx.model.service_usage import ServiceUsage
from zatotx.rules.statistics.calendar_periods import DAY, HOUR, MINUTE, MONTH, WEEK, YEAR
from zatotx.testing.memory_usage_store import MemoryUsageStore

START = 1_796_083_200  # 2026-12-01 00:00:00, a Tuesday


class RecorderTests(SynchronousTestCase):
    """On a clock of the test."""

    def setUp(self) -> None:
        self.clock, self.store = Clock(), MemoryUsageStore()
        self.clock.rightNow = START + 50.0
        self.crm, self.overflow = CallCounters(), CallCounters()
        self.services = [('crm', self.crm), ('x', self.overflow), ('y', self.overflow)]
        self.crm.observe(0.2)
        self.recorder = UsageRecorder(clock=self.clock, now=self.clock.seconds, source='a', store=self.store,
                                      services=lambda: self.services, overflow=self.overflow)  # fmt: skip
        self.recorder.start()

    def calls(self, *minutes: int) -> list[dict[str, int]]:
        """Return the recorded calls of minutes after START, by service."""
        recorded = self.successResultOf(self.store.recorded([START + 60 * minute for minute in minutes]))
        return [{name: usage.calls for name, usage in minute.items()} for minute in recorded]

    def test_minutes(self) -> None:
        """Calls count in the minute in which they end; those before the start do not. Services that share their
        counters are one."""
        self.crm.observe(0.2)
        self.crm.count_error('Timeout')
        self.clock.advance(10)  # the end of the minute
        self.crm.observe(0.4)
        self.overflow.observe(0.1)
        self.clock.advance(INTERVAL)
        self.crm.observe(0.4)
        self.clock.advance(INTERVAL)
        self.assertEqual(self.calls(0, 1), [{'crm': 1}, {'crm': 2, OVERFLOW_LABEL: 1}])
        (minute,) = self.successResultOf(self.store.recorded([START]))
        self.assertEqual((minute['crm'].errors, minute['crm'].seconds), (1, 0.2))
        self.assertEqual(sum(minute['crm'].buckets), 1)

    def test_stop(self) -> None:
        """What was counted since the last time is stored at the end."""
        self.crm.observe(0.2)
        self.successResultOf(self.recorder.stop())
        self.assertEqual(self.calls(0), [{'crm': 1}])
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.successResultOf(self.recorder.stop())

    def test_redis_away(self) -> None:
        """While Redis is away, the last minutes wait."""
        self.store.problem = ServiceUnavailable(None, 'Redis is away')
        for _ in range(MAX_MINUTES + 5):
            self.crm.observe(0.2)
            self.clock.pump([INTERVAL] * 4)
        self.store.problem = None
        self.clock.advance(INTERVAL)
        minutes = self.calls(*range(MAX_MINUTES + 6))
        self.assertEqual([minute for minute, calls in enumerate(minutes) if calls],
                         [*range(5, MAX_MINUTES + 5)])  # fmt: skip


class AggregationTests(SynchronousTestCase):
    """In memory."""

    def setUp(self) -> None:
        self.store = MemoryUsageStore()

    def calls(self, period: str, start: int) -> int:
        """Return the stored calls of `crm`."""
        (usage,) = self.successResultOf(self.store.usage(period, [start]))
        return usage['crm'].calls if usage else 0

    def run_step(self, step: object) -> int:
        """Return the result of a coroutine."""
        result: int = self.successResultOf(Deferred.fromCoroutine(step))  # type: ignore[arg-type]
        return result

    def test_levels(self) -> None:
        """Minutes are summed by hour, hours by day, days by week and month, months by year; repeating a sum changes
        nothing."""
        now = START + 3600.0 * 5
        for at in range(7200, 5 * 3600, 600):
            self.successResultOf(self.store.store(MINUTE, {START + at: {'crm': ServiceUsage(1)}}))
        for _ in range(2):
            self.run_step(aggregate_period(self.store, HOUR, now))
            self.run_step(aggregate_period(self.store, DAY, now))
            self.run_step(aggregate_period(self.store, MONTH, now))
            self.run_step(summarize_current_and_previous(self.store, WEEK, now))
            self.run_step(summarize_current_and_previous(self.store, YEAR, now))
        self.assertEqual([self.calls(HOUR, START + 3600 * hour) for hour in range(5)], [0, 0, 6, 6, 6])
        self.assertEqual(self.calls(DAY, START), 18)
        self.assertEqual(self.calls(MONTH, START), 18)
        self.assertEqual(self.calls(WEEK, START - 86_400), 18)
        self.assertEqual(self.calls(YEAR, 1_767_225_600), 18)

    def test_minutes(self) -> None:
        """A minute is summed when it has settled, again while late records may arrive, and later only if it is
        missing."""
        usage = {'crm': ServiceUsage(1)}
        self.successResultOf(self.store.record('a', {START: usage}))
        self.assertEqual(self.run_step(aggregate_minutes(self.store, START + 110.0)), 0)
        self.assertEqual(self.run_step(aggregate_minutes(self.store, START + 120.0)), 1)
        self.successResultOf(self.store.record('b', {START: usage}))
        self.run_step(aggregate_minutes(self.store, START + 200.0))
        self.assertEqual(self.calls(MINUTE, START), 2)
        self.successResultOf(self.store.record('c', {START: usage, START + 60: usage}))
        self.run_step(aggregate_minutes(self.store, START + 1000.0))
        self.assertEqual((self.calls(MINUTE, START), self.calls(MINUTE, START + 60)), (2, 1))

    def test_totals(self) -> None:
        """Each minute is added to the totals once, in batches."""
        usage = {'crm': ServiceUsage(1)}
        self.successResultOf(self.store.store(MINUTE, {START + 60 * minute: usage for minute in range(30)}))
        now = START + 1800.0 + RECOMPUTED
        self.run_step(add_minutes_to_totals(self.store, now, 1440))
        self.run_step(add_minutes_to_totals(self.store, now, 1440))
        self.run_step(add_minutes_to_totals(self.store, now, 1440))
        until, totals = self.successResultOf(self.store.totals())
        self.assertEqual((until, totals['crm'].calls), (START + 1800, 30))
