"""The connection pool and the order of its queue, in memory and therefore exact."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError, DNSLookupError, TCPTimedOutError

from zatotx.plugins.http.client.errors import (
    ClientClosed,
    ConnectRefused,
    ConnectTimeout,
    NoSuchHost,
    NotReached,
    PeerReset,
    QueueFull,
    QueueTimeout,
)
from zatotx.plugins.http.client.http_messages import HttpRequest, HttpResponse, Origin, Timeouts
from zatotx.plugins.http.test.memory_connections import OK, CancelledError, InMemory, Memory


class PlaceTests(InMemory):
    def test_connections_are_used_again(self) -> None:
        """Consecutive calls use one connection, concurrent ones several."""
        memory = Memory()
        for _ in range(3):
            sending = memory.send()
            memory.lines[0].say(OK)
            self.assertEqual(self.successResultOf(sending).body, b'ok')
        self.assertEqual((len(memory.lines), memory.counts), (1, (0, 1, 0)))
        sendings = [memory.send() for _ in range(3)]
        self.assertEqual((len(memory.lines), memory.counts), (3, (3, 0, 0)))
        for line, sending in zip(memory.lines, sendings, strict=True):
            line.say(OK)
            self.successResultOf(sending)
        self.clean(memory, idle=3)

    def test_the_caller_hears_last(self) -> None:
        """The connection is free when the caller gets the response: its next call uses it."""
        memory = Memory(max_connections=1)
        second: list[Deferred[HttpResponse]] = []
        memory.send().addCallback(lambda answer: second.append(memory.send()))
        memory.lines[0].say(OK)
        self.assertEqual((len(memory.lines), memory.counts), (1, (1, 0, 0)))
        memory.lines[0].say(OK)
        self.successResultOf(second[0])

    def test_first_come_first_served(self) -> None:
        """Calls beyond the limit are sent in FIFO order, on the connection that is free first."""
        memory = Memory(max_connections=2)
        sendings = [memory.send(target=b'/%d' % n) for n in range(5)]
        self.assertEqual(memory.counts, (2, 0, 3))
        one, two = memory.lines
        one.taken()
        two.taken()
        two.say(OK)
        self.assertTrue(two.taken().startswith(b'GET /2 '))
        two.say(OK)
        self.assertTrue(two.taken().startswith(b'GET /3 '))
        one.say(OK)
        self.assertTrue(one.taken().startswith(b'GET /4 '))
        one.say(OK)
        two.say(OK)
        for sending in sendings:
            self.successResultOf(sending)
        self.clean(memory, idle=2)

    def test_nobody_overtakes(self) -> None:
        """A call made when a slot was just freed waits behind the older ones."""
        memory = Memory(max_connections=1)
        late: list[Deferred[HttpResponse]] = []
        first = memory.send().addErrback(lambda _: late.append(memory.send(target=b'/late')))
        waiting = memory.send(target=b'/waiting')
        memory.lines[0].end()
        self.successResultOf(first)
        self.assertTrue(memory.lines[1].taken().startswith(b'GET /waiting '))
        memory.lines[1].say(OK)
        self.successResultOf(waiting)
        self.assertTrue(memory.lines[1].taken().startswith(b'GET /late '))

    def test_a_place_that_is_freed(self) -> None:
        """When a connection breaks, the call that has waited longest opens a new one."""
        memory = Memory(max_connections=1)
        broken, waiting = memory.send('POST'), memory.send()
        memory.lines[0].end()
        self.assertTrue(self.failed(broken, PeerReset).reached_peer)
        self.assertEqual((len(memory.lines), memory.counts), (2, (1, 0, 0)))
        memory.lines[1].say(OK)
        self.successResultOf(waiting)
        self.clean(memory, idle=1)

    def test_the_queue_has_an_end(self) -> None:
        """The queue is limited in length, with an error at once, and in time."""
        memory = Memory(max_connections=1, max_waiting=1)
        busy = memory.send()
        waiting = memory.send(timeouts=Timeouts(queue_timeout=3.0))
        error = self.failed(memory.send(), QueueFull)
        self.assertEqual((str(error), error.reached_peer), ('all connections are busy and 1 calls wait already', False))
        memory.wait(2.9)
        self.assertNoResult(waiting)
        memory.wait(0.2)
        error = self.failed(waiting, QueueTimeout)
        self.assertEqual((str(error), error.reached_peer), ('no connection was free within 3 s', False))
        self.assertEqual(memory.counts, (1, 0, 0))
        memory.lines[0].say(OK)
        self.successResultOf(busy)
        self.clean(memory, idle=1)

    def test_leaving_the_queue(self) -> None:
        """A call cancelled in the queue is never sent; those behind it move up."""
        memory = Memory(max_connections=1)
        busy, leaving, waiting = memory.send(), memory.send(target=b'/leaving'), memory.send(target=b'/waiting')
        leaving.cancel()
        self.failed(leaving, CancelledError)
        memory.lines[0].taken()
        memory.lines[0].say(OK)
        self.assertTrue(memory.lines[0].taken().startswith(b'GET /waiting '))
        memory.lines[0].say(OK)
        self.successResultOf(busy)
        self.successResultOf(waiting)
        self.clean(memory, idle=1)

    def test_each_origin_has_its_own(self) -> None:
        """Scheme, host and port distinguish origins; the limit is per origin."""
        memory = Memory(max_connections=1)
        origins = [Origin('http', 'a', 80), Origin('http', 'b', 80), Origin('http', 'a', 81), Origin('https', 'a', 80)]
        for origin in origins * 2:
            memory.client.send(HttpRequest('GET', origin)).addErrback(lambda _: None)
        self.assertEqual(memory.counts, (4, 0, 4))
        for line in memory.lines[:4]:
            line.say(OK)
            line.say(OK)
        self.clean(memory, idle=4)

    def test_origins_that_nobody_calls_any_more(self) -> None:
        """Pools of unused origins are dropped: a program that follows links does not grow."""
        memory = Memory(idle_timeout=1.0)
        for n in range(100):
            memory.client.send(HttpRequest('GET', Origin('http', f'host-{n}', 80)))
            memory.lines[-1].say(OK)
            memory.wait(1.1)
        self.assertLess(len(memory.client._pools), 10)
        self.clean(memory)


class IdleTests(InMemory):
    def test_idle_connections_end(self) -> None:
        """Idle connections are closed in an orderly way after their timeout; the most recently used one is reused
        first."""
        memory = Memory(idle_timeout=10.0)
        memory.send()
        memory.send()
        memory.lines[0].say(OK)
        memory.wait(4)
        memory.lines[1].say(OK)
        memory.wait(5.9)
        self.assertEqual([line.closed for line in memory.lines], [False, False])
        memory.wait(0.2)
        self.assertEqual([line.disconnecting for line in memory.lines], [True, False])
        memory.wait(4)
        self.assertEqual([line.disconnecting for line in memory.lines], [True, True])
        self.assertEqual([line.aborted for line in memory.lines], [False, False])
        self.clean(memory)
        self.assertEqual(memory.clock.getDelayedCalls(), [])

    def test_a_connection_that_is_used_stays(self) -> None:
        """The idle timeout starts again with every call."""
        memory = Memory(idle_timeout=10.0)
        for _ in range(5):
            sending = memory.send()
            memory.lines[0].say(OK)
            self.successResultOf(sending)
            memory.wait(9)
        self.assertFalse(memory.lines[0].closed)

    def test_none_is_kept(self) -> None:
        """With an idle timeout of 0 each call has its own connection, with `Connection: close`."""
        memory = Memory(idle_timeout=0.0)
        for _ in range(2):
            sending = memory.send()
            self.assertIn(b'\r\nConnection: close\r\n', memory.lines[-1].taken())
            memory.lines[-1].say(OK)
            self.successResultOf(sending)
            self.assertTrue(memory.lines[-1].disconnecting)
        self.assertEqual(len(memory.lines), 2)
        self.clean(memory)

    def test_the_peer_says_that_it_is_the_last(self) -> None:
        """After `Connection: close` the connection is not reused."""
        memory = Memory()
        for answer in (b'HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n',
                       b'HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n', OK + b'and more'):
            sending = memory.send()
            memory.lines[-1].say(answer)
            self.successResultOf(sending)
            self.assertTrue(memory.lines[-1].closed)
        self.assertEqual(len(memory.lines), 3)
        self.clean(memory)

    def test_an_idle_connection_that_ends(self) -> None:
        """An idle connection that ends, or on which bytes arrive, is removed from the pool."""
        memory = Memory()
        for spoil in (lambda line: line.end(), lambda line: line.say(b'HTTP/1.1 408 Late\r\n\r\n'),
                      lambda line: line.say(OK)):
            sending = memory.send()
            memory.lines[-1].say(OK)
            self.successResultOf(sending)
            self.assertEqual(memory.counts, (0, 1, 0))
            spoil(memory.lines[-1])
            self.clean(memory)
        self.assertEqual(len(memory.lines), 3)

    def test_a_farewell_that_the_peer_does_not_hear(self) -> None:
        """A connection that does not close within 5 s is aborted."""
        memory = Memory(idle_timeout=0.0)
        sending = memory.send()
        line = memory.lines[0]
        line.loseConnection = lambda: None  # type: ignore[method-assign]
        line.say(OK)
        self.successResultOf(sending)
        self.assertEqual(memory.counts, (0, 0, 0))
        memory.wait(4.9)
        self.assertFalse(line.aborted)
        memory.wait(0.2)
        self.assertTrue(line.aborted)
        self.clean(memory)


class DialTests(InMemory):
    def test_errors_of_connecting(self) -> None:
        """Twisted's connect errors are translated, ours are kept; none has reached the peer, and no slot is lost."""
        for given, error in (
            (ConnectionRefusedError(), ConnectRefused), (DNSLookupError(), NoSuchHost),
            (TCPTimedOutError(), ConnectTimeout), (RuntimeError('odd'), NotReached), (NoSuchHost('no'), NoSuchHost),
        ):
            memory = Memory(given, max_connections=1)
            for _ in range(3):
                got = self.failed(memory.send('POST'), error)
                self.assertFalse(got.reached_peer)
                self.assertIs(got if isinstance(given, NoSuchHost) else got.__cause__, given)
            self.clean(memory)

    def test_a_peer_that_went_away(self) -> None:
        """If the repeated attempt finds no peer, the request may have reached it on the stale connection."""
        memory = Memory()
        memory.send()
        memory.lines[0].say(OK)
        memory.at_once = ConnectionRefusedError()
        sending = memory.send()
        memory.lines[0].end()
        self.assertTrue(self.failed(sending, ConnectRefused).reached_peer)
        self.clean(memory)

    def test_a_dial_that_raises(self) -> None:
        """An exception in dial is a failed attempt."""
        memory = Memory()

        def dial(*args: Any) -> Any:
            raise ZeroDivisionError

        memory.client._dial = dial
        self.failed(memory.send(), NotReached)
        self.clean(memory)

    def test_all_that_wait_when_nobody_is_there(self) -> None:
        """Two thousand calls behind a failing connection fail one after the other, without recursion."""
        memory = Memory(False, max_connections=1)
        sendings = [memory.send() for _ in range(2_000)]
        memory.at_once = ConnectionRefusedError()
        memory.dialings[0].done.errback(ConnectionRefusedError())
        for sending in sendings:
            self.failed(sending, ConnectRefused)
        self.clean(memory)

    def test_a_connection_is_late(self) -> None:
        """A connect timeout cancels the attempt, and frees its slot."""
        memory = Memory(False, max_connections=1)
        late = memory.send(timeouts=Timeouts(connect_timeout=3.0))
        waiting = memory.send()
        self.assertEqual(memory.dialings[0].deadline, memory.clock.seconds() + 3)
        memory.wait(2.9)
        self.assertNoResult(late)
        memory.wait(0.2)
        error = self.failed(late, ConnectTimeout)
        self.assertEqual((str(error), error.reached_peer), ('there was no connection within 3 s', False))
        self.assertTrue(memory.dialings[0].cancelled)
        memory.dialings[1].connect().say(OK)
        self.successResultOf(waiting)
        self.clean(memory, idle=1)

    def test_a_dial_that_knows_what_is_missing(self) -> None:
        """An attempt that knows its unfinished step reports it, though the call's timer fired first."""
        memory = Memory()
        missing = ConnectTimeout('no answer of the proxy within 3 s')
        memory.client._dial = lambda *args: Deferred(lambda dialing: dialing.errback(missing))
        late = memory.send(timeouts=Timeouts(connect_timeout=3.0))
        memory.wait(3.1)
        self.assertEqual(str(self.failed(late, ConnectTimeout)), 'no answer of the proxy within 3 s')
        self.clean(memory)

    def test_cancelling_while_connecting(self) -> None:
        """Cancelling the call cancels the attempt."""
        memory = Memory(False)
        sending = memory.send()
        sending.cancel()
        self.failed(sending, CancelledError)
        self.assertTrue(memory.dialings[0].cancelled)
        self.clean(memory)

    def test_a_connection_that_ends_at_once(self) -> None:
        """A connection that ends before the pool has it frees one slot, not two, whether dial succeeds or fails."""
        memory = Memory(False)
        sending = memory.send()
        line = memory.dialings[0].made()
        line.end()
        self.assertEqual(memory.counts, (1, 0, 0))
        memory.dialings[0].done.callback(line.protocol)
        self.assertFalse(self.failed(sending, PeerReset).reached_peer)
        self.clean(memory)
        sending = memory.send()
        memory.dialings[1].made().end()
        memory.dialings[1].done.errback(ConnectRefused('no'))
        self.failed(sending, ConnectRefused)
        self.clean(memory)


class CloseTests(InMemory):
    def test_closing(self) -> None:
        """close fails waiting calls, lets current ones finish, and then fires."""
        memory = Memory(max_connections=2)
        idle, busy = memory.send(), memory.send()
        memory.lines[0].say(OK)
        self.successResultOf(idle)
        other, waiting = memory.send(), memory.send()
        memory.lines[0].say(OK)
        memory.lines[1].taken()
        self.successResultOf(other)
        memory.lines[1].say(OK)
        self.successResultOf(busy)
        self.assertEqual(memory.counts, (1, 1, 0))
        queued = [memory.send(), memory.send(), memory.send()]
        closed = memory.client.close()
        self.assertNoResult(closed)
        for sending in queued[1:]:
            self.assertFalse(self.failed(sending, ClientClosed).reached_peer)
        self.failed(memory.send(), ClientClosed)
        for line in memory.lines:
            line.say(OK)
        self.successResultOf(waiting)
        self.successResultOf(queued[0])
        self.successResultOf(closed)
        self.clean(memory)
        memory.wait(1)
        self.assertEqual(memory.clock.getDelayedCalls(), [])

    def test_closing_what_is_idle(self) -> None:
        """Closing idle connections takes no time; closing twice is harmless."""
        memory = Memory()
        sending = memory.send()
        memory.lines[0].say(OK)
        self.successResultOf(sending)
        self.successResultOf(memory.client.close())
        self.successResultOf(memory.client.close())
        self.assertTrue(memory.lines[0].disconnecting)
        self.clean(memory)

    def test_retiring(self) -> None:
        """After retire waiting and new calls are sent, to any origin, but no connection is kept."""
        memory = Memory(max_connections=2)
        idle, busy = memory.send(), memory.send()
        memory.lines[0].say(OK)
        self.successResultOf(idle)
        memory.client.close_idle()
        self.assertTrue(memory.lines[0].closed)
        late, waiting = memory.send(), memory.send()
        self.assertEqual(memory.counts, (2, 0, 1))
        memory.lines[1].say(OK)
        self.successResultOf(busy)
        memory.lines[1].say(OK)
        self.successResultOf(waiting)
        memory.lines[2].say(OK)
        self.successResultOf(late)
        elsewhere = memory.client.send(HttpRequest('GET', Origin('http', 'other.example', 80)))
        memory.lines[3].say(OK)
        self.successResultOf(elsewhere)
        self.assertEqual([line.closed for line in memory.lines], [True] * 4)
        self.clean(memory)
        memory.wait(1)
        self.assertEqual(memory.clock.getDelayedCalls(), [])

    def test_no_call_is_renewed_after_it(self) -> None:
        """After close a call on a stale connection fails and is not repeated."""
        memory = Memory()
        memory.send().addCallback(str)
        memory.lines[0].say(OK)
        sending = memory.send()
        closed = memory.client.close()
        memory.lines[0].end()
        self.failed(sending, ClientClosed)
        self.successResultOf(closed)
        self.clean(memory)


