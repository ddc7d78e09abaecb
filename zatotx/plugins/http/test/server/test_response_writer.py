"""Requests of one connection: keep-alive, order, back-pressure, HTTP/1.0, HEAD."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from zatotx.model.message import Reply
from zatotx.plugins.http.server.request_reader import MAX_PIPELINED
from zatotx.plugins.http.server.response_writer import MAX_BUFFERED
from zatotx.plugins.http.test.server_doubles import JSON, ScriptedExchange, Server, get, post


class KeepAliveTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.exchange = ScriptedExchange()
        self.server = Server(self.exchange)
        self.client = self.server.connect()

    def test_a_request_is_answered_and_the_connection_stays(self) -> None:
        """The response has status, length and cid, and the next request is served too."""
        for body in (b'{"a":1}', b'[]'):
            answer = self.client.ask(post(body=body))
            self.assertEqual((answer.status, answer.body), (200, body))
            self.assertEqual(answer.headers[b'content-type'], b'application/json')
            self.assertEqual(len(answer.headers[b'x-zato-cid']), 24)
            self.assertNotIn(b'connection', answer.headers)
        self.assertFalse(self.client.closed)

    def test_repeated_requests_may_wait(self) -> None:
        """A request with the head of the last one is answered when its service has finished, and the next one after
        it."""
        self.client.ask(post(body=b'1'))
        self.exchange.at_once = None
        for body in (b'2', b'3'):
            self.client.send(post(body=body))
        self.assertEqual(self.client.received(), b'')
        for number, body in enumerate((b'2', b'3'), 1):
            self.exchange.delivered[number].answer(body)
            self.assertEqual([answer.body for answer in self.client.answers()], [body])

    def test_a_draining_node_answers_a_repeated_request(self) -> None:
        """The response to a request with the head of the last one is the last one of a draining node."""
        self.client.ask(post(body=b'1'))
        self.server.site.draining = True
        answer = self.client.ask(post(body=b'2'))
        self.assertEqual((answer.body, answer.headers[b'connection'], self.client.closed), (b'2', b'close', True))

    def test_connection_close_is_kept(self) -> None:
        """`Connection: close` is returned, the connection closes, and later requests are not answered."""
        self.client.send(post(body=b'1').replace(b'\r\n\r\n', b'\r\nConnection: close\r\n\r\n') + post(body=b'2'))
        (answer,) = self.client.answers()
        self.assertEqual((answer.body, answer.headers[b'connection']), (b'1', b'close'))
        self.assertTrue(self.client.closed)
        self.assertEqual(len(self.exchange.delivered), 1)

    def test_http_1_0_closes(self) -> None:
        """An HTTP/1.0 client gets its response and the end of the connection."""
        answer = self.client.ask(get('/zato/ping', version='1.0'))
        self.assertEqual((answer.status, answer.headers[b'connection']), (200, b'close'))
        self.assertTrue(self.client.closed)

    def test_http_1_0_keeps_alive_when_asked(self) -> None:
        """With `Connection: keep-alive` an HTTP/1.0 connection stays open, and the response says so."""
        answer = self.client.ask(get('/zato/ping', 'Connection: keep-alive', version='1.0'))
        self.assertEqual(answer.headers[b'connection'], b'keep-alive')
        self.assertFalse(self.client.closed)

    def test_head_has_the_length_and_no_body(self) -> None:
        """HEAD gets the fields of GET without a body, and the connection continues."""
        self.exchange.at_once = None
        self.client.send(get(method='HEAD') + get('/zato/ping'))
        self.exchange.delivered[0].answer(b'12345')
        (answer,) = self.client.answers(heads=True)
        self.assertEqual(answer.headers[b'content-length'], b'5')
        self.exchange.delivered[1].answer(b'1')
        self.assertEqual(self.client.answers()[0].body, b'1')

    def test_an_answer_without_content_has_none(self) -> None:
        """A 204 has neither body nor length, whatever the service returned."""
        self.exchange.at_once = None
        self.client.send(get())
        self.exchange.delivered[0].answer(b'ignored', 204)
        head, end, rest = self.client.received().partition(b'\r\n\r\n')
        self.assertEqual((end, rest), (b'\r\n\r\n', b''))
        self.assertNotIn(b'Content-Length', head)

    def test_upgrades_are_ignored(self) -> None:
        """A request with Upgrade is processed as an ordinary one."""
        answer = self.client.ask(get('/zato/ping', 'Connection: Upgrade', 'Upgrade: websocket'))
        self.assertEqual(answer.status, 200)
        self.assertNotIn(b'upgrade', answer.headers)
        self.assertEqual(self.client.ask(get('/zato/ping')).status, 200)

    def test_chunks_and_trailers_are_taken(self) -> None:
        """A chunked body is passed to the service as a whole; its trailers are accepted."""
        head = b'POST /echo HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n'
        answer = self.client.ask(head + b'3\r\n[1,\r\n2\r\n2]\r\n0\r\nX-Sum: 3\r\n\r\n')
        self.assertEqual(answer.body, b'[1,2]')

    def test_bytes_one_by_one_are_a_request_too(self) -> None:
        """A request may arrive in packets of any size."""
        for byte in post(body=b'{"a":1}') + get('/zato/ping'):
            self.client.send(bytes((byte,)))
        self.assertEqual([answer.status for answer in self.client.answers()], [200, 200])


class OrderTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.exchange = ScriptedExchange(None)
        self.server = Server(self.exchange)
        self.client = self.server.connect()

    def test_answers_go_out_in_the_order_of_requests(self) -> None:
        """A service that ends first waits for earlier requests."""
        self.client.send(get() * 3)
        first, second, third = self.exchange.delivered
        third.answer(b'3')
        second.answer(b'2')
        self.assertEqual(self.client.received(), b'')
        first.answer(b'1')
        self.assertEqual([answer.body for answer in self.client.answers()], [b'1', b'2', b'3'])

    def test_requests_of_one_read_are_answered_in_one_write(self) -> None:
        """Responses available at once are sent together."""
        writes: list[bytes] = []
        self.exchange.at_once = ScriptedExchange().at_once
        self.client.wire.write = writes.append  # type: ignore[method-assign]
        self.client.send(post() * 5)
        self.assertEqual(len(writes), 1)

    def test_unsafe_requests_run_one_after_the_other(self) -> None:
        """A pipelined POST starts after all earlier requests, and none starts before it ends (RFC 9112 9.3.2)."""
        self.client.send(get() + post(body=b'1') + get())
        self.assertEqual(len(self.exchange.delivered), 1)
        self.exchange.delivered[0].answer()
        self.assertEqual([d.inbound.body for d in self.exchange.delivered], [b'', b'1'])
        self.exchange.delivered[1].answer()
        self.assertEqual(len(self.exchange.delivered), 3)
        self.exchange.delivered[2].answer()
        self.assertEqual(len(self.client.answers()), 3)

    def test_only_so_many_run_at_once(self) -> None:
        """The number of concurrent pipelined requests is limited; the rest follows as responses are sent."""
        self.client.send(get() * (MAX_PIPELINED + 5))
        self.assertEqual(len(self.exchange.delivered), MAX_PIPELINED)
        self.exchange.delivered[0].answer()
        self.assertEqual(len(self.exchange.delivered), MAX_PIPELINED + 1)
        for delivery in self.exchange.delivered[1:]:
            delivery.answer()
        for delivery in self.exchange.delivered[MAX_PIPELINED + 1:]:
            delivery.answer()
        self.assertEqual(len(self.client.answers()), MAX_PIPELINED + 5)

    def test_reading_stops_when_answers_pile_up(self) -> None:
        """Reading pauses when too many requests are pending, and resumes later."""
        self.client.send(get() * MAX_PIPELINED)
        filler = get('/echo', 'X-Filler: ' + 'x' * 8000)
        for _ in range(9):
            self.client.send(filler)
        self.assertEqual(self.client.wire.producerState, 'paused')
        for delivery in self.exchange.delivered[:MAX_PIPELINED]:
            delivery.answer()
        self.assertEqual(self.client.wire.producerState, 'producing')
        self.assertEqual(len(self.exchange.delivered), MAX_PIPELINED + 9)

    def test_a_client_that_does_not_read_is_not_served_on(self) -> None:
        """While the transport is full no request starts; the next one does when it has drained."""
        self.exchange.at_once = ScriptedExchange().at_once
        self.client.connection._writer.pauseProducing()
        self.client.send(post() * 3)
        self.assertEqual(self.exchange.delivered, [])
        self.client.connection._writer.resumeProducing()
        self.assertEqual(len(self.client.answers()), 3)


class BurstTests(SynchronousTestCase):
    """Requests answered at once, on a transport that accepts everything."""

    def setUp(self) -> None:
        self.exchange = ScriptedExchange(lambda inbound: Reply(200, b'x' * self.size, JSON))
        self.server = Server(self.exchange)
        self.client = self.server.connect()

    def turn(self) -> None:
        """Run one reactor iteration: the calls due now, without those that they add."""
        clock = self.server.clock
        for call in [call for call in clock.calls if call.getTime() <= clock.seconds()]:
            clock.calls.remove(call)
            call.called = 1
            call.func(*call.args, **call.kw)

    def test_large_answers_of_one_turn_are_bounded(self) -> None:
        """However many requests one read contains, an iteration buffers little more than the limit."""
        self.size = 1_000_000
        self.client.send(get() * 50)
        self.assertEqual(len(self.exchange.delivered), 1)
        self.size = MAX_BUFFERED // 4
        self.turn()
        self.assertTrue(3 < len(self.exchange.delivered) < 8)
        for _ in range(12):
            self.turn()
        self.assertEqual(len(self.client.answers()), 50)

    def test_small_answers_of_one_turn_are_bounded(self) -> None:
        """Small responses count more than their bytes: other connections are served between them, and all are sent in
        order."""
        self.size = 1
        self.client.send(b''.join(get('/echo', f'X-Zato-CID: request-{number:03}') for number in range(150)))
        self.assertTrue(50 <= len(self.exchange.delivered) < 75)
        self.turn()
        self.assertTrue(100 <= len(self.exchange.delivered) < 150)
        self.turn()
        cids = [answer.headers[b'x-zato-cid'] for answer in self.client.answers()]
        self.assertEqual(cids, [b'request-%03d' % number for number in range(150)])

    def test_reading_stops_meanwhile(self) -> None:
        """While requests wait for the next iteration reading is bounded, and no client timeout applies."""
        self.size = 1
        self.client.send(get('/echo', 'X-Filler: ' + 'x' * 1000) * 150)
        self.assertEqual(self.client.wire.producerState, 'paused')
        self.turn()
        self.turn()
        self.assertEqual((self.client.wire.producerState, len(self.exchange.delivered)), ('producing', 150))
        self.server.wait(59)
        self.assertFalse(self.client.closed)
        self.server.wait(2)
        self.assertTrue(self.client.closed)

    def test_a_client_that_leaves_is_not_served_on(self) -> None:
        """After a disconnect no waiting request starts."""
        self.size = MAX_BUFFERED
        self.client.send(get() * 3)
        self.client.wire.abortConnection()
        self.turn()
        self.assertEqual(len(self.exchange.delivered), 1)
