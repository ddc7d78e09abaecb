"""Streamed responses of services."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from zatotx.plugins.http.test.server_doubles import ScriptedExchange, Server, get


class Pieces:
    """An observable async generator: yields `pieces`, and waits for the Deferreds among them."""

    def __init__(self, pieces: Iterable[Any]) -> None:
        self.pieces = pieces
        self.given = 0
        self.closed = False

    async def stream(self) -> AsyncIterator[bytes]:
        try:
            for piece in self.pieces:
                if isinstance(piece, Deferred):
                    await piece
                elif isinstance(piece, Exception):
                    raise piece
                else:
                    self.given += 1
                    yield piece
        finally:
            self.closed = True


class StreamTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.exchange = ScriptedExchange(None)
        self.server = Server(self.exchange)
        self.client = self.server.connect()

    def begin(self, *pieces: Any, request: bytes = get(), status: int = 200) -> Pieces:
        """Send a request, and answer it with a stream of these pieces."""
        source = Pieces(pieces)
        self.client.send(request)
        self.exchange.delivered[-1].answer(status=status, stream=source.stream())
        return source

    def turn(self) -> None:
        """Run one reactor iteration: the calls due now, without those that they add."""
        now = self.server.clock.seconds()
        calls: Any = self.server.clock.getDelayedCalls()
        for call, function, args in [(call, call.func, call.args) for call in calls if call.getTime() <= now]:
            call.cancel()
            function(*args)

    def test_pieces_are_chunks(self) -> None:
        """Each piece is sent as a chunk when it is available; empty ones do not end the body; the connection stays
        open."""
        gate: Deferred[None] = Deferred()
        source = self.begin(b'one', b'', gate, b'two')
        self.assertTrue(self.client.wire.value().endswith(b'3\r\none\r\n'))
        gate.callback(None)
        (answer,) = self.client.answers()
        self.assertEqual((answer.body, answer.headers[b'transfer-encoding']), (b'onetwo', b'chunked'))
        self.assertNotIn(b'content-length', answer.headers)
        self.assertTrue(source.closed)
        self.assertFalse(self.client.closed)
        self.assertIn(' 200 6 ', self.server.lines[0])

    def test_order_with_streams(self) -> None:
        """A response that is ready waits for the last chunk of the stream before it."""
        gate: Deferred[None] = Deferred()
        self.client.send(get() * 2)
        first, second = self.exchange.delivered
        first.answer(stream=Pieces([b'one', gate]).stream())
        second.answer(b'2')
        self.assertNotIn(b'0\r\n\r\n', self.client.wire.value())
        gate.callback(None)
        self.assertEqual([answer.body for answer in self.client.answers()], [b'one', b'2'])

    def test_a_stream_that_ends_while_the_node_drains(self) -> None:
        """A stream that ends while the node drains is complete, and its connection closes; its head could not say
        so."""
        gate: Deferred[None] = Deferred()
        self.begin(b'one', gate, b'two')
        self.server.site.draining = True
        self.client.connection.close_if_drained()
        self.assertFalse(self.client.closed)
        gate.callback(None)
        (answer,) = self.client.answers()
        self.assertEqual(answer.body, b'onetwo')
        self.assertTrue(self.client.closed)

    def test_http_1_0_is_closed_at_the_end(self) -> None:
        """HTTP/1.0 gets no chunks: the connection's end ends the body."""
        self.begin(b'one', b'two', request=get('/echo', 'Connection: keep-alive', version='1.0'))
        head, _, body = self.client.received().partition(b'\r\n\r\n')
        self.assertEqual(body, b'onetwo')
        self.assertIn(b'Connection: close', head)
        self.assertNotIn(b'Transfer-Encoding', head)
        self.assertTrue(self.client.closed)

    def test_head_asks_for_no_stream(self) -> None:
        """HEAD closes the service's generator without running it."""
        source = self.begin(b'one', request=get(method='HEAD'))
        (answer,) = self.client.answers(heads=True)
        self.assertEqual((answer.body, source.given), (b'', 0))

    def test_a_full_transport_stops_the_service(self) -> None:
        """No piece is requested while the client does not read; then the stream continues."""
        pause: Deferred[None] = Deferred()
        source = self.begin(b'one', pause, *[b'x' * 1000] * 50)
        self.client.connection._writer.pauseProducing()
        pause.callback(None)
        self.assertEqual(source.given, 2)
        self.client.connection._writer.resumeProducing()
        self.assertEqual(self.client.answers()[0].body, b'one' + b'x' * 50_000)

    def test_a_long_stream_lets_others_have_their_turn(self) -> None:
        """A long stream without pauses is spread over several reactor iterations."""
        source = self.begin(*[b'x' * 60_000] * 100)
        self.assertLess(source.given, 10)
        while source.given < 100:
            before = source.given
            self.turn()
            self.assertLess(source.given - before, 10)
        self.turn()
        self.assertEqual(len(self.client.answers()[0].body), 6_000_000)

    def test_an_error_is_no_clean_end(self) -> None:
        """A failing stream aborts the connection, so that the client notices; the log has the cid."""
        source = self.begin(b'one', RuntimeError('broken'))
        self.assertTrue(self.client.wire.aborted)
        self.assertFalse(self.client.received().endswith(b'0\r\n\r\n'))
        self.assertTrue(source.closed)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_an_error_before_the_first_piece(self) -> None:
        """An error before the first piece is a 500, unless the stream had to be waited for; the connection
        continues."""
        self.client.send(get() * 2)
        first, second = self.exchange.delivered
        source = Pieces([RuntimeError('broken')])
        second.answer(b'2')
        first.answer(stream=source.stream())
        failed, following = self.client.answers()
        self.assertEqual((failed.status, following.body), (500, b'2'))
        self.assertIn(b'An error has occurred', failed.body)
        self.assertTrue(source.closed)
        self.assertFalse(self.client.closed)
        self.assertIn(' 500 ', self.server.lines[0])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_what_must_be_waited_for(self) -> None:
        """While the first piece is waited for the head is sent; an error then aborts the connection."""
        gate: Deferred[None] = Deferred()
        self.begin(gate, RuntimeError('broken'))
        self.assertTrue(self.client.received().startswith(b'HTTP/1.1 200 OK'))
        gate.callback(None)
        self.assertEqual((self.client.received(), self.client.wire.aborted), (b'', True))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_nothing_at_all(self) -> None:
        """A stream without pieces is an empty response."""
        self.begin()
        (answer,) = self.client.answers()
        self.assertEqual((answer.status, answer.body), (200, b''))

    def test_a_client_that_leaves_ends_the_service(self) -> None:
        """A disconnect closes the generator, whether it waits or has a piece ready; 499 is logged."""
        for waiting in (True, False):
            self.client = self.server.connect()
            gate: Deferred[None] = Deferred()
            source = self.begin(b'one', gate, b'two')
            if not waiting:
                self.client.connection._writer.pauseProducing()
                gate.callback(None)
            self.client.wire.abortConnection()
            self.assertTrue(source.closed)
            self.assertIn(' 499 ', self.server.lines[-1])

    def test_a_service_that_does_not_go_on(self) -> None:
        """The service has its full timeout for each piece; after that the connection is aborted and the generator
        closed."""
        source = self.begin(b'one', Deferred())
        self.server.wait(59)
        self.assertFalse(self.client.closed)
        self.server.wait(2)
        self.assertTrue(self.client.wire.aborted)
        self.assertTrue(source.closed)

    def test_a_client_that_does_not_go_on(self) -> None:
        """A client that does not read for 60 s is aborted, and the generator closed."""
        pause: Deferred[None] = Deferred()
        source = self.begin(b'one', pause, *[b'x'] * 10)
        self.client.connection._writer.pauseProducing()
        pause.callback(None)
        self.server.wait(61)
        self.assertTrue(self.client.wire.aborted)
        self.assertTrue(source.closed)


class UnsendableTests(SynchronousTestCase):
    """Responses of services that HTTP cannot represent."""

    def setUp(self) -> None:
        self.exchange = ScriptedExchange(None)
        self.client = Server(self.exchange).connect()

    def answered(self, **reply: Any) -> tuple[int, dict[bytes, bytes]]:
        self.client.send(get())
        self.exchange.delivered[-1].answer(**reply)
        (answer,) = self.client.answers()
        return answer.status, answer.headers

    def test_headers_that_would_split_the_answer(self) -> None:
        """Header injection causes 500, and nothing of the header is sent; a stream is closed."""
        bad = [(b'X-A', b'1\r\nSet-Cookie: a=b')]
        self.assertEqual(self.answered(headers=bad)[0], 500)
        source = Pieces([b'one'])
        status, headers = self.answered(headers=bad, stream=source.stream())
        self.assertEqual((status, source.given), (500, 0))
        self.assertNotIn(b'set-cookie', headers)
        self.assertFalse(self.client.closed)

    def test_statuses_that_are_none(self) -> None:
        """A final status is 200 to 599: an interim one would desynchronize the connection."""
        for status in (100, 101, 0, 600):
            self.assertEqual(self.answered(status=status)[0], 500)

    def test_headers_of_the_connection(self) -> None:
        """Framing fields of a service are ignored; its Content-Type is used."""
        status, headers = self.answered(body=b'abc', headers=[
            (b'Content-Length', b'1'), (b'Transfer-Encoding', b'chunked'), (b'Connection', b'close'),
            (b'Content-Type', b'text/csv'), (b'X-Mine', b'1'),
        ])  # fmt: skip
        self.assertEqual((status, headers[b'content-length'], headers[b'content-type']), (200, b'3', b'text/csv'))
        self.assertEqual(headers[b'x-mine'], b'1')
        self.assertNotIn(b'transfer-encoding', headers)
        self.assertNotIn(b'connection', headers)
