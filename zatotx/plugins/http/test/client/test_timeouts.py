"""The timeout of each stage of a call, and what is left afterwards, on a clock that tests advance."""

from __future__ import annotations

from collections.abc import AsyncIterator
from math import inf
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from zatotx.interfaces.timeout_sweeper import TimeoutSweeper
from zatotx.plugins.http.client.errors import (
    CallFailed,
    ResponseStallTimeout,
    ResponseStartTimeout,
    TotalTimeout,
)
from zatotx.plugins.http.client.http_messages import HttpResponse, Timeouts
from zatotx.plugins.http.client.request_writer import IteratorBody
from zatotx.plugins.http.client.response_reader import MAX_BUFFERED
from zatotx.plugins.http.test.memory_connections import OK, CancelledError, InMemory, Line, Memory

HEAD = b'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n'
TIMEOUTS = Timeouts(
    queue_timeout=1.0, connect_timeout=2.0, first_byte_timeout=3.0, read_timeout=4.0, total_timeout=20.0
)


class StageTests(InMemory):
    def setUp(self) -> None:
        self.memory = Memory(max_connections=1)

    def send(self, **more: Any) -> tuple[Deferred[Any], Line]:
        sending = self.memory.send(timeouts=TIMEOUTS, **more)
        return sending, self.memory.lines[-1]

    def late(self, sending: Deferred[Any], seconds: float, error: type[CallFailed], text: str) -> None:
        """Check that a call fails after these seconds and no sooner, with its connection aborted and its slot free."""
        self.memory.wait(seconds - 0.05)
        self.assertNoResult(sending)
        self.memory.wait(0.1)
        got = self.failed(sending, error)
        self.assertEqual((str(got), got.reached_peer), (text, True))
        self.assertTrue(self.memory.lines[-1].aborted)
        self.clean(self.memory)

    def test_no_answer(self) -> None:
        """The first-byte timeout starts when the request is written."""
        sending, _ = self.send()
        self.late(sending, 3, ResponseStartTimeout, 'the peer did not begin to answer within 3 s')

    def test_just_too_late(self) -> None:
        """A response that arrives after its timeout, before the sweep, is discarded. A peer that knows our timeout may
        send a timeout response at that very moment, and whether it is read must not depend on chance."""
        for stream in (False, True):
            memory = self.memory = Memory()
            memory.wait(0.5)
            sending = memory.send(timeouts=Timeouts(first_byte_timeout=0.041, total_timeout=inf), is_streamed=stream)
            memory.wait(0.04)
            memory.clock.advance(0.002)
            self.assertNoResult(sending)
            memory.lines[0].say(OK)
            self.failed(sending, ResponseStartTimeout)
            self.assertTrue(memory.lines[0].aborted)
            self.clean(memory)

    def test_half_a_head(self) -> None:
        """Half a head counts as a beginning: the silence timeout applies."""
        sending, line = self.send()
        self.memory.wait(2)
        line.say(HEAD[:20])
        self.late(sending, 4, ResponseStallTimeout, 'the peer stopped for 4 s within its answer')

    def test_half_a_body(self) -> None:
        """Half a body too: the timeout starts with its last piece."""
        sending, line = self.send()
        line.say(HEAD + b'1')
        self.memory.wait(3)
        line.say(b'2')
        self.late(sending, 4, ResponseStallTimeout, 'the peer stopped for 4 s within its answer')

    def test_a_trickle(self) -> None:
        """A trickling response is limited by the total timeout."""
        sending, line = self.send()
        line.say(HEAD[:-4] + b'0\r\n\r\n')
        for _ in range(6):
            self.memory.wait(3)
            line.say(b'x')
        self.late(sending, 2, TotalTimeout, 'the call was not over within 20 s')

    def test_interim_answers(self) -> None:
        """Interim responses restart the first-byte timeout."""
        sending, line = self.send()
        self.memory.wait(2)
        line.say(b'HTTP/1.1 102 Processing\r\n\r\n')
        self.late(sending, 3, ResponseStartTimeout, 'the peer did not begin to answer within 3 s')

    def test_the_callers_own_deadline(self) -> None:
        """The caller's deadline ends the call in any stage, and stages do not shift it."""
        sending, _ = self.send(deadline=self.memory.clock.seconds() + 2)
        self.late(sending, 2, TotalTimeout, 'the call was not over within 2 s')

    def test_it_is_over_before_it_begins(self) -> None:
        """A call whose deadline has passed sends nothing."""
        error = self.failed(self.memory.send(deadline=self.memory.clock.seconds()), TotalTimeout)
        self.assertFalse(error.reached_peer)
        self.assertEqual(self.memory.dialings, [])
        self.clean(self.memory)

    def test_nothing_was_sent(self) -> None:
        """A call that times out in the queue or while connecting has not reached the peer."""
        memory = Memory(False, max_connections=1)
        deadline = memory.clock.seconds() + 0.5
        for sending in (memory.send(deadline=deadline), memory.send(deadline=deadline)):
            memory.wait(0.6)
            self.assertFalse(self.failed(sending, TotalTimeout).reached_peer)
        self.clean(memory)

    def test_no_bounds(self) -> None:
        """A timeout of inf means no timeout."""
        sending = self.memory.send(timeouts=Timeouts(first_byte_timeout=inf, read_timeout=inf, total_timeout=inf))
        self.memory.wait(30)
        self.memory.lines[0].say(HEAD)
        self.memory.wait(30)
        self.memory.lines[0].say(b'1234567890')
        self.assertEqual(self.successResultOf(sending).body, b'1234567890')
        self.clean(self.memory, idle=1)

    def test_nobody_looks_when_there_is_nothing(self) -> None:
        """The sweep stops after the last call."""
        sending, line = self.send()
        line.say(OK)
        self.successResultOf(sending)
        self.memory.wait(0.1)
        self.assertEqual(len(self.memory.clock.getDelayedCalls()), 1, 'that of idle connections')


class StreamTests(InMemory):
    def setUp(self) -> None:
        self.memory = Memory()
        self.sending = self.memory.send(is_streamed=True, timeouts=TIMEOUTS)
        self.line = self.memory.lines[0]

    def test_silence_in_a_stream(self) -> None:
        """Silence in a stream fails the pending read, and all later ones."""
        self.line.say(HEAD + b'12')
        stream = self.streamed(self.sending)
        self.assertEqual(self.successResultOf(stream.read()), b'12')
        reading = stream.read()
        self.memory.wait(4.1)
        self.failed(reading, ResponseStallTimeout)
        self.failed(stream.read(), ResponseStallTimeout)
        self.assertTrue(self.line.aborted)
        self.clean(self.memory)

    def test_a_slow_reader_is_no_silence(self) -> None:
        """While the peer is paused only the total timeout applies; after that its silence counts."""
        size = MAX_BUFFERED + 10
        self.line.say(b'HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n' % size + bytes(MAX_BUFFERED))
        stream = self.streamed(self.sending)
        self.assertEqual(self.line.producerState, 'paused')
        self.memory.wait(9)
        self.assertEqual(len(self.successResultOf(stream.read())), MAX_BUFFERED)
        self.assertEqual(self.line.producerState, 'producing')
        reading = stream.read()
        self.memory.wait(3.9)
        self.assertNoResult(reading)
        self.memory.wait(0.2)
        self.failed(reading, ResponseStallTimeout)
        self.clean(self.memory)

    def test_a_reader_that_never_comes(self) -> None:
        """A reader that never reads occupies the connection until the total timeout."""
        self.line.say(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10000\r\n' + bytes(MAX_BUFFERED))
        stream = self.streamed(self.sending)
        self.memory.wait(19.9)
        self.assertEqual(self.memory.counts, (1, 0, 0))
        self.memory.wait(0.2)
        self.clean(self.memory)
        self.assertEqual(len(self.successResultOf(stream.read())), MAX_BUFFERED)
        self.failed(stream.read(), TotalTimeout)


class RequestTests(InMemory):
    def way_out(self, line: Line) -> Any:
        """Return the producer that the client has registered with the transport."""
        return line.producer

    def setUp(self) -> None:
        self.memory = Memory()

    def test_consent(self) -> None:
        """With `expect` the body is sent after 100 Continue, and only then."""
        sending = self.memory.send('POST', body=b'body', expect_timeout=1.0)
        line = self.memory.lines[0]
        self.assertTrue(line.taken().endswith(b'Expect: 100-continue\r\nContent-Length: 4\r\n\r\n'))
        self.memory.wait(0.9)
        line.say(b'HTTP/1.1 100 Continue\r\n\r\n')
        self.assertEqual(line.taken(), b'body')
        line.say(OK)
        self.successResultOf(sending)
        self.clean(self.memory, idle=1)

    def test_silence_is_consent(self) -> None:
        """After the timeout the body is sent anyway: many peers do not support Expect."""
        sending = self.memory.send('POST', body=b'body', expect_timeout=1.0)
        line = self.memory.lines[0]
        line.taken()
        self.memory.wait(0.95)
        self.assertEqual(line.taken(), b'')
        self.memory.wait(0.1)
        self.assertEqual(line.taken(), b'body')
        line.say(b'HTTP/1.1 100 Continue\r\n\r\n' + OK)
        self.successResultOf(sending)
        self.assertEqual(line.taken(), b'')
        self.clean(self.memory, idle=1)

    def test_refusal(self) -> None:
        """A final response is returned without sending the body, and the connection is not reused."""
        sending = self.memory.send('POST', body=b'body', expect_timeout=1.0)
        line = self.memory.lines[0]
        line.taken()
        line.say(b'HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n')
        self.assertEqual(self.successResultOf(sending).status, 417)
        self.assertEqual((line.taken(), line.closed), (b'', True))
        self.clean(self.memory)

    def test_late_while_it_expects(self) -> None:
        """The total timeout applies while the client waits for 100 Continue."""
        sending = self.memory.send('POST', body=b'body', expect_timeout=5.0, timeouts=Timeouts(total_timeout=2.0))
        self.memory.wait(2.1)
        self.failed(sending, TotalTimeout)
        self.clean(self.memory)

    def test_a_body_that_takes_long_to_make(self) -> None:
        """A slow body source is not the peer's fault: the first-byte timeout starts after the whole request."""
        pieces: list[Deferred[bytes]] = [Deferred(), Deferred()]

        async def made() -> AsyncIterator[bytes]:
            for piece in pieces:
                yield await piece

        sending = self.memory.send('POST', body=IteratorBody(made()), timeouts=TIMEOUTS)
        line = self.memory.lines[0]
        self.memory.wait(8)
        pieces[0].callback(b'one')
        self.memory.wait(8)
        pieces[1].callback(b'two')
        self.assertTrue(line.taken().endswith(b'\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n'))
        self.memory.wait(2.9)
        self.assertNoResult(sending)
        self.memory.wait(0.2)
        self.failed(sending, ResponseStartTimeout)
        self.clean(self.memory)

    def test_a_peer_that_stops_taking_the_body(self) -> None:
        """A peer that stops reading the body is late after the first-byte timeout."""
        sending = self.memory.send('POST', body=bytes(1_000_000), timeouts=TIMEOUTS)
        line = self.memory.lines[0]
        self.way_out(line).pauseProducing()
        for _ in range(4):
            self.memory.wait(2.5)
            self.way_out(line).resumeProducing()
            self.way_out(line).pauseProducing()
        self.assertNoResult(sending)
        self.memory.wait(3.1)
        self.failed(sending, ResponseStartTimeout)
        self.clean(self.memory)

    def test_cancelling(self) -> None:
        """Cancelling a call aborts the connection, in the request, before the response and within it."""
        for said in (b'', HEAD[:9], HEAD, HEAD + b'123', b'HTTP/1.1 100 Continue\r\n\r\n'):
            sending = self.memory.send('POST', body=b'body')
            line = self.memory.lines[-1]
            if said:
                line.say(said)
            sending.cancel()
            self.failed(sending, CancelledError)
            self.assertTrue(line.aborted)
            self.clean(self.memory)


class Broken:
    """An object whose `expire` fails."""

    deadline = 0.0

    def expire(self, now: float) -> None:
        raise ZeroDivisionError


class DeadlinesTests(InMemory):
    def test_a_broken_one(self) -> None:
        """A failing object is removed, and the others expire."""
        memory = Memory()
        deadlines: TimeoutSweeper = memory.shared.timeout_sweeper
        deadlines.add(Broken())
        sending = memory.send(timeouts=Timeouts(first_byte_timeout=1.0))
        memory.wait(1.1)
        self.failed(sending, ResponseStartTimeout)
        self.assertEqual((len(self.flushLoggedErrors(ZeroDivisionError)), len(deadlines)), (1, 0))

    def test_one_that_another_ended(self) -> None:
        """If the first of two late calls cancels the second, the second does not expire too."""
        memory = Memory()
        sendings = [memory.send(timeouts=Timeouts(first_byte_timeout=1.0)) for _ in range(2)]
        errors: list[str] = []

        def note(failure: Failure, other: Deferred[HttpResponse]) -> None:
            errors.append(type(failure.value).__name__)
            other.cancel()

        for sending, other in zip(sendings, reversed(sendings), strict=True):
            sending.addErrback(note, other)
        memory.wait(1.1)
        self.assertEqual(sorted(errors), ['CancelledError', 'ResponseStartTimeout'])
        self.clean(memory)
