"""Server-sent events: their encoding, and the keep-alive comments between them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from zatotx import Event
from zatotx.service.response import Response
from zatotx.service.server_sent_events import encode_event_stream
from zatotx.wire.http.sse import KEEP_ALIVE_COMMENT, encode_event


class FormTests(SynchronousTestCase):
    def test_data_alone(self) -> None:
        """Text is sent unchanged, anything else as JSON."""
        self.assertEqual(encode_event('hello é'), 'data: hello é\n\n'.encode())
        self.assertEqual(encode_event({'n': 1}), b'data: {"n":1}\n\n')
        self.assertEqual(encode_event(''), b'data: \n\n')

    def test_everything(self) -> None:
        """An event may have a name, an id, and a reconnection time."""
        event = Event([1], event='tick', id='7', retry=2000)
        self.assertEqual(encode_event(event), b'event: tick\nid: 7\nretry: 2000\ndata: [1]\n\n')
        self.assertEqual(encode_event(Event(retry=1)), b'retry: 1\n\n')

    def test_no_text_can_begin_a_field(self) -> None:
        """Each kind of line end starts a new data line; names and ids cannot contain one."""
        self.assertEqual(encode_event('a\rid: 1\r\nb\n\n'), b'data: a\ndata: id: 1\ndata: b\ndata: \ndata: \n\n')
        for bad in ({'event': 'a\nb'}, {'id': 'a\rb'}, {'id': 'a\0'}):
            self.assertRaises(ValueError, Event, 'x', **bad)

    def test_a_response_of_events(self) -> None:
        """The response has the content type of events and headers against caching and buffering, unless the service
        set them."""
        response = Response()
        response.headers['Cache-Control'] = 'no-store'
        response.events(iter(()))
        self.assertEqual(response.content_type, 'text/event-stream; charset=utf-8')
        self.assertEqual(response.headers, {'Cache-Control': 'no-store', 'X-Accel-Buffering': 'no'})
        self.assertRaises(ValueError, response.events, iter(()), heartbeat=0)


class Source:
    """Events controlled by the test; records how it ended."""

    def __init__(self) -> None:
        self.next: Deferred[Any] = Deferred()
        self.ended = ''

    async def events(self) -> AsyncIterator[Any]:
        try:
            while True:
                event = await self.next
                self.next = Deferred()
                if event is None:
                    return
                yield event
        except CancelledError:
            self.ended = 'cancelled'
            raise
        finally:
            self.ended = self.ended or 'over'

    def give(self, event: Any) -> None:
        self.next.callback(event)


class StreamTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock, self.source = Clock(), Source()
        self.stream = encode_event_stream(self.source.events(), self.clock, 15.0)

    def next(self) -> Deferred[bytes]:
        async def wait() -> bytes:
            return await anext(self.stream)

        return Deferred.fromCoroutine(wait())

    def test_events_come_at_once(self) -> None:
        """Events are sent at once and in order; the end of the source ends the stream."""
        first = self.next()
        self.source.give('a')
        self.assertEqual(self.successResultOf(first), b'data: a\n\n')
        last = self.next()
        self.source.give(None)
        self.failureResultOf(last, StopAsyncIteration)
        self.assertEqual((self.source.ended, self.clock.getDelayedCalls()), ('over', []))

    def test_silence_is_filled(self) -> None:
        """A comment is sent every 15 seconds without an event, and no event is lost."""
        first = self.next()
        self.clock.advance(14.9)
        self.assertNoResult(first)
        self.clock.advance(0.1)
        self.assertEqual(self.successResultOf(first), KEEP_ALIVE_COMMENT)
        second = self.next()
        self.clock.advance(15)
        self.assertEqual(self.successResultOf(second), KEEP_ALIVE_COMMENT)
        self.source.give('late')
        self.assertEqual(self.successResultOf(self.next()), b'data: late\n\n')
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_an_event_may_come_while_nobody_reads(self) -> None:
        """An event that arrives between two reads is kept."""
        first = self.next()
        self.clock.advance(15)
        self.successResultOf(first)
        self.source.give('kept')
        self.assertEqual(self.successResultOf(self.next()), b'data: kept\n\n')

    def test_closing_ends_the_service(self) -> None:
        """Closing the stream cancels the service's wait and runs its `finally`."""
        first = self.next()
        self.clock.advance(15)
        self.successResultOf(first)
        self.successResultOf(Deferred.fromCoroutine(self.stream.aclose()))  # type: ignore[attr-defined]
        self.assertEqual((self.source.ended, self.clock.getDelayedCalls()), ('cancelled', []))

    def test_a_reader_that_is_cancelled_ends_it_too(self) -> None:
        """Cancelling the reader ends the service, as when a client disconnects."""
        first = self.next()
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.assertEqual((self.source.ended, self.clock.getDelayedCalls()), ('cancelled', []))

    def test_what_the_service_raises_comes_through(self) -> None:
        """An exception of the service ends the stream and is logged."""
        first = self.next()
        self.source.next.errback(ValueError('no more'))
        self.failureResultOf(first, ValueError)
