"""Tests of the statistics: log lines, counters, sums over workers, the page, the metrics, and who may see them."""

from __future__ import annotations

import re
import time
from base64 import b64encode
from html.parser import HTMLParser
from typing import Any

import msgspec
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from zatotx.interfaces.connector_kind import ILineSink
from zatotx.interfaces.load_balancer import ExchangeRecord, LocalResponse, ServerStatus
from zatotx.lb.backends.backend_registry import BackendRegistry
from zatotx.lb.config.model import Backend, Configuration, MainSettings, Server, Stats
from zatotx.lb.statistics.exchange_counters import ExchangeCounters
from zatotx.lb.statistics.haproxy_log_format import OpenConnectionCounts, RequestLogFormatter
from zatotx.lb.statistics.metrics import sample_metrics
from zatotx.lb.statistics.statistics_page import render_statistics_page
from zatotx.lb.statistics.statistics_responder import StatisticsResponder, prepare_metrics
from zatotx.lb.statistics.statistics_snapshot import (
    HistoryPoint,
    StatisticsSnapshot,
    make_history_point,
    merge_snapshots,
)
from zatotx.lb.statistics.statistics_source import RecordedStatistics
from zatotx.metrics.exposition import render_sample

MOMENT = 1_770_380_054.5


def record(**more: Any) -> ExchangeRecord:
    fields: dict[str, Any] = {
        'frontend': 'front', 'backend': 'bck', 'server': 's1', 'client_address': '10.0.1.2', 'client_port': 33317,
        'started_at': 0.0, 'head_time': 0.01, 'queue_time': 0.0, 'connect_time': 0.0301, 'response_time': 0.069,
        'total_time': 0.109, 'status': 200, 'received_bytes': 5, 'sent_bytes': 2750, 'retries': 0, 'termination': '--',
        'request_line': b'GET /a?b HTTP/1.1',
    }  # fmt: skip
    return ExchangeRecord(**{**fields, **more})


def status(name: str = 's1', **more: Any) -> ServerStatus:
    return ServerStatus('bck', name, '127.0.0.1:8001', 'UP', '', 1, False, 2, 0, 7, 1, 3725.0)._replace(**more)


class LogLineTests(SynchronousTestCase):
    def line(self, loads: OpenConnectionCounts = OpenConnectionCounts(), **more: Any) -> str:  # noqa: B008 - immutable
        return RequestLogFormatter().format_exchange(record(**more), MOMENT, loads)

    def test_http(self) -> None:
        """The line of a request has the fields of HAProxy's `httplog`, in their order."""
        moment = time.strftime('%d/%b/%Y:%H:%M:%S', time.localtime(MOMENT)) + '.500'
        self.assertEqual(
            self.line(OpenConnectionCounts(9, 8, 7, 6, 5), retries=1),
            f'10.0.1.2:33317 [{moment}] front bck/s1 10/0/30/69/109 200 2750 - - ---- 9/8/7/6/1 0/5 '
            '"GET /a?b HTTP/1.1"',
        )

    def test_what_was_not_reached(self) -> None:
        """Phases that were not reached are -1, as is the status of a request without a response; a request without a
        server and one that is no HTTP are named as by HAProxy."""
        line = self.line(backend='', server='', queue_time=-1, connect_time=-1, response_time=-1, status=400,
                         termination='PR', request_line=b'')
        self.assertTrue(line.endswith(
            ' front front/<NOSRV> 10/-1/-1/-1/109 400 2750 - - PR-- 0/0/0/0/0 0/0 "<BADREQ>"'))
        self.assertIn(' -1 2750 - - CD-- ', self.line(status=0, termination='CD'))

    def test_tcp(self) -> None:
        """The line of a TCP connection is that of `tcplog`."""
        line = self.line(request_line=b'', status=0, total_time=5.007)
        self.assertTrue(line.endswith(' front bck/s1 0/30/5007 2750 -- 0/0/0/0/0 0/0'), line)

    def test_no_forged_lines(self) -> None:
        """A request line cannot end the log line or its quotes, and is bounded."""
        line = self.line(request_line=b'GET /"\n\x1b#\xff' + b'x' * 5000)
        self.assertIn('"GET /#22#0A#1B#23#FF', line)
        self.assertTrue(line.isprintable())
        self.assertLess(len(line), 1300)


@implementer(ILineSink)
class Lines:
    """A sink that keeps its lines."""

    json = False

    def __init__(self) -> None:
        self.lines: list[str] = []

    def write_line(self, text: str) -> None:
        self.lines.append(text)


class CounterTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock, self.lines = Clock(), Lines()
        registry = BackendRegistry(clock=self.clock)
        registry.apply(Configuration(main=MainSettings(cluster='c'), backends={
            'bck': Backend(servers={'s1': Server(host='127.0.0.1', port=1)})}))  # fmt: skip
        self.counters = ExchangeCounters(self.clock, registry, lines=self.lines, frontends=dict)

    def finish(self, record: ExchangeRecord) -> None:
        """Count an exchange, and log it as a frontend does that logs all exchanges, unless it is the silent one."""
        is_written = record.frontend != 'silent'
        counters = self.counters.counters(record.frontend, record.backend)
        for _ in range(record.retries):
            counters.count_retry()
        has_failed = counters.count(record.status, record.termination, record.received_bytes, record.sent_bytes,
                                    record.total_time)  # fmt: skip
        if is_written or has_failed:
            self.counters.log(record, is_written=is_written)

    def test_counting(self) -> None:
        """Exchanges are counted by frontend, backend and class of status, and logged where the frontend says so."""
        for each in (record(), record(status=503, total_time=0.2, retries=2), record(frontend='silent', status=0)):
            self.finish(each)
        traffic = self.counters.snapshot().backends['bck'].traffic
        self.assertEqual((traffic.requests, traffic.responses, traffic.retries, traffic.sent_bytes),
                         (3, [1, 0, 1, 0, 0, 1], 2, 8250))
        self.assertAlmostEqual(traffic.seconds, 0.418)
        self.assertEqual(sum(traffic.buckets), 3)
        self.assertEqual(len(self.lines.lines), 2)

    def test_recent_errors(self) -> None:
        """The last failed exchanges are kept, those of frontends without a log too; others are not."""
        for each in (record(), record(status=404), record(status=502, termination='SH'),
                     record(frontend='silent', status=200, termination='SD'), record(status=400, termination='PR')):
            self.finish(each)
        self.assertEqual([re.findall(r' (\d+) 2750', line)[0] for line in self.counters.recent_errors()],
                         ['502', '200', '400'])
        for _ in range(200):
            self.finish(record(status=500))
        self.assertEqual(len(self.counters.recent_errors()), 100)


class SumTests(SynchronousTestCase):
    def test_merge(self) -> None:
        """The figures of workers are added by name; the state of a server is that of the first, which is the parent's;
        what has ended keeps its counters only. A snapshot survives JSON."""
        counters = CounterTests('test_counting')
        counters.setUp()
        counters.finish(record())
        one = counters.counters.snapshot()
        one.backends['bck'].queued = 3
        one = msgspec.json.decode(msgspec.json.encode(one), type=StatisticsSnapshot)
        parent = StatisticsSnapshot(servers=[status(state='DOWN', total_requests=0)], workers=0)
        total = merge_snapshots([parent, one, one.ended(), one])
        self.assertEqual((total.workers, total.backends['bck'].queued, total.backends['bck'].traffic.requests),
                         (2, 6, 3))
        self.assertEqual((total.servers[0].state, total.servers[0].total_requests), ('DOWN', 0))
        self.assertEqual(sum(total.backends['bck'].traffic.buckets), 3)

    def test_history(self) -> None:
        """A point of the charts has the rates since the last one, also after a worker's figures are gone."""
        counters = CounterTests('test_counting')
        counters.setUp()
        before = StatisticsSnapshot(frontends={})
        self.assertEqual(make_history_point(5.0, 2.0, before, before), HistoryPoint(5.0, 0.0, 0.0, 0, 0.0))
        clock = Clock()
        shown: list[StatisticsSnapshot] = []
        recorder = RecordedStatistics(clock=clock, read=StatisticsSnapshot, publish=shown.append, now=lambda: 1.0)
        recorder.start()
        clock.pump([1.0] * 400)
        self.assertEqual((len(shown), len(recorder.snapshot().history)), (401, 300))
        recorder.stop()
        self.assertEqual(clock.getDelayedCalls(), [])


class Tags(HTMLParser):
    """Checks that tags are closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes |= {name for name, _ in attrs}
        if tag != 'meta':
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, tag


class PageTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.snapshot = StatisticsSnapshot(
            servers=[status(state='DOWN', reason='<b>refused</b>'), status('s2', is_backup=True)],
            history=[HistoryPoint(1.0, 5.0, 0.0, 3, 0.001), HistoryPoint(2.0, 10.0, 1.0, 4, 0.002)],
            recent_errors=['GET /<script>'],
        )  # fmt: skip
        prepare_metrics()
        self.responder = StatisticsResponder(
            settings=Stats(password='pa:ß'), read=lambda: self.snapshot, facts=lambda: [('process', '1')], title='t',
        )  # fmt: skip

    def get(self, path: bytes, password: str = 'pa:ß', method: str = 'GET') -> LocalResponse | None:
        token = b'Basic ' + b64encode(f'admin1:{password}'.encode())
        return self.responder.respond(method, path, b'', {b'authorization': token})

    def test_page(self) -> None:
        """The page is well-formed HTML, escapes what it shows, and has neither scripts nor styles in attributes."""
        text = render_statistics_page(self.snapshot, title='<t>', facts=[('a', '<')], refresh=5).decode()
        tags = Tags()
        tags.feed(text)
        self.assertEqual(tags.open, [])
        self.assertFalse(tags.attributes & {'style', 'src', 'href', 'onload'})
        for part in ('&lt;b&gt;refused&lt;/b&gt;', 'GET /&lt;script&gt;', 'bck/s2 (backup)', '1h 2m', '299.0,4.0',
                     'Requests a second: now 10, highest 10', '<td>7</td>'):
            self.assertIn(part, text)

    def test_metrics(self) -> None:
        """The metrics are in the exposition format of Prometheus."""
        text = render_sample(sample_metrics(self.snapshot)).decode()
        for line in ('zatotx_lb_server_up{backend="bck",server="s1"} 0.0', 'zatotx_lb_workers 1.0',
                     'zatotx_lb_server_requests_total{backend="bck",server="s2"} 7.0'):
            self.assertIn(line, text.splitlines())

    def test_access(self) -> None:
        """Pages need the credentials; other paths are not answered here, and without a password there are no pages."""
        for path in (b'/zato-lb-stats', b'/zato-lb-metrics'):
            found = self.get(path)
            assert found is not None
            self.assertEqual(found.status, 200)
            for wrong in (self.get(path, 'wrong'), self.responder.respond('GET', path, b'', {}),
                          self.responder.respond('GET', path, b'', {b'authorization': b'Basic !'})):
                assert wrong is not None
                self.assertEqual(wrong.status, 401)
                self.assertNotIn(b'bck', wrong.body)
        posted = self.get(b'/zato-lb-stats', method='POST')
        assert posted is not None
        self.assertEqual(posted.status, 405)
        self.assertIsNone(self.get(b'/other'))
        self.responder.settings = Stats()
        self.assertIsNone(self.get(b'/zato-lb-stats', ''))
