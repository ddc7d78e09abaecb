"""Live figures: rates, polls with everybody's session in turn, and the stream of a browser."""

from __future__ import annotations

from typing import Any

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.cluster_api import MemoryClusterApi
from zatotx.admin.cluster_api import ApiError, Caller
from zatotx.admin.event_writer import EventWriter
from zatotx.admin.live import INTERVAL, MAX_AGE, STATUS_SERVICE, LiveFeed
from zatotx.admin.screens.statistics import merge_rows, safe_cell, top


def row(calls: int, errors: int = 0, seconds: float = 0.0, *, started: float = 1.0, name: str = 's1') -> dict[str, Any]:
    """A row of zato.server.get-status."""
    status = {'started': started, 'requests': calls, 'calls': calls, 'errors': errors, 'seconds': seconds,
              'in_flight': 2, 'stalls': 1, 'revision': 7}  # fmt: skip
    return {'name': name, 'state': 'running', 'is_leader': name == 's1', 'status': status}


def silent(name: str) -> dict[str, Any]:
    """A row of a node that does not answer."""
    return {'name': name, 'state': 'down', 'is_leader': False, 'status': None}


class RecordingRequest:
    """A request of twisted.web that records what is written."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.written: list[bytes] = []
        self.producer: Any = None

    def setHeader(self, name: str, value: str) -> None:
        self.headers[name] = value

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None


class LiveFeedTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.api, self.clock = MemoryClusterApi(), Clock()
        self.feed = LiveFeed(api=self.api, clock=self.clock)
        self.api.sessions = {'1.a', '1.b'}
        self.set(row(0))
        self.events: list[tuple[str, str, Any]] = []  # token, kind, data

    def set(self, *rows: Any) -> None:
        self.api.answers[STATUS_SERVICE] = rows[0] if isinstance(rows[0], Exception) else list(rows)

    def subscribe(self, token: str) -> Any:
        def subscriber(event: bytes, is_last: bool) -> None:
            kind, data = event.decode().strip().split('\n')
            found = kind.removeprefix('event: '), msgspec.json.decode(data.removeprefix('data: '))
            self.events.append((token, *found))
            self.assertEqual(is_last, found[0] == 'end')
        self.feed.subscribe(subscriber, Caller(token))
        return subscriber

    def figures(self, token: str = '1.a') -> list[Any]:
        return [data for to, kind, data in self.events if (to, kind) == (token, 'figures')]

    def test_rates(self) -> None:
        """Rates are those between two polls, of each node and of all; the first poll gives none."""
        self.set(row(0), row(0, name='s2'), silent('s3'))
        self.subscribe('1.a')
        self.assertEqual(self.figures(), [])
        self.set(row(20, 4, 0.5), row(10, 0, 0.1, name='s2'), silent('s3'))
        self.clock.advance(INTERVAL)
        (event,) = self.figures()
        nodes = event.pop('nodes')
        self.assertEqual(event, {'requests': 15.0, 'errors': 2.0, 'mean': 20.0, 'in_flight': 4, 'revision': 7})
        self.assertEqual(nodes['s1'], {'state': 'running', 'is_leader': True, 'requests': 10.0, 'errors': 2.0,
                                       'mean': 25.0, 'in_flight': 2, 'stalls': 1})  # fmt: skip
        self.assertEqual((nodes['s2']['mean'], nodes['s3']['state'], nodes['s3']['requests']), (10.0, 'down', 0.0))
        self.assertEqual(self.feed.latest and self.feed.latest.requests, 15.0)

    def test_a_restart(self) -> None:
        """The counters of a node that has restarted, or did not answer, count from then on."""
        self.set(row(1000))
        self.subscribe('1.a')
        for rows, rate in ((row(1, started=2.0), 0.0), (row(5, started=2.0), 2.0), (silent('s1'), 0.0),
                           (row(9, started=2.0), 0.0)):  # fmt: skip
            self.set(rows)
            self.clock.advance(INTERVAL)
            self.assertEqual(self.figures()[-1]['requests'], rate, rows)

    def test_one_poll_for_all(self) -> None:
        """Any number of browsers cost one poll, with the session of each in turn, none of which it keeps alive; without
        browsers there are no polls."""
        first, second = self.subscribe('1.a'), self.subscribe('1.b')
        for _ in range(4):
            self.clock.advance(INTERVAL)
        polls = [caller for service, _, caller in self.api.calls if service == STATUS_SERVICE]
        self.assertEqual([caller.token for caller in polls], ['1.a', '1.a', '1.b', '1.a', '1.b'])
        self.assertTrue(all(caller.is_passive for caller in polls))
        self.assertEqual({token for token, _, _ in self.events[-2:]}, {'1.a', '1.b'})
        self.feed.unsubscribe(first)
        self.feed.unsubscribe(second)
        before = len(self.api.calls)
        self.clock.advance(10 * INTERVAL)
        self.assertEqual(len(self.api.calls), before)
        self.assertIs(self.feed.latest, None)

    def test_history(self) -> None:
        """A new browser gets the figures of the last polls at once, unless they are old."""
        first = self.subscribe('1.a')
        for calls in (4, 8):
            self.set(row(calls))
            self.clock.advance(INTERVAL)
        second = self.subscribe('1.b')
        self.assertEqual(self.events[-2:], [
            ('1.b', 'history', [[2.0, 0.0, 0.0]] * 2), ('1.b', 'figures', self.figures()[-1])])  # fmt: skip
        self.feed.unsubscribe(first)
        self.feed.unsubscribe(second)
        self.clock.advance(MAX_AGE + 1)
        self.subscribe('1.a')
        self.assertEqual(self.events[-1], ('1.a', 'history', []))

    def test_a_session_that_ends(self) -> None:
        """Its browser is told and gets no more; the others go on."""
        self.subscribe('1.a')
        self.subscribe('1.b')
        self.api.sessions.discard('1.b')
        for _ in range(3):
            self.clock.advance(INTERVAL)
        self.assertIn(('1.b', 'end', {}), self.events)
        self.events.clear()
        self.clock.advance(INTERVAL)
        self.assertEqual([token for token, _, _ in self.events], ['1.a'])

    def test_the_cluster_is_away(self) -> None:
        """No events while it is away, and rates that do not include that time afterwards."""
        self.subscribe('1.a')
        self.set(ApiError(0, ['No server']))
        self.clock.advance(INTERVAL)
        self.set(row(1000))
        self.clock.advance(INTERVAL)
        self.assertEqual(self.figures(), [])
        self.set(row(1002))
        self.clock.advance(INTERVAL)
        self.assertEqual([event['requests'] for event in self.figures()], [1.0])

    def test_a_stream(self) -> None:
        """A browser gets server-sent events; those that it does not read in time are dropped, and the stream ends with
        the session or the connection."""
        request = RecordingRequest()
        sending = Deferred.fromCoroutine(EventWriter(request).send(self.feed, Caller('1.a')))
        self.assertEqual(request.headers['Content-Type'], 'text/event-stream')
        self.clock.advance(INTERVAL)
        event, data = request.written[-1].decode().strip().split('\n')
        self.assertEqual(event, 'event: figures')
        self.assertEqual(msgspec.json.decode(data.removeprefix('data: '))['revision'], 7)
        request.producer.pauseProducing()
        count = len(request.written)
        self.clock.advance(INTERVAL)
        self.assertEqual(len(request.written), count)
        request.producer.resumeProducing()
        self.clock.advance(INTERVAL)
        self.assertEqual(len(request.written), count + 1)
        self.api.sessions.clear()
        self.clock.advance(INTERVAL)
        self.assertEqual(self.successResultOf(sending), b'')
        self.assertIn(b'event: end', request.written[-1])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_browser_that_leaves(self) -> None:
        """Klein cancels the handler: the subscription ends."""
        sending = Deferred.fromCoroutine(EventWriter(RecordingRequest()).send(self.feed, Caller('1.a')))
        sending.cancel()
        self.successResultOf(sending)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class StatisticsTests(SynchronousTestCase):
    def test_merged(self) -> None:
        """The figures of all servers are added; zatotx's own services count on demand."""
        answers = []
        for calls, errors in ((10, 1), (30, 0)):
            figures = {'calls': calls, 'errors': errors, 'seconds': 1.0, 'in_flight': 0, 'p95': 0.025}
            answers.append({'services': [{'name': 'crm.get', **figures}, {'name': 'zato.ping', **figures}]})
        (row,) = merge_rows(answers, with_internal=False)
        self.assertEqual({name: row[name] for name in ('name', 'calls', 'errors', 'mean', 'p95', 'share')},
                         {'name': 'crm.get', 'calls': 40, 'errors': 1, 'mean': 50.0, 'p95': 25.0, 'share': 100.0})
        self.assertEqual(len(merge_rows(answers, with_internal=True)), 2)

    def test_top(self) -> None:
        """The highest values come first, with their share of the highest; zeros do not count."""
        rows = [{'name': 'a', 'calls': 1}, {'name': 'b', 'calls': 200}, {'name': 'c', 'calls': 0}]
        self.assertEqual(top(rows, 'calls'), [('b', 200, 100), ('a', 1, 1)])

    def test_cells(self) -> None:
        """A name that a spreadsheet would execute is a text."""
        self.assertEqual([safe_cell(value) for value in ('=1+1', 'crm', 5)], ["'=1+1", 'crm', 5])
