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
from zatotx.admin.live import INTERVAL, LiveEvent, LiveFeed
from zatotx.admin.screens.statistics import merge_rows, safe_cell, top


def answer(calls: int, errors: int = 0, seconds: float = 0.0) -> dict[str, Any]:
    """An answer of zato.stats.get-current."""
    row = {'calls': calls, 'errors': errors, 'seconds': seconds, 'in_flight': 0, 'p95': 0.025}
    services = [{'name': 'crm.get', **row}, {'name': 'zato.ping', **row}]
    return {'server': 's1', 'revision': 7, 'requests': calls, 'in_flight': 2, 'services': services}


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
        self.api.answers['zato.server.get-list'] = [{'name': 's1', 'up_status': 'clean-down', 'up_mod_date': ''}]
        self.set(answer(0))
        self.events: list[tuple[str, LiveEvent | None]] = []

    def set(self, value: Any) -> None:
        self.api.answers['zato.stats.get-current'] = value if isinstance(value, Exception) else [value]

    def subscribe(self, token: str) -> Any:
        def subscriber(event: LiveEvent | None) -> None:
            self.events.append((token, event))
        self.feed.subscribe(subscriber, Caller(token))
        return subscriber

    def answer_as_it_is(self) -> None:
        """The double wraps each answer in a list; here it is one already."""
        self.api.call_each = self.api.call  # type: ignore[method-assign]

    def test_rates(self) -> None:
        """Rates are those between two polls, of users' services; the first poll gives none."""
        self.answer_as_it_is()
        self.subscribe('1.a')
        self.assertEqual(self.events, [])
        self.set(answer(20, 4, 0.5))
        self.clock.advance(INTERVAL)
        self.assertEqual(self.events[-1][1], LiveEvent(servers={'s1': False}, requests=10.0, errors=2.0, mean=25.0,
                                                      in_flight=2, revision=7))  # fmt: skip
        self.set(answer(1))  # the server has restarted
        self.clock.advance(INTERVAL)
        event = self.events[-1][1]
        self.assertEqual((event.requests, event.mean) if event else None, (0.0, 0.0))

    def test_one_poll_for_all(self) -> None:
        """Any number of browsers cost one poll, with the session of each in turn, none of which it keeps alive; without
        browsers there are no polls."""
        self.answer_as_it_is()
        first, second = self.subscribe('1.a'), self.subscribe('1.b')
        for _ in range(4):
            self.clock.advance(INTERVAL)
        polls = [caller for service, _, caller in self.api.calls if service == 'zato.stats.get-current']
        self.assertEqual([caller.token for caller in polls], ['1.a', '1.a', '1.b', '1.a', '1.b'])
        self.assertTrue(all(caller.is_passive for caller in polls))
        self.assertEqual({token for token, _ in self.events[-2:]}, {'1.a', '1.b'})
        self.feed.unsubscribe(first)
        self.feed.unsubscribe(second)
        before = len(self.api.calls)
        self.clock.advance(10 * INTERVAL)
        self.assertEqual(len(self.api.calls), before)

    def test_a_session_that_ends(self) -> None:
        """Its browser is told and gets no more; the others go on."""
        self.answer_as_it_is()
        self.subscribe('1.a')
        self.subscribe('1.b')
        self.api.sessions.discard('1.b')
        for _ in range(3):
            self.clock.advance(INTERVAL)
        self.assertIn(('1.b', None), self.events)
        self.events.clear()
        self.clock.advance(INTERVAL)
        self.assertEqual([token for token, _ in self.events], ['1.a'])

    def test_the_cluster_is_away(self) -> None:
        """No events while it is away, and rates that do not include that time afterwards."""
        self.answer_as_it_is()
        self.subscribe('1.a')
        self.set(ApiError(0, ['No server']))
        self.clock.advance(INTERVAL)
        self.set(answer(1000))
        self.clock.advance(INTERVAL)
        self.assertEqual(self.events, [])
        self.set(answer(1002))
        self.clock.advance(INTERVAL)
        self.assertEqual([event.requests for _, event in self.events if event], [1.0])

    def test_a_stream(self) -> None:
        """A browser gets server-sent events; those that it does not read in time are dropped, and the stream ends with
        the session or the connection."""
        self.answer_as_it_is()
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
        self.answer_as_it_is()
        sending = Deferred.fromCoroutine(EventWriter(RecordingRequest()).send(self.feed, Caller('1.a')))
        sending.cancel()
        self.successResultOf(sending)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class StatisticsTests(SynchronousTestCase):
    def test_merged(self) -> None:
        """The figures of all servers are added; zatotx's own services count on demand."""
        answers = [answer(10, 1, 1.0), answer(30, 0, 1.0)]
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
