"""Slow clients: each wait has its timeout, its status and its end."""

from __future__ import annotations

import gc

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from zatotx.plugins.http.server.connection import ServerConnection
from zatotx.plugins.http.server.server_context import ServerContext
from zatotx.plugins.http.test.server_doubles import Client, ScriptedExchange, Server, Socket, get, post

SWEEP = 0.5


class BrokenSocket(Socket):
    """A socket that fails."""

    def getsockopt(self, level: int, option: int) -> int:
        raise ZeroDivisionError


def held(connection: ServerConnection, secret: bytes) -> list[object]:
    """Return the objects reachable from a connection, through the server's own objects, that contain the secret."""
    found: list[object] = []
    waiting: list[object] = [connection]
    seen: set[int] = set()
    while waiting:
        one = waiting.pop()
        if id(one) in seen or isinstance(one, (Server, ServerContext, type)):
            continue
        seen.add(id(one))
        if isinstance(one, (bytes, bytearray)):
            found += [one] if secret in one else []
        elif isinstance(one, msgspec.Struct):
            waiting += msgspec.structs.astuple(one)
        elif isinstance(one, (dict, list, tuple)) or type(one).__module__.startswith(('zatotx.plugins', 'zatotx.wire')):
            waiting += gc.get_referents(one)
    return found


class DeadlineTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.exchange = ScriptedExchange()
        self.server = Server(self.exchange)
        self.client = self.server.connect()

    def late(self, client: Client) -> None:
        (answer,) = client.answers()
        self.assertEqual((answer.status, answer.headers[b'connection']), (408, b'close'))
        self.server.wait(6)
        self.assertTrue(client.closed)

    def test_a_client_that_says_nothing(self) -> None:
        """A client that sends nothing for 10 s is disconnected without a response."""
        self.server.wait(9.5)
        self.assertFalse(self.client.closed)
        self.server.wait(1)
        self.assertEqual((self.client.closed, self.client.received()), (True, b''))

    def test_a_head_that_drips(self) -> None:
        """A dripping head ends 10 s after its first byte with 408."""
        for byte in get('/echo')[:9]:
            self.client.send(bytes((byte,)))
            self.server.wait(1)
        self.assertEqual(self.client.received(), b'')
        self.server.wait(1.5)
        self.late(self.client)

    def test_a_second_head_that_drips(self) -> None:
        """For a later head the ten seconds begin with its first byte, after any idle time."""
        self.client.ask(post())
        self.server.wait(50)
        self.client.send(b'GE')
        self.server.wait(9.5)
        self.assertFalse(self.client.closed)
        self.server.wait(1)
        self.late(self.client)

    def test_a_pipeline_that_never_ends_with_a_request(self) -> None:
        """Each pipelined head has its own ten seconds, even if every read ends within one."""
        request = get()
        self.client.send(request[:10])
        for _ in range(6):
            self.server.wait(4)
            self.client.send(request[10:] + request[:10])
        self.assertEqual([answer.status for answer in self.client.answers()], [200] * 6)
        self.server.wait(11)
        self.late(self.client)

    def test_idle_connections(self) -> None:
        """An idle connection is closed after 60 s without a response."""
        self.client.ask(post())
        self.server.wait(59.5)
        self.assertFalse(self.client.closed)
        self.server.wait(1)
        self.assertEqual((self.client.closed, self.client.received()), (True, b''))

    def test_an_idle_connection_keeps_no_credentials(self) -> None:
        """Five seconds after its last request nothing of it is in memory; the next one is served as usual."""
        for chunked in (False, True):
            head, body = get('/echo', 'Authorization: Basic c2VjcmV0', method='POST'), b''
            if chunked:
                head, body = head[:-2] + b'Transfer-Encoding: chunked\r\n\r\n', b'2\r\n{}\r\n0\r\n\r\n'
            self.assertEqual(self.client.ask(head + body).status, 200)
            self.server.wait(4)
            self.assertTrue(held(self.client.connection, b'c2VjcmV0'))
            self.server.wait(1.5)
            self.exchange.delivered.clear()
            self.assertEqual(held(self.client.connection, b'c2VjcmV0'), [])
        self.assertEqual(self.client.ask(get()).status, 200)
        self.server.wait(59.5)
        self.assertFalse(self.client.closed)
        self.server.wait(1)
        self.assertTrue(self.client.closed)

    def test_a_body_that_stops(self) -> None:
        """A body without progress for 30 s ends with 408. Progress restarts the timeout."""
        self.client.send(post(body=b'x' * 200_000)[:100_000])
        self.server.wait(29)
        self.client.send(b'x')
        self.server.wait(29)
        self.assertEqual(self.client.received(), b'')
        self.server.wait(2)
        self.late(self.client)

    def test_a_body_that_drips(self) -> None:
        """Besides its 30 s a body must average 1 KiB/s."""
        self.client.send(post(body=b'x' * 200_000)[:100])
        for _ in range(29):
            self.server.wait(1)
            self.client.send(b'x')
        self.assertEqual(self.client.received(), b'')
        self.server.wait(1.5)
        self.late(self.client)

    def test_a_slow_body_may_come(self) -> None:
        """A body at 2 KiB/s is served; the service has its full timeout from then on."""
        body = b'"' + b'x' * 200_000 + b'"'
        request = post(body=body)
        for start in range(0, len(request), 2048):
            self.client.send(request[start:start + 2048])
            self.server.wait(1)
        (answer,) = self.client.answers()
        self.assertEqual(answer.body, body)
        inbound = self.exchange.delivered[0].inbound
        self.assertAlmostEqual(inbound.deadline, self.server.clock.seconds() - 1 + 60, 3)

    def test_nobody_waits_for_a_client_while_its_service_runs(self) -> None:
        """While a service runs no client timeout applies."""
        self.exchange.at_once = None
        self.client.send(post())
        self.server.wait(300)
        self.assertFalse(self.client.closed)
        self.exchange.delivered[0].answer()
        self.assertEqual(self.client.answers()[0].status, 200)

    def test_an_answer_that_is_not_read(self) -> None:
        """A response without progress for 60 s aborts the connection, and cancels its requests."""
        self.exchange.at_once = None
        self.client.send(get() * 2)
        self.client.connection._writer.pauseProducing()
        self.exchange.delivered[0].answer(b'x' * 1000)
        self.server.wait(59)
        self.client.connection._writer.resumeProducing()
        self.client.connection._writer.pauseProducing()
        self.server.wait(59)
        self.assertFalse(self.client.closed)
        self.server.wait(2)
        self.assertTrue(self.client.wire.aborted)
        self.assertTrue(self.exchange.delivered[1].cancelled)

    def test_a_late_head_after_a_running_request(self) -> None:
        """A 408 is sent after the pending response."""
        self.exchange.at_once = None
        self.client.send(get() + b'GET /echo')
        self.server.wait(11)
        self.assertEqual(self.client.received(), b'')
        self.exchange.delivered[0].answer()
        self.assertEqual([answer.status for answer in self.client.answers()], [200, 408])

    def test_a_close_that_does_not_end(self) -> None:
        """A transport that cannot finish closing (TLS without the client's close_notify) is aborted after the write
        timeout."""
        self.client.wire.loseConnection = lambda: None  # type: ignore[method-assign]
        self.client.send(get('/zato/ping', 'Connection: close'))
        self.server.wait(59)
        self.assertFalse(self.client.closed)
        self.server.wait(2)
        self.assertTrue(self.client.wire.aborted)

    def test_a_refused_client_that_reads_slowly(self) -> None:
        """Lingering lasts while the client reads its response; then the connection ends."""
        self.client.send(b'nonsense\r\n\r\n')
        self.client.connection._writer.pauseProducing()
        self.server.wait(20)
        self.assertFalse(self.client.closed)
        self.client.connection._writer.resumeProducing()
        self.server.wait(11)
        self.assertTrue(self.client.closed)
        self.assertEqual([answer.status for answer in self.client.answers()], [400])

    def test_one_broken_connection_harms_no_other(self) -> None:
        """An internal error in one connection aborts it and is logged, and the sweep continues."""
        other = self.server.connect()
        self.client.wire.socket = BrokenSocket()
        self.exchange.at_once = None
        self.client.send(get())
        self.client.half_close()
        self.server.wait(11)
        self.assertTrue(self.client.wire.aborted)
        self.assertTrue(other.closed)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_no_timer_is_made_for_a_request(self) -> None:
        """The sweep's timer is the only one, whatever happens."""
        before = len(self.server.clock.getDelayedCalls())
        self.client.send(post() * 3 + b'GET /ec')
        self.assertEqual(len(self.server.clock.getDelayedCalls()), before)


class HalfClosedTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.exchange = ScriptedExchange(None)
        self.server = Server(self.exchange)
        self.client = self.server.connect()

    def test_requests_before_the_fin_are_answered(self) -> None:
        """With `printf … | nc -N` complete requests are answered, then the connection closes."""
        self.exchange.at_once = ScriptedExchange().at_once
        self.client.send(post() * 2)
        self.client.half_close()
        self.assertEqual(len(self.client.answers()), 2)
        self.assertTrue(self.client.closed)

    def test_an_answer_under_way_still_gets_out(self) -> None:
        """A client that half-closes while a short service runs gets its response, nothing before it, and the end."""
        self.client.send(post())
        self.client.half_close()
        self.exchange.delivered[0].answer(b'[1]')
        (answer,) = self.client.answers()
        self.assertEqual(answer.body, b'[1]')
        self.assertTrue(self.client.closed)

    def test_a_client_that_is_gone_cancels_its_service(self) -> None:
        """A half-closed client is probed, and a reset cancels its service within two seconds."""
        self.client.send(post())
        self.client.half_close()
        self.client.wire.socket.error = 32
        self.server.wait(2)
        self.assertTrue(self.exchange.delivered[0].cancelled)
        self.assertTrue(self.client.closed)

    def test_a_client_that_only_sends_no_more_is_waited_for(self) -> None:
        """Without a reset the service continues, and one interim response precedes the final one."""
        self.client.send(post())
        self.client.half_close()
        self.server.wait(20)
        self.assertFalse(self.exchange.delivered[0].cancelled)
        self.exchange.delivered[0].answer(b'[1]')
        interim, _, rest = self.client.received().partition(b'\r\n\r\n')
        self.assertEqual(interim, b'HTTP/1.1 100 Continue')
        self.assertTrue(rest.startswith(b'HTTP/1.1 200 OK\r\n'))
        self.assertTrue(self.client.closed)

    def test_http_1_0_cannot_be_probed(self) -> None:
        """HTTP/1.0 has no interim responses: its half-closed client is treated as disconnected."""
        self.client.send(get(version='1.0'))
        self.client.half_close()
        self.server.wait(1)
        self.assertTrue(self.exchange.delivered[0].cancelled)
        self.assertEqual(self.client.received(), b'')

    def test_a_request_cut_short(self) -> None:
        """A half-close within a request causes 400."""
        self.client.send(post(body=b'x' * 10)[:-5])
        self.client.half_close()
        self.assertEqual([answer.status for answer in self.client.answers()], [400])
        self.assertTrue(self.client.closed)

    def test_a_fin_between_requests(self) -> None:
        """A half-close between requests closes the connection."""
        self.client.half_close()
        self.assertTrue(self.client.closed)

    def test_a_lost_connection_cancels_all_of_its_services(self) -> None:
        """A lost connection cancels all of its services."""
        self.client.send(get() * 3)
        self.client.wire.abortConnection()
        self.assertEqual([delivery.cancelled for delivery in self.exchange.delivered], [True] * 3)
        self.assertEqual(self.server.site.counters.gone, 3)
        self.assertEqual(self.server.site.counters.open, 0)
