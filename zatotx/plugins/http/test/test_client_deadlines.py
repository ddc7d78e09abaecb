"""How long each stage of a call may take, and what is left of it then: on a clock that stands until it is moved."""

from __future__ import annotations

from collections.abc import AsyncIterator
from math import inf
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from zatotx.plugins.http.client.call import HttpResponse, Timeouts
from zatotx.plugins.http.client.errors import (
    CallFailed,
    FirstByteTimeout,
    SilenceTimeout,
    TotalTimeout,
)
from zatotx.plugins.http.client.request_body import BodyPieces
from zatotx.plugins.http.client.response_body import HELD
from zatotx.plugins.http.client.timeout_sweeper import TimeoutSweeper
from zatotx.plugins.http.test.memory_lines import OK, CancelledError, InMemory, Line, Memory

HEAD = b'HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n'
TIMEOUTS = Timeouts(queue=1.0, connect=2.0, first_byte=3.0, silence=4.0, total=20.0)


class StageTests(InMemory):
    def setUp(self) -> None:
        self.memory = Memory(connections=1)

    def send(self, **more: Any) -> tuple[Deferred[Any], Line]:
        sending = self.memory.send(timeouts=TIMEOUTS, **more)
        return sending, self.memory.lines[-1]

    def late(self, sending: Deferred[Any], seconds: float, error: type[CallFailed], text: str) -> None:
        """It fails after as many seconds, and no sooner; its connection is cut and its place free."""
        self.memory.wait(seconds - 0.05)
        self.assertNoResult(sending)
        self.memory.wait(0.1)
        got = self.failed(sending, error)
        self.assertEqual((str(got), got.reached), (text, True))
        self.assertTrue(self.memory.lines[-1].aborted)
        self.clean(self.memory)

    def test_no_answer(self) -> None:
        """The first byte is due from when the request was written."""
        sending, _ = self.send()
        self.late(sending, 3, FirstByteTimeout, 'the peer did not begin to answer within 3 s')

    def test_just_too_late(self) -> None:
        """An answer that comes after its time, and before anybody has looked, is none: a peer that knows how long we
        wait answers that its time is over in that very moment, and whether we hear it must not be a matter of luck."""
        for stream in (False, True):
            memory = self.memory = Memory()
            memory.wait(0.5)
            sending = memory.send(timeouts=Timeouts(first_byte=0.041, total=inf), stream=stream)
            memory.wait(0.04)
            memory.clock.advance(0.002)
            self.assertNoResult(sending)
            memory.lines[0].say(OK)
            self.failed(sending, FirstByteTimeout)
            self.assertTrue(memory.lines[0].aborted)
            self.clean(memory)

    def test_half_a_head(self) -> None:
        """Is a beginning: then it is the silence that counts."""
        sending, line = self.send()
        self.memory.wait(2)
        line.say(HEAD[:20])
        self.late(sending, 4, SilenceTimeout, 'the peer stopped for 4 s within its answer')

    def test_half_a_body(self) -> None:
        """Too, from its last piece."""
        sending, line = self.send()
        line.say(HEAD + b'1')
        self.memory.wait(3)
        line.say(b'2')
        self.late(sending, 4, SilenceTimeout, 'the peer stopped for 4 s within its answer')

    def test_a_trickle(self) -> None:
        """Is never silent: the whole call has an end."""
        sending, line = self.send()
        line.say(HEAD[:-4] + b'0\r\n\r\n')
        for _ in range(6):
            self.memory.wait(3)
            line.say(b'x')
        self.late(sending, 2, TotalTimeout, 'the call was not over within 20 s')

    def test_interim_answers(self) -> None:
        """Say that the peer is at work: the first byte is due again from the last of them."""
        sending, line = self.send()
        self.memory.wait(2)
        line.say(b'HTTP/1.1 102 Processing\r\n\r\n')
        self.late(sending, 3, FirstByteTimeout, 'the peer did not begin to answer within 3 s')

    def test_the_callers_own_deadline(self) -> None:
        """Ends the call wherever it stands, and is not shifted by stages."""
        sending, _ = self.send(deadline=self.memory.clock.seconds() + 2)
        self.late(sending, 2, TotalTimeout, 'the call was not over within 2 s')

    def test_it_is_over_before_it_begins(self) -> None:
        """Then nothing is sent at all."""
        error = self.failed(self.memory.send(deadline=self.memory.clock.seconds()), TotalTimeout)
        self.assertFalse(error.reached)
        self.assertEqual(self.memory.dialings, [])
        self.clean(self.memory)

    def test_nothing_was_sent(self) -> None:
        """A call that is late in the queue or while connecting has not reached the peer, whichever deadline it was."""
        memory = Memory(False, connections=1)
        deadline = memory.clock.seconds() + 0.5
        for sending in (memory.send(deadline=deadline), memory.send(deadline=deadline)):
            memory.wait(0.6)
            self.assertFalse(self.failed(sending, TotalTimeout).reached)
        self.clean(memory)

    def test_no_bounds(self) -> None:
        """inf is none."""
        sending = self.memory.send(timeouts=Timeouts(first_byte=inf, silence=inf, total=inf))
        self.memory.wait(30)
        self.memory.lines[0].say(HEAD)
        self.memory.wait(30)
        self.memory.lines[0].say(b'1234567890')
        self.assertEqual(self.successResultOf(sending).body, b'1234567890')
        self.clean(self.memory, idle=1)

    def test_nobody_looks_when_there_is_nothing(self) -> None:
        """The sweep ends with the last call."""
        sending, line = self.send()
        line.say(OK)
        self.successResultOf(sending)
        self.memory.wait(0.1)
        self.assertEqual(len(self.memory.clock.getDelayedCalls()), 1, 'that of idle connections')


class StreamTests(InMemory):
    def setUp(self) -> None:
        self.memory = Memory()
        self.sending = self.memory.send(stream=True, timeouts=TIMEOUTS)
        self.line = self.memory.lines[0]

    def test_silence_in_a_stream(self) -> None:
        """Fails the read that waits for it, and the reads after that."""
        self.line.say(HEAD + b'12')
        stream = self.streamed(self.sending)
        self.assertEqual(self.successResultOf(stream.read()), b'12')
        reading = stream.read()
        self.memory.wait(4.1)
        self.failed(reading, SilenceTimeout)
        self.failed(stream.read(), SilenceTimeout)
        self.assertTrue(self.line.aborted)
        self.clean(self.memory)

    def test_a_slow_reader_is_no_silence(self) -> None:
        """While the peer is made to wait only the whole call can be late; once it may go on its silence counts."""
        size = HELD + 10
        self.line.say(b'HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n' % size + bytes(HELD))
        stream = self.streamed(self.sending)
        self.assertEqual(self.line.producerState, 'paused')
        self.memory.wait(9)
        self.assertEqual(len(self.successResultOf(stream.read())), HELD)
        self.assertEqual(self.line.producerState, 'producing')
        reading = stream.read()
        self.memory.wait(3.9)
        self.assertNoResult(reading)
        self.memory.wait(0.2)
        self.failed(reading, SilenceTimeout)
        self.clean(self.memory)

    def test_a_reader_that_never_comes(self) -> None:
        """Holds the connection until the whole call is late."""
        self.line.say(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10000\r\n' + bytes(HELD))
        stream = self.streamed(self.sending)
        self.memory.wait(19.9)
        self.assertEqual(self.memory.counts, (1, 0, 0))
        self.memory.wait(0.2)
        self.clean(self.memory)
        self.assertEqual(len(self.successResultOf(stream.read())), HELD)
        self.failed(stream.read(), TotalTimeout)


class RequestTests(InMemory):
    def way_out(self, line: Line) -> Any:
        """What the client has registered with the transport to be told when it is full."""
        return line.producer

    def setUp(self) -> None:
        self.memory = Memory()

    def test_consent(self) -> None:
        """With `expect` the body is sent when the peer says 100 Continue, and only then."""
        sending = self.memory.send('POST', body=b'body', expect=1.0)
        line = self.memory.lines[0]
        self.assertTrue(line.taken().endswith(b'Expect: 100-continue\r\nContent-Length: 4\r\n\r\n'))
        self.memory.wait(0.9)
        line.say(b'HTTP/1.1 100 Continue\r\n\r\n')
        self.assertEqual(line.taken(), b'body')
        line.say(OK)
        self.successResultOf(sending)
        self.clean(self.memory, idle=1)

    def test_silence_is_consent(self) -> None:
        """After its time the body is sent anyway: many peers do not know the question."""
        sending = self.memory.send('POST', body=b'body', expect=1.0)
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
        """A final answer is the answer; the body is not sent, so that nothing can follow on the connection."""
        sending = self.memory.send('POST', body=b'body', expect=1.0)
        line = self.memory.lines[0]
        line.taken()
        line.say(b'HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n')
        self.assertEqual(self.successResultOf(sending).status, 417)
        self.assertEqual((line.taken(), line.closed), (b'', True))
        self.clean(self.memory)

    def test_late_while_it_expects(self) -> None:
        """The whole call ends then too."""
        sending = self.memory.send('POST', body=b'body', expect=5.0, timeouts=Timeouts(total=2.0))
        self.memory.wait(2.1)
        self.failed(sending, TotalTimeout)
        self.clean(self.memory)

    def test_a_body_that_takes_long_to_make(self) -> None:
        """Is not the peer's fault: its first byte is due from when the request is whole."""
        pieces: list[Deferred[bytes]] = [Deferred(), Deferred()]

        async def made() -> AsyncIterator[bytes]:
            for piece in pieces:
                yield await piece

        sending = self.memory.send('POST', body=BodyPieces(made()), timeouts=TIMEOUTS)
        line = self.memory.lines[0]
        self.memory.wait(8)
        pieces[0].callback(b'one')
        self.memory.wait(8)
        pieces[1].callback(b'two')
        self.assertTrue(line.taken().endswith(b'\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n'))
        self.memory.wait(2.9)
        self.assertNoResult(sending)
        self.memory.wait(0.2)
        self.failed(sending, FirstByteTimeout)
        self.clean(self.memory)

    def test_a_peer_that_stops_taking_the_body(self) -> None:
        """Is late when it took nothing for as long as it may take to begin its answer."""
        sending = self.memory.send('POST', body=bytes(1_000_000), timeouts=TIMEOUTS)
        line = self.memory.lines[0]
        self.way_out(line).pauseProducing()
        for _ in range(4):
            self.memory.wait(2.5)
            self.way_out(line).resumeProducing()
            self.way_out(line).pauseProducing()
        self.assertNoResult(sending)
        self.memory.wait(3.1)
        self.failed(sending, FirstByteTimeout)
        self.clean(self.memory)

    def test_cancelling(self) -> None:
        """While the peer takes the request, before it answers and within its answer: the connection is cut."""
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
    """What cannot be told."""

    due = 0.0

    def expire(self, now: float) -> None:
        raise ZeroDivisionError


class DeadlinesTests(InMemory):
    def test_a_broken_one(self) -> None:
        """Is forgotten, and the others are told."""
        memory = Memory()
        deadlines: TimeoutSweeper = memory.shared.deadlines
        deadlines.watch(Broken())
        sending = memory.send(timeouts=Timeouts(first_byte=1.0))
        memory.wait(1.1)
        self.failed(sending, FirstByteTimeout)
        self.assertEqual((len(self.flushLoggedErrors(ZeroDivisionError)), len(deadlines)), (1, 0))

    def test_one_that_another_ended(self) -> None:
        """Two calls are late in one look, and the first one's caller cancels the second: it is not told twice."""
        memory = Memory()
        sendings = [memory.send(timeouts=Timeouts(first_byte=1.0)) for _ in range(2)]
        errors: list[str] = []

        def note(failure: Failure, other: Deferred[HttpResponse]) -> None:
            errors.append(type(failure.value).__name__)
            other.cancel()

        for sending, other in zip(sendings, reversed(sendings), strict=True):
            sending.addErrback(note, other)
        memory.wait(1.1)
        self.assertEqual(sorted(errors), ['CancelledError', 'FirstByteTimeout'])
        self.clean(memory)
