"""Counters, samples, merging, and the Prometheus text format."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from threading import Thread
from timeit import repeat
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from OpenSSL import SSL
from OpenSSL.crypto import X509, PKey
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import Clock
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from zatotx.connectors.kind_registry import find_kinds, metric_definitions_of_kinds
from zatotx.interfaces.meters import IUserMetrics, NullUserMetrics, count_call
from zatotx.metrics.counters import CallCounters, ChannelCounters, Histogram
from zatotx.metrics.definitions import COUNTER, DEFINITIONS, GAUGE, HISTOGRAM, MetricDefinition, register_kind_metrics
from zatotx.metrics.exposition import MetricsExposition, render_sample
from zatotx.metrics.meters import (
    MeterRegistry,
    MetersByName,
    build_info_metrics,
    process_metrics,
    service_metrics,
    single_value_metrics,
)
from zatotx.metrics.snapshot import MetricRow, MetricSample, MetricSource, merge_samples, take_snapshot
from zatotx.metrics.user_metrics import UserMetrics
from zatotx.model.errors import Timeout
from zatotx.tap.build_monitoring import make_certificate_source

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]
START = datetime(2026, 1, 1, tzinfo=UTC)
NONE: frozenset[tuple[str, str]] = frozenset()


def parsed(text: bytes) -> Samples:
    found = text_string_to_metric_families(text.decode())
    return {(s.name, frozenset(s.labels.items())): s.value for family in found for s in family.samples}


def samples(*sources: MetricSource) -> Samples:
    return parsed(render_sample(take_snapshot(sources)))


class SlotsTests(SynchronousTestCase):
    def test_histogram(self) -> None:
        """A duration counts in the first bucket whose bound is not below it, the longest in the last one."""
        histogram = Histogram((0.1, 1.0))
        for seconds in (0.05, 0.1, 0.5, 1.0, 7.0):
            histogram.observe(seconds)
        self.assertEqual(histogram.buckets, [2, 2, 1])
        self.assertEqual(histogram.count, 5)
        self.assertAlmostEqual(histogram.sum, 8.65)

    def test_service(self) -> None:
        """Every observed call counts; errors are counted separately, by name."""
        slots = CallCounters()
        for kind in ('', 'Timeout', 'BadInput', 'Timeout'):
            slots.observe(0.01)
            if kind:
                slots.count_error(kind)
        self.assertEqual((slots.calls, slots.errors, slots.errors_by_name), (4, 3, {'Timeout': 2, 'BadInput': 1}))

    def test_kinds_are_few(self) -> None:
        """Whatever services raise, the names of errors are those of zatotx and one for the rest."""
        slots = CallCounters()
        for number in range(1000):
            slots.count_error(f'Error{number}')
        slots.count_error('NotFound')
        self.assertEqual(slots.errors_by_name, {'Exception': 1000, 'NotFound': 1})

    def test_no_other_attributes(self) -> None:
        """A misspelled counter is an error."""
        with self.assertRaises(AttributeError):
            CallCounters().call = 1  # type: ignore[attr-defined]


class RenderTests(SynchronousTestCase):
    def test_services(self) -> None:
        """Each service has its calls, errors (0, too), errors by name, and durations, by its name."""
        busy, idle = CallCounters(), CallCounters()
        busy.observe(0.004)
        busy.observe(40.0)
        busy.count_error('Timeout')
        busy.in_flight = 3
        name = 'crm."odd"\n\\name'
        got = samples(service_metrics(lambda: [(name, busy), ('idle', idle)]))
        service = frozenset({('service', name)})
        self.assertEqual(got['zatotx_service_calls_total', service], 2)
        self.assertEqual(got['zatotx_service_errors_total', service], 1)
        self.assertEqual(got['zatotx_service_errors_by_kind_total', service | {('kind', 'Timeout')}], 1)
        self.assertEqual(got['zatotx_service_in_flight', service], 3)
        self.assertEqual(got['zatotx_service_duration_seconds_bucket', service | {('le', '0.005')}], 1)
        self.assertEqual(got['zatotx_service_duration_seconds_bucket', service | {('le', '0.0025')}], 0)
        self.assertEqual(got['zatotx_service_duration_seconds_bucket', service | {('le', '+Inf')}], 2)
        self.assertEqual(got['zatotx_service_duration_seconds_count', service], 2)
        self.assertAlmostEqual(got['zatotx_service_duration_seconds_sum', service], 40.004)
        self.assertEqual(got['zatotx_service_errors_total', frozenset({('service', 'idle')})], 0)

    def test_everything_else(self) -> None:
        """Stalls, lost lines, revision, Redis, the build and the process are included if given."""
        stalls = Histogram(DEFINITIONS['zatotx_reactor_stall_seconds'].bounds)
        stalls.observe(0.3)
        facts = {'version': '0.1', 'python': '3.13.0', 'node': 'server1', 'cluster': 'qs'}
        got = samples(
            single_value_metrics('zatotx_reactor_stall_seconds', lambda: stalls),
            single_value_metrics('zatotx_log_lines_lost', lambda: 4),
            single_value_metrics('zatotx_config_revision', lambda: 17),
            single_value_metrics('zatotx_redis_up', lambda: 0),
            build_info_metrics(facts),
            process_metrics(),
        )
        self.assertEqual(got['zatotx_reactor_stall_seconds_bucket', frozenset({('le', '0.25')})], 0)
        self.assertEqual(got['zatotx_reactor_stall_seconds_bucket', frozenset({('le', '0.5')})], 1)
        self.assertEqual(got['zatotx_reactor_stall_seconds_count', NONE], 1)
        self.assertEqual(got['zatotx_log_lines_lost_total', NONE], 4)
        self.assertEqual(got['zatotx_config_revision', NONE], 17)
        self.assertEqual(got['zatotx_redis_up', NONE], 0)
        self.assertEqual(got['zatotx_build_info', frozenset(facts.items())], 1)
        self.assertGreater(got['process_resident_memory_bytes', NONE], 0)

    def test_names(self) -> None:
        """Names follow Prometheus' conventions: a prefix, base units as suffix, no _total of their own, and a help
        text."""
        register_kind_metrics(metric_definitions_of_kinds(find_kinds()))
        for name, family in DEFINITIONS.items():
            self.assertRegex(name, r'^(zatotx|process)_[a-z_]*[a-z]$')
            self.assertFalse(name.endswith(('_total', '_count', '_sum', '_bucket', '_ms', '_milliseconds')), name)
            self.assertEqual(family.query_name.endswith('_total'), family.kind == COUNTER, name)
            if family.kind == HISTOGRAM:
                self.assertTrue(name.endswith('_seconds') and family.bounds == tuple(sorted(family.bounds)), name)
            self.assertTrue(family.help[0].isupper() and not family.help.endswith('.'), name)


    def test_two_of_one_name(self) -> None:
        """A kind cannot take the name of another metric; registering the same metrics again changes nothing."""
        register_kind_metrics(metric_definitions_of_kinds(find_kinds()))
        register_kind_metrics(metric_definitions_of_kinds(find_kinds()))
        with self.assertRaisesRegex(ValueError, 'zatotx_redis_up'):
            register_kind_metrics([MetricDefinition('zatotx_redis_up', GAUGE, 'Something else')])

    def test_one_fails(self) -> None:
        """A source that fails loses only its own metrics, and is counted and logged."""

        def broken() -> Iterator[MetricRow]:
            yield 'zatotx_config_revision', (), 1
            raise ZeroDivisionError

        got = samples(broken, single_value_metrics('zatotx_log_lines_lost', lambda: 4))
        self.assertNotIn(('zatotx_config_revision', NONE), got)
        self.assertEqual((got['zatotx_log_lines_lost_total', NONE], got['zatotx_metrics_failed', NONE]), (4, 1))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class MetersTests(SynchronousTestCase):
    def test_channels(self) -> None:
        """A channel has requests, responses by status class, requests in flight, and durations."""
        meters = MeterRegistry()
        slots = meters.channels('http-soap').get('crm "1"')
        for hundreds in (2, 2, 4, 0):
            slots.requests += 1
            slots.observe_response(hundreds, 0.003)
        slots.requests += 3
        got = samples(*meters.sources())
        crm = frozenset({('kind', 'http-soap'), ('channel', 'crm "1"')})
        self.assertEqual(got['zatotx_channel_requests_total', crm], 7)
        self.assertEqual(got['zatotx_channel_in_flight', crm], 3)
        answers = {status: got['zatotx_channel_answers_total', crm | {('status', status)}]
                   for status in ('2xx', '4xx', '5xx', 'gone')}  # fmt: skip
        self.assertEqual(answers, {'2xx': 2, '4xx': 1, '5xx': 0, 'gone': 1})
        self.assertEqual(got['zatotx_channel_duration_seconds_bucket', crm | {('le', '0.005')}], 4)

    def test_outgoing(self) -> None:
        """An outgoing connection of any kind has calls, errors by name, and its circuit breaker."""
        meters = MeterRegistry()
        slots = meters.outgoing('rest').get('CRM')
        slots.in_flight += 1
        slots.observe(0.2)
        slots.count_error('Timeout')
        slots.circuit_open = slots.circuit_half_open = True
        got = samples(*meters.sources())
        crm = frozenset({('type', 'rest'), ('connection', 'CRM')})
        self.assertEqual(got['zatotx_outgoing_calls_total', crm], 1)
        timeouts = frozenset({('type', 'rest'), ('connection', 'CRM'), ('kind', 'Timeout')})
        self.assertEqual(got['zatotx_outgoing_errors_by_kind_total', timeouts], 1)
        self.assertEqual(got['zatotx_outgoing_in_flight', crm], 1)
        self.assertEqual(got['zatotx_outgoing_circuit_open', crm], 1)
        self.assertEqual(got['zatotx_outgoing_circuit_half_open', crm], 1)

    def test_bounded(self) -> None:
        """The number of names is bounded: later names share one set. Names that no longer exist make room for new
        ones."""
        named = MetersByName(ChannelCounters, max_names=3)
        made = {name: named.get(name) for name in 'abcde'}
        self.assertIs(made['d'], made['e'])
        self.assertEqual([name for name, _ in named.items()], ['a', 'b', 'c', '(others)'])
        named.retain('bd')
        self.assertEqual([name for name, _ in named.items()], ['b'])
        self.assertIs(named.get('b'), made['b'])
        self.assertIsNot(named.get('d'), made['d'])

    def test_room_for_the_living(self) -> None:
        """Deleted services make room when it is needed, without a notification."""
        living = ['a', 'b']
        named = MetersByName(CallCounters, max_names=2, existing_names=lambda: living)
        first = named.get('a')
        named.get('b')
        living[:] = ['b', 'c']
        self.assertIsNot(named.get('c'), named.overflow)
        self.assertIsNot(named.get('b'), first)
        self.assertIs(named.get('d'), named.overflow)

    def test_services_that_share(self) -> None:
        """Services without counters of their own are shown as one."""
        others = CallCounters()
        others.observe(0.1)
        own = CallCounters()
        got = samples(service_metrics(lambda: [('a', own), ('b', others), ('c', others)], others))
        calls = {dict(labels)['service']: value for (name, labels), value in got.items()
                 if name == 'zatotx_service_calls_total'}  # fmt: skip
        self.assertEqual(calls, {'a': 0, '(others)': 1})

    def test_measured(self) -> None:
        """An awaited call is counted, its error by class; a cancelled one is not an error."""
        clock, slots = Clock(), CallCounters()
        good: Deferred[int] = Deferred()
        bad: Deferred[int] = Deferred()
        left: Deferred[int] = Deferred()
        for deferred in (good, bad, left):
            count_call(slots, clock.seconds, deferred)
        self.assertEqual(slots.in_flight, 3)
        clock.advance(0.2)
        good.callback(7)
        bad.errback(Timeout())
        left.cancel()
        self.assertEqual(self.successResultOf(good), 7)
        self.failureResultOf(bad, Timeout)
        self.failureResultOf(left, CancelledError)
        self.assertEqual((slots.in_flight, slots.calls, slots.errors_by_name), (0, 3, {'Timeout': 1}))
        self.assertAlmostEqual(slots.sum, 0.6)

    def test_cost(self) -> None:
        """Counting a request takes a few additions, not the microseconds of a labelled metric."""
        slots = ChannelCounters()

        def count() -> None:
            slots.requests += 1
            slots.observe_response(2, 0.0007)

        self.assertLess(min(repeat(count, number=2000, repeat=20)) / 2000, 50e-6)


class UserTests(SynchronousTestCase):
    def test_figures(self) -> None:
        """Counters, gauges and timings of services are exposed under their names."""
        user = UserMetrics()
        verifyObject(IUserMetrics, user)
        verifyObject(IUserMetrics, NullUserMetrics())
        user.incr('orders')
        user.incr('orders', 2.5)
        user.gauge('queue', 7)
        user.gauge('queue', 3)
        user.timing('parse', 0.002)
        got = samples(user.rows)
        self.assertEqual(got['zatotx_user_counter_total', frozenset({('name', 'orders')})], 3.5)
        self.assertEqual(got['zatotx_user_gauge', frozenset({('name', 'queue')})], 3)
        self.assertEqual(got['zatotx_user_timing_seconds_count', frozenset({('name', 'parse')})], 1)

    def test_threads(self) -> None:
        """Concurrent counts in threads are not lost, and remain after a thread has ended."""
        user = UserMetrics()

        def count() -> None:
            for _ in range(5_000):
                user.incr('all')
                user.timing('each', 0.001)

        threads = [Thread(target=count) for _ in range(8)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            list(user.rows())  # a scrape meanwhile disturbs nobody
        got = samples(user.rows)
        self.assertEqual(got['zatotx_user_counter_total', frozenset({('name', 'all')})], 40_000)
        self.assertEqual(got['zatotx_user_timing_seconds_count', frozenset({('name', 'each')})], 40_000)

    def test_bounded(self) -> None:
        """The number of names is bounded; further names share one series."""
        user = UserMetrics(max_names=3)
        for number in range(100):
            user.incr(f'n{number}')
            user.gauge(f'n{number}', number)
            user.timing(f'n{number}', 0.1)
        rows = list(user.rows())
        self.assertEqual(len(rows), 12)
        self.assertEqual(sum(value for name, _, value in rows if name == 'zatotx_user_counter'), 100)
        self.assertIn(('zatotx_user_counter', ('(others)',), 97), rows)

    def test_nonsense(self) -> None:
        """Decreasing counters and invalid names are rejected with a message."""
        user = UserMetrics()
        with self.assertRaisesRegex(ValueError, 'cannot decrease'):
            user.incr('orders', -1)
        for name in ('', 'x' * 201):
            with self.assertRaisesRegex(ValueError, '1 to 200 characters'):
                user.incr(name)
        self.assertEqual(list(user.rows()), [])


class CertificateTests(SynchronousTestCase):
    def test_expiry(self) -> None:
        """The expiry of a listener's certificate is a metric, updated when it is replaced."""

        def context(days: int) -> SSL.Context:
            key = ec.generate_private_key(ec.SECP256R1())
            name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, 'localhost')])
            signed = x509.CertificateBuilder(name, name, key.public_key(), 1, START, START + timedelta(days)).sign(
                key, SHA256()
            )
            made = SSL.Context(SSL.TLS_METHOD)
            made.use_certificate(X509.from_cryptography(signed))
            made.use_privatekey(PKey.from_cryptography_key(key))
            return made

        class Certificate:
            description = 'ssl:17443'

            def __init__(self) -> None:
                self.days = 30

            def getContext(self) -> SSL.Context:
                return context(self.days)

        class Listening:
            certificates = [Certificate()]

        labels = frozenset({('listener', 'ssl:17443')})
        for days in (30, 90):
            Listening.certificates[0].days = days
            got = samples(make_certificate_source(Listening))['zatotx_certificate_expiry_timestamp_seconds', labels]
            self.assertEqual(got, (START + timedelta(days)).timestamp())


class SumTests(SynchronousTestCase):
    def one(self, calls: int, revision: int) -> MetricSample:
        slots = CallCounters()
        for _ in range(calls):
            slots.observe(0.002)
        slots.in_flight = calls
        found: MetricSample = json.loads(json.dumps(take_snapshot([
            service_metrics(lambda: [('crm', slots)]),
            single_value_metrics('zatotx_config_revision', lambda: revision),
            single_value_metrics('zatotx_redis_up', lambda: int(revision > 5)),
            build_info_metrics({'version': '1', 'python': '3', 'node': 'n', 'cluster': 'c'}),
        ])))  # fmt: skip
        return found

    def test_sums(self) -> None:
        """For two workers, counters, histograms and requests in flight are added; the revision is the lower one, Redis
        is up if both are connected, and the build is shown once. All of this after a round trip as JSON."""
        got = parsed(render_sample(merge_samples(self.one(2, 7), self.one(3, 5))))
        crm = frozenset({('service', 'crm')})
        self.assertEqual(got['zatotx_service_calls_total', crm], 5)
        self.assertEqual(got['zatotx_service_in_flight', crm], 5)
        self.assertEqual(got['zatotx_service_duration_seconds_bucket', crm | {('le', '0.0025')}], 5)
        self.assertAlmostEqual(got['zatotx_service_duration_seconds_sum', crm], 0.01)
        self.assertEqual(got['zatotx_config_revision', NONE], 5)
        self.assertEqual(got['zatotx_redis_up', NONE], 0)
        self.assertEqual(got['zatotx_workers', NONE], 2)
        self.assertEqual([value for (name, _), value in got.items() if name == 'zatotx_build_info'], [1])

    def test_what_one_has(self) -> None:
        """A metric of only one worker is kept."""
        calls, up = 'zatotx_service_calls', 'zatotx_redis_up'
        got = merge_samples({calls: [[['a'], 1]]}, {calls: [[['b'], 2]], up: [[[], 1]]})
        self.assertEqual(got, {calls: [[['a'], 1], [['b'], 2]], up: [[[], 1]]})

    def test_another_version(self) -> None:
        """A worker of another version during a rolling restart does no harm: unknown metrics, histograms with other
        buckets and rows with other labels are omitted."""
        name = 'zatotx_service_duration_seconds'
        ours = take_snapshot([service_metrics(lambda: [('crm', CallCounters())])])
        theirs = {'zatotx_of_tomorrow': [[[], 1]], name: [[['crm'], [1.0, [1, 2]]]], 'zatotx_service_calls': [[[], 9]]}
        self.assertEqual(merge_samples(ours, theirs), ours)

    def test_rules(self) -> None:
        """Any two values of a metric can be merged."""
        for name, family in DEFINITIONS.items():
            figure: Any = [0.5, [1] * (len(family.bounds) + 1)] if family.kind == HISTOGRAM else 1
            one = {name: [[['x'] * len(family.labels), figure]]}
            render_sample(merge_samples(one, one))
            if family.kind == GAUGE:
                self.assertIn(merge_samples(one, one)[name][0][1], (1, 2), name)


class Later:
    """An offload function whose results the test delivers."""

    def __init__(self) -> None:
        self.calls: list[tuple[Deferred[Any], Callable[..., Any], tuple[Any, ...]]] = []

    def __call__(self, function: Callable[..., Any], *args: Any) -> Deferred[Any]:
        deferred: Deferred[Any] = Deferred()
        self.calls.append((deferred, function, args))
        return deferred

    def run(self) -> None:
        """Finish the calls in progress."""
        calls, self.calls = self.calls, []
        for deferred, function, args in calls:
            try:
                deferred.callback(function(*args))
            except Exception:
                deferred.errback()


class ScrapesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.asked = 0
        self.offload = Later()
        self.scrapes = MetricsExposition([single_value_metrics('zatotx_log_lines_lost', self.look)], self.offload)

    def look(self) -> int:
        self.asked += 1
        return self.asked

    def test_fifty_at_once(self) -> None:
        """Fifty concurrent scrapes render two texts: one for the first, and one for all others. Texts are rendered one
        at a time, and no value is older than its scrape."""
        texts = [self.scrapes.render_text() for _ in range(50)]
        for _ in range(4):
            self.assertLessEqual(len(self.offload.calls), 1)
            self.offload.run()
        got = [parsed(self.successResultOf(text))['zatotx_log_lines_lost_total', NONE] for text in texts]
        self.assertEqual(got, [1, *[2] * 49])
        self.assertEqual(self.asked, 2)

    def test_gone(self) -> None:
        """A disconnected client gets nothing, and the others are not affected."""
        first, second, third = self.scrapes.render_text(), self.scrapes.render_text(), self.scrapes.render_text()
        for text in (first, second):
            text.addErrback(lambda failure: None)
            text.cancel()
        for _ in range(4):
            self.offload.run()
        self.assertIn(b'zatotx_log_lines_lost_total 2.0', self.successResultOf(third))

    def test_workers(self) -> None:
        """The metrics of the node's other workers are added."""
        others: list[MetricSample] = [{'zatotx_log_lines_lost': [[[], lost]]} for lost in (10, 5)]
        self.scrapes.fetch_peer_samples = lambda: succeed(others)
        text = self.scrapes.render_text()
        self.offload.run()
        self.offload.run()
        self.assertEqual(parsed(self.successResultOf(text))['zatotx_log_lines_lost_total', NONE], 16)


class ImportTests(TestCase):
    async def test_lazy(self) -> None:
        """Importing the module does not import prometheus_client, so that nodes start faster."""
        code = (
            'import sys, zatotx.metrics.exposition, zatotx.metrics.exposition, zatotx.metrics.meters;'
            "print('prometheus_client' in sys.modules)"
        )
        out, err, _ = await getProcessOutputAndValue(sys.executable, ['-c', code], env=dict(os.environ))
        self.assertEqual(out, b'False\n', err)
