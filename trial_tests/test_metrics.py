"""Counters and the Prometheus text made of them."""

from __future__ import annotations

import os
import sys

from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import SynchronousTestCase, TestCase

from zatotx.metrics.collector import Sources, render
from zatotx.metrics.slots import Histogram, ServiceSlots


class HttpCounts:
    accepted = 5
    open = 2
    requests = 40
    refused = 3
    gone = 1
    answers = [0, 0, 30, 0, 9, 1]


def samples(sources: Sources) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    found = text_string_to_metric_families(render(sources).decode())
    return {(s.name, frozenset(s.labels.items())): s.value for family in found for s in family.samples}


class SlotsTests(SynchronousTestCase):
    def test_histogram(self) -> None:
        """A duration counts in the first bucket whose bound is at least it, the longest in the last one."""
        histogram = Histogram((0.1, 1.0))
        for seconds in (0.05, 0.1, 0.5, 1.0, 7.0):
            histogram.observe(seconds)
        self.assertEqual(histogram.buckets, [2, 2, 1])
        self.assertEqual(histogram.count, 5)
        self.assertAlmostEqual(histogram.sum, 8.65)

    def test_service(self) -> None:
        """Every observed call counts, errors are counted beside and by kind."""
        slots = ServiceSlots()
        for kind in ('', 'Timeout', 'BadInput', 'Timeout'):
            slots.observe(0.01)
            if kind:
                slots.failed(kind)
        self.assertEqual((slots.calls, slots.errors, slots.kinds), (4, 3, {'Timeout': 2, 'BadInput': 1}))

    def test_no_other_attributes(self) -> None:
        """A misspelt counter is an error, not a new one."""
        with self.assertRaises(AttributeError):
            ServiceSlots().call = 1  # type: ignore[attr-defined]


class RenderTests(SynchronousTestCase):
    def test_services(self) -> None:
        """Each service has its calls, its errors (0 too) and its durations, by its name."""
        busy, idle = ServiceSlots(), ServiceSlots()
        busy.observe(0.004)
        busy.observe(40.0)
        busy.failed('Timeout')
        busy.in_flight = 3
        name = 'crm."odd"\n\\name'
        got = samples(Sources(services=lambda: [(name, busy), ('idle', idle)]))
        service = frozenset({('service', name)})
        self.assertEqual(got['zatotx_service_calls_total', service], 2)
        self.assertEqual(got['zatotx_service_errors_total', service], 1)
        self.assertEqual(got['zatotx_service_in_flight', service], 3)
        self.assertEqual(got['zatotx_service_duration_seconds_bucket', service | {('le', '0.005')}], 1)
        self.assertEqual(got['zatotx_service_duration_seconds_bucket', service | {('le', '0.0025')}], 0)
        self.assertEqual(got['zatotx_service_duration_seconds_bucket', service | {('le', '+Inf')}], 2)
        self.assertEqual(got['zatotx_service_duration_seconds_count', service], 2)
        self.assertAlmostEqual(got['zatotx_service_duration_seconds_sum', service], 40.004)
        self.assertEqual(got['zatotx_service_errors_total', frozenset({('service', 'idle')})], 0)

    def test_everything_else(self) -> None:
        """HTTP, stalls, lost lines, revision, Redis, the build and the process are there where they are given."""
        stalls = Histogram((0.1,))
        stalls.observe(0.3)
        got = samples(
            Sources(
                services=list,
                build={'version': '0.1', 'node': 'server1'},
                http=HttpCounts(),
                stalls=stalls,
                lines_lost=lambda: 4,
                revision=lambda: 17,
                redis_up=lambda: False,
            )
        )
        none: frozenset[tuple[str, str]] = frozenset()
        self.assertEqual(got['zatotx_http_requests_total', none], 40)
        self.assertEqual(got['zatotx_http_connections_open', none], 2)
        self.assertEqual(got['zatotx_http_answers_total', frozenset({('status', '4xx')})], 9)
        self.assertEqual(got['zatotx_reactor_stall_seconds_bucket', frozenset({('le', '0.1')})], 0)
        self.assertEqual(got['zatotx_reactor_stall_seconds_count', none], 1)
        self.assertEqual(got['zatotx_log_lines_lost_total', none], 4)
        self.assertEqual(got['zatotx_config_revision', none], 17)
        self.assertEqual(got['zatotx_redis_up', none], 0)
        self.assertEqual(got['zatotx_build_info', frozenset({('version', '0.1'), ('node', 'server1')})], 1)
        self.assertGreater(got['process_resident_memory_bytes', none], 0)


class ImportTests(TestCase):
    async def test_lazy(self) -> None:
        """Importing the collector does not load prometheus_client: a node starts without."""
        code = "import sys, zatotx.metrics.collector; print('prometheus_client' in sys.modules)"
        out, err, _ = await getProcessOutputAndValue(sys.executable, ['-c', code], env=dict(os.environ))
        self.assertEqual(out, b'False\n', err)
