"""Whatever peers, callers and the clock do, in any order: every call ends once, and no state is left."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost, ConnectionRefusedError

from trial_tests.support.properties import holds
from zatotx.plugins.http.client.http_messages import HttpResponse, Timeouts
from zatotx.plugins.http.client.request_writer import IteratorBody
from zatotx.plugins.http.test.memory_connections import OK, InMemory, Line, Memory

CHUNKED = b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n'
SAID = [OK, OK, OK + OK, OK[:30], b'', CHUNKED, CHUNKED[:-9], b'\r\n', b'nonsense', b'HTTP/1.1 100 Continue\r\n\r\n',
        b'HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n', b'HTTP/1.1 200 OK\r\n\r\nuntil']  # fmt: skip
DOES = st.tuples(
    st.sampled_from(['send', 'send', 'connect', 'connect', 'refuse', 'say', 'say', 'say', 'end', 'lose', 'cancel',
                     'wait', 'full', 'room', 'read', 'shut']),
    st.integers(0, 11),
)  # fmt: skip
TIMEOUTS = Timeouts(queue_timeout=3.0, connect_timeout=3.0, first_byte_timeout=3.0, read_timeout=3.0, total_timeout=8.0)


class Play:
    """A client with callers and peers that performs scripted steps."""

    def __init__(self, connections: int) -> None:
        self.memory = Memory(False, max_connections=connections, idle_timeout=5.0, max_waiting=4)
        self.sendings: list[Deferred[Any]] = []
        self.lines: list[Line] = []
        self.ended: list[int] = []
        self.streams: list[Any] = []
        self.made = 0
        self.closed = 0

    def do(self, what: str, number: int) -> None:
        getattr(self, what)(number)

    def send(self, number: int) -> None:
        at = len(self.sendings)
        body: Any = (None, b'body', IteratorBody(self.source()), IteratorBody(self.source(), 4))[number % 4]
        sending = self.memory.send(
            ('GET', 'POST')[number % 2],
            body=body,
            expect_timeout=float(number % 3),
            is_streamed=number > 8,
            timeouts=TIMEOUTS,
        )
        self.sendings.append(sending)
        sending.addBoth(self.over, at)

    def over(self, result: Any, at: int) -> None:
        self.ended.append(at)
        if isinstance(result, HttpResponse) and not isinstance(result.body, bytes):
            self.streams.append(result.body)

    async def source(self) -> Any:
        self.made += 1
        try:
            yield b'bo'
            yield b'dy'
        finally:
            self.closed += 1

    def connect(self, number: int) -> None:
        open_dialings = [dialing for dialing in self.memory.dialings if not dialing.done.called]
        if open_dialings:
            self.lines.append(open_dialings[number % len(open_dialings)].connect())

    def refuse(self, number: int) -> None:
        open_dialings = [dialing for dialing in self.memory.dialings if not dialing.done.called]
        if open_dialings:
            open_dialings[number % len(open_dialings)].done.errback(ConnectionRefusedError())

    def line(self, number: int) -> Line | None:
        lines = [line for line in self.lines if not line.over and not line.closed]
        return lines[number % len(lines)] if lines else None

    def say(self, number: int) -> None:
        line = self.line(number)
        if line is not None and line.producerState == 'producing':
            line.say(SAID[number % len(SAID)] or OK)

    def end(self, number: int) -> None:
        line = self.line(number)
        if line is not None:
            line.end()

    def lose(self, number: int) -> None:
        line = self.line(number)
        if line is not None:
            line.end(ConnectionLost())

    def full(self, number: int) -> None:
        line: Any = self.line(number)
        if line is not None:
            line.producer.pauseProducing()

    def room(self, number: int) -> None:
        line: Any = self.line(number)
        if line is not None:
            line.producer.resumeProducing()

    def cancel(self, number: int) -> None:
        if self.sendings:
            self.sendings[number % len(self.sendings)].cancel()

    def wait(self, number: int) -> None:
        self.memory.wait(number / 4)

    def read(self, number: int) -> None:
        if self.streams:
            self.streams[number % len(self.streams)].read().addErrback(lambda failure: None).cancel()

    def shut(self, number: int) -> None:
        if self.streams:
            self.streams[number % len(self.streams)].close()


class AnyOrderTests(InMemory):
    @holds(connections=st.integers(1, 3), steps=st.lists(DOES, max_size=50))
    def test_every_call_ends_once(self, connections: int, steps: list[tuple[str, int]]) -> None:
        """The pool never exceeds its limits, its statistics are consistent after every step, sources are closed; and
        after all timeouts no state is left."""
        play = Play(connections)
        memory = play.memory
        for step in steps:
            play.do(*step)
            self.agree(play, connections)
        memory.wait(10)
        self.assertEqual(sorted(play.ended), list(range(len(play.sendings))))
        self.assertEqual(play.made, play.closed)
        memory.wait(20)
        self.clean(memory)
        self.assertTrue(all(line.closed or line.over for line in play.lines))

    def agree(self, play: Play, connections: int) -> None:
        active, idle, waiting = play.memory.counts
        self.assertLessEqual(active + idle, connections)
        self.assertTrue(active >= 0 and 0 <= waiting <= 4)
        self.assertTrue(waiting == 0 or active == connections, 'nobody waits while there is room')
        self.assertEqual(len(set(play.ended)), len(play.ended))
