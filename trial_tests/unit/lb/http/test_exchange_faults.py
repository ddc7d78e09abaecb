"""Faults of clients and servers, retries, timeouts and back-pressure, in memory."""

from __future__ import annotations

from typing import Any

from trial_tests.support.lb_memory import REFUSED, ConnectionLost, LoadBalancerTests, MemoryFrontend, ServerUseOutcome
from trial_tests.unit.lb.http.test_exchange import CHUNKED, GET, OK, POST, frontend
from zatotx.lb.backends.running_backend import RunningBackend
from zatotx.lb.config.model import Backend, ErrorBody, Retries, Server

NO_SERVER = b'"details": "No server is available to handle the request"'
PUT = POST.replace(b'POST', b'PUT')


class ServerFaultTests(LoadBalancerTests):
    def failed(self, memory: MemoryFrontend, request: bytes = POST) -> bytes:
        """The status line that a client gets, after the server of its request is reset."""
        client = memory.client(request)
        memory.servers[-1].end(ConnectionLost())
        return client.taken().partition(b'\r\n')[0]

    def test_no_server(self) -> None:
        """Without a server the client gets 503 in Zato's form at once, and keeps its connection."""
        memory = MemoryFrontend(servers=[])
        client = memory.client(GET)
        answer = client.taken()
        self.assertTrue(answer.startswith(b'HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\n'))
        self.assertIn(b'Retry-After: 1\r\n', answer)
        self.assertIn(NO_SERVER, answer)
        self.assertFalse(client.closed)
        self.assertEqual(memory.log.endings, [(503, 'SC')])

    def test_error_files(self) -> None:
        """The body of an error can be configured."""
        memory = MemoryFrontend(servers=[], error_bodies={503: ErrorBody('text/html', b'<p>later')})
        client = memory.client(GET)
        self.assertTrue(client.taken().endswith(b'\r\n\r\n<p>later'))

    def test_all_refuse(self) -> None:
        """Servers that refuse connections: each is tried, then 503. Any method may be repeated: nothing was sent."""
        memory = MemoryFrontend()
        memory.accepts = REFUSED
        client = memory.client(POST)
        self.assertIn(NO_SERVER, client.taken())
        self.assertEqual(memory.dialed, [18000, 18001, 18000])
        self.assertEqual(memory.backend.outcomes, [[ServerUseOutcome.NOT_CONNECTED]] * 3)
        self.flushLoggedErrors()

    def test_one_refuses(self) -> None:
        """The request is sent to the server that accepts."""
        memory = MemoryFrontend()
        memory.refused[18000] = REFUSED
        self.exchanged(memory, POST, OK)
        self.assertEqual((memory.log.endings, memory.log[0].retries), ([(200, '--')], 1))

    def test_malformed_response(self) -> None:
        """Bytes that are no response: 502, the server's connection is closed, and nothing is repeated."""
        for garbage in (b'SSH-2.0-x\r\n', b'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n',
                        b'HTTP/1.1 200 OK\nContent-Length: 2\n\nok', b'HTTP/1.1 101 Yes\r\n\r\n'):  # fmt: skip
            memory = MemoryFrontend()
            answer = self.exchanged(memory, GET, garbage)[1]
            self.assertTrue(answer.startswith(b'HTTP/1.1 502 Bad Gateway\r\n'), answer)
            self.assertEqual((len(memory.servers), memory.servers[0].aborted), (1, True))
            self.assertEqual(memory.backend.outcomes, [[ServerUseOutcome.MALFORMED]])

    def test_unsolicited_bytes(self) -> None:
        """A server that sends bytes on an idle connection loses it: they would be taken for the next response."""
        memory = MemoryFrontend(servers=['one'])
        self.exchanged(memory, GET, OK)
        memory.servers[0].say(OK)
        self.assertTrue(memory.servers[0].aborted)
        memory.clock.advance(0)
        memory.client(GET)
        self.assertEqual(len(memory.servers), 2)

    def test_more_than_the_response(self) -> None:
        """Bytes after a response, in the same read, close the server's connection; the client gets the response."""
        memory = MemoryFrontend(servers=['one'])
        self.assertEqual(self.exchanged(memory, GET, OK + OK)[1], OK)
        self.assertTrue(memory.servers[0].closed)

    def test_idempotent_requests_are_repeated(self) -> None:
        """A reset before the response: an idempotent request is sent to another server, with its body."""
        for request in (GET, PUT, CHUNKED.replace(b'POST', b'PUT') + b'2\r\nhi\r\n0\r\n\r\n'):
            memory = MemoryFrontend()
            client = memory.client(request)
            memory.servers[0].end(ConnectionLost())
            self.assertEqual(memory.servers[1].taken(), memory.servers[0].taken())
            memory.servers[1].say(OK)
            self.assertEqual(client.taken(), OK)
            self.assertEqual(memory.backend.outcomes, [[ServerUseOutcome.RESET], [ServerUseOutcome.RESPONDED]])
            self.assertEqual((memory.log[0].retries, memory.log[0].server), (1, 'two'))

    def test_a_partial_body_is_repeated(self) -> None:
        """The part of a body that was already sent is sent again; the rest follows."""
        memory = MemoryFrontend()
        client = memory.client(PUT[:-1])
        memory.servers[0].end(ConnectionLost())
        self.assertTrue(memory.servers[1].value().endswith(b'\r\n\r\nh'))
        client.say(b'i')
        self.assertTrue(memory.servers[1].taken().endswith(b'\r\n\r\nhi'))
        memory.servers[1].say(OK)
        self.assertEqual(client.taken(), OK)

    def test_other_requests_are_not_repeated(self) -> None:
        """502, without a second attempt: a method that is not idempotent, a body that is not held any more, a response
        that has begun."""
        large = b'PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 70000\r\n\r\n' + b'x' * 70000
        for request in (POST, large):
            memory = MemoryFrontend()
            self.assertEqual(self.failed(memory, request), b'HTTP/1.1 502 Bad Gateway')
            self.assertEqual((len(memory.servers), memory.log.endings), (1, [(502, 'SH')]))

    def test_attempts_are_limited(self) -> None:
        """At most `attempts` more attempts, none if it is 0."""
        for attempts in (0, 1, 3):
            memory = MemoryFrontend(backend=Backend(retries=Retries(attempts=attempts)))
            client = memory.client(GET)
            for _ in range(attempts + 1):
                memory.servers[-1].end(ConnectionLost())
            self.assertIn(b'502', client.taken())
            self.assertEqual(len(memory.servers), attempts + 1)

    def test_retry_budget(self) -> None:
        """When all requests fail, at most a fifth of them is repeated, beyond the first ten."""
        memory = MemoryFrontend(backend=Backend(retries=Retries(attempts=10)))
        memory.accepts = REFUSED
        for _ in range(100):
            memory.client(GET)
        self.assertEqual(sum(record.retries for record in memory.log), 10 + 100 // 5)
        self.flushLoggedErrors()

    def test_stale_connection(self) -> None:
        """A server that closes an idle connection just as it is used again: the request is repeated, and the server is
        not blamed."""
        memory = MemoryFrontend(servers=['one'])
        self.exchanged(memory, GET, OK)
        client = memory.client(GET)
        memory.servers[0].end()
        memory.servers[1].say(OK)
        self.assertEqual(client.taken(), OK)
        self.assertEqual(memory.backend.outcomes[1:], [[ServerUseOutcome.ABANDONED], [ServerUseOutcome.RESPONDED]])

    def test_idle_connections_expire(self) -> None:
        """Idle connections are closed before the server does it."""
        memory = MemoryFrontend()
        self.exchanged(memory, GET, OK)
        memory.wait(29)
        self.assertFalse(memory.servers[0].closed)
        memory.wait(2)
        self.assertTrue(memory.servers[0].closed)

    def test_cut_response(self) -> None:
        """A server that is lost in the middle of a response: the client sees that it is cut. HTTP/1.0, where the end of
        the connection would look like the end of the body, gets a reset."""
        head = b'HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n'
        chunks = b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n'
        for response in (head, chunks):
            memory = MemoryFrontend()
            client = memory.client(GET)
            memory.servers[0].say(response)
            memory.servers[0].end()
            self.assertEqual((client.taken(), client.disconnecting), (response, True))
            self.assertEqual(memory.log.endings, [(200, 'SD')])
            self.assertEqual(memory.backend.outcomes, [[ServerUseOutcome.RESET]])
        memory = MemoryFrontend()
        client = memory.client(b'GET / HTTP/1.0\r\nHost: x\r\n\r\n')
        memory.servers[0].say(chunks)
        memory.servers[0].end()
        self.assertTrue(client.aborted)

    def test_malformed_body(self) -> None:
        """An invalid chunk cuts the response."""
        memory = MemoryFrontend()
        client = memory.client(GET)
        memory.servers[0].say(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n')
        self.assertTrue(client.closed)
        self.assertFalse(client.taken().endswith(b'0\r\n\r\n'))
        self.assertEqual(memory.backend.outcomes, [[ServerUseOutcome.MALFORMED]])


class ClientFaultTests(LoadBalancerTests):
    def test_large_heads(self) -> None:
        """A head that is too long as a whole, one with too many fields, and one that never ends: 431, without a server
        and without keeping the bytes. The same of a server is 502."""
        many = b''.join(b'X-%d: y\r\n' % number for number in range(5000))
        endless = b'GET / HTTP/1.1\r\nHost: x\r\nX: ' + b'y' * 200_000
        for request in (b'GET / HTTP/1.1\r\nHost: x\r\n' + many + b'\r\n', endless,
                        b'GET / HTTP/1.1\r\nHost: x\r\n' + b'X: y\r\n' * 300 + b'\r\n'):  # fmt: skip
            memory = MemoryFrontend()
            client = memory.client()
            for start in range(0, len(request), 8192):
                client.say(request[start : start + 8192])
            self.assertTrue(client.taken().startswith(b'HTTP/1.1 431 '), request[:60])
            (connection,) = memory.frontend._connections
            self.assertEqual((connection.parser.pending_bytes, memory.servers), (0, []))  # type: ignore[attr-defined]
        memory = MemoryFrontend()
        client = memory.client(GET)
        memory.servers[0].say(b'HTTP/1.1 200 OK\r\n' + many + b'\r\n')
        self.assertTrue(client.taken().startswith(b'HTTP/1.1 502 '))
        self.assertTrue(memory.servers[0].closed)

    def test_malformed_requests(self) -> None:
        """400, the connection ends, and no server is involved."""
        for request in (b'\x16\x03\x01\0\0\r\n', b'GET / HTTP/1.1\r\n\r\n', b'GET / HTTP/1.1\nHost: x\n\n',
                        POST.replace(b'Host', b'Transfer-Encoding: chunked\r\nHost')):  # fmt: skip
            memory = MemoryFrontend()
            client = memory.client(request)
            self.assertTrue(client.taken().startswith(b'HTTP/1.1 400 Bad Request\r\n'))
            client.say(GET)
            memory.wait(6)
            self.assertEqual((client.closed, memory.servers, client.taken()), (True, [], b''))
            self.assertEqual(memory.log.endings, [(400, 'PR')])

    def test_malformed_body(self) -> None:
        """An invalid chunk: 400, and the server's connection is closed, so that it does not act on half a request."""
        memory = MemoryFrontend()
        client = memory.client(CHUNKED + b'3\r\nabc\r\n')
        client.say(b'zz\r\n' + GET)
        self.assertIn(b'400 Bad Request', client.taken())
        self.assertTrue(memory.servers[0].aborted)
        self.assertEqual(memory.servers[0].value().count(b' HTTP/1.1\r\n'), 1)
        self.assertEqual(memory.backend.outcomes, [[ServerUseOutcome.ABANDONED]])

    def test_lost_clients(self) -> None:
        """A client that goes away in any phase: the server's connection is closed, and the slot given back."""
        memory = MemoryFrontend()
        client = memory.client(CHUNKED)
        client.end(ConnectionLost())
        client = memory.client(GET)
        memory.servers[1].say(b'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n')
        client.end(ConnectionLost())
        self.assertEqual([server.aborted for server in memory.servers], [True, True])
        self.assertEqual(memory.log.endings, [(0, 'CR'), (200, 'CD')])
        self.assertEqual(memory.frontend.connections, 0)
        self.assert_over(memory)

    def test_lost_while_connecting(self) -> None:
        """A client that goes away while its server is being connected to, or in the queue."""
        memory = MemoryFrontend()
        memory.accepts = False
        client = memory.client(GET)
        client.end()
        self.assertTrue(memory.pending[0][1].called)  # cancelled
        memory.backend.is_full = True
        client = memory.client(GET)
        client.end()
        self.assertTrue(memory.backend.queue[0].called)  # cancelled
        self.assert_over(memory)

    def test_queue(self) -> None:
        """A request waits until a server has room."""
        memory = MemoryFrontend()
        memory.backend.is_full = True
        client = memory.client(GET)
        self.assertEqual(memory.servers, [])
        memory.backend.admit()
        memory.servers[0].say(OK)
        self.assertEqual(client.taken(), OK)

    def test_half_close_in_a_request(self) -> None:
        """A client that ends its direction inside a request gets 400."""
        for request in (GET[:20], POST[:-1], CHUNKED):
            memory = MemoryFrontend()
            client = memory.client(request)
            client.half_close()
            self.assertIn(b'400 Bad Request', client.taken())
            self.assertTrue(client.closed)


class TimeoutTests(LoadBalancerTests):
    def test_slow_head(self) -> None:
        """The head must be complete within its time, however steadily its bytes come."""
        memory = MemoryFrontend()
        client = memory.client(b'GET / HTTP/1.1\r\nX: ')
        for _ in range(14):
            memory.wait(1)
            client.say(b'x')
        self.assertFalse(client.disconnecting)
        memory.wait(2)
        self.assertIn(b'408 Request Timeout', client.taken())
        memory.wait(6)
        self.assertTrue(client.closed)

    def test_silent_connections(self) -> None:
        """A new connection that sends nothing is closed, and an idle one after its keep-alive."""
        memory = MemoryFrontend()
        new, idle = memory.client(), memory.client(GET)
        memory.servers[0].say(OK)
        memory.wait(16)
        self.assertEqual((new.closed, new.taken(), idle.closed), (True, b'', False))
        memory.wait(46)
        self.assertTrue(idle.closed)
        self.assertEqual(memory.frontend.connections, 0)

    def test_slow_body(self) -> None:
        """A body without progress: 408, and the server's connection is closed."""
        memory = MemoryFrontend()
        client = memory.client(POST[:-1])
        memory.wait(16)
        self.assertIn(b'408 Request Timeout', client.taken())
        self.assertTrue(memory.servers[0].aborted)
        self.assertEqual(memory.backend.outcomes, [[ServerUseOutcome.ABANDONED]])

    def test_silent_server(self) -> None:
        """No response in time: 504 without a second attempt, and the client keeps its connection."""
        memory = MemoryFrontend()
        client = memory.client(GET)
        memory.wait(14.5)
        self.assertEqual(client.taken(), b'')
        memory.wait(1)
        self.assertIn(b'504 Gateway Timeout', client.taken())
        self.assertEqual((client.closed, len(memory.servers), memory.log.endings), (False, 1, [(504, 'sH')]))
        self.assertEqual(memory.backend.outcomes, [[ServerUseOutcome.TIMED_OUT]])

    def test_server_that_probes_find_down(self) -> None:
        """A request that waits for a server when probes find it down is sent to another one, with its body, if its
        method is idempotent; others wait until their timeout. A response that has begun goes on."""
        memory = MemoryFrontend(servers=['one'])
        waiting, posting, begun = memory.client(PUT), memory.client(POST), memory.client(GET)
        sent = memory.servers[0].taken()
        memory.servers[2].say(b'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nha')
        memory.backend.names.append('two')
        memory.backend.ports['two'] = 18001
        memory.frontend.server_down('other', 'one')
        memory.frontend.server_down('main', 'two')
        self.assertEqual(len(memory.servers), 3)
        memory.frontend.server_down('main', 'one')
        self.assertEqual(memory.dialed, [18000, 18000, 18000, 18001])
        self.assertEqual(memory.servers[3].taken(), sent)
        memory.servers[3].say(OK)
        self.assertIn(b'200 OK', waiting.taken())
        memory.servers[2].say(b'lf')
        self.assertTrue(begun.taken().endswith(b'half'))
        self.assertEqual(posting.taken(), b'')
        memory.wait(16)
        self.assertIn(b'504 Gateway Timeout', posting.taken())
        self.assertEqual([(record.status, record.retries) for record in memory.log], [(200, 1), (200, 0), (504, 0)])
        self.assert_over(memory)

    def test_server_that_does_not_accept_and_is_found_down(self) -> None:
        """A request whose connection is not established yet is sent to another server, whatever its method is."""
        memory = MemoryFrontend()
        memory.accepts = False
        client = memory.client(POST)
        memory.accepts = True
        memory.frontend.server_down('main', 'one')
        memory.servers[0].say(OK)
        self.assertIn(b'200 OK', client.taken())
        self.assert_over(memory)

    def test_frozen_server(self) -> None:
        """While one of two servers accepts requests and is silent, only the requests that it holds wait, no more than
        those in progress at the same time; when probes find it down, they are sent to the other server."""
        memory = MemoryFrontend()
        servers = {'one': Server(host='127.0.0.1', port=18000), 'two': Server(host='127.0.0.1', port=18001)}
        backend: Any = RunningBackend(
            name='main', cluster='c', clock=memory.clock,
            on_server_down=lambda server: memory.frontend.server_down('main', server.name),
        )  # fmt: skip
        backend.apply(Backend(servers=servers))
        memory.backend = backend
        waiting = []
        for _ in range(200):
            client = memory.client(GET)
            for port, server in zip(memory.dialed, memory.servers, strict=True):
                if port == 18001 and server.taken():
                    server.say(OK)
            if not client.taken():
                waiting.append(client)
        self.assertEqual(len(waiting), 1)
        one = backend.servers['one']
        one.set_health(one.health.record_failed_probe(one.policy, 'frozen'))
        memory.servers[-1].say(OK)
        self.assertIn(b'200 OK', waiting[0].taken())
        self.assertEqual({record.status for record in memory.log}, {200})
        two = backend.servers['two']
        last = memory.client(GET)
        two.set_health(two.health.record_failed_probe(two.policy, 'frozen too'))
        self.assertEqual(last.taken(), b'')
        memory.servers[-1].say(OK)
        self.assertIn(b'200 OK', last.taken(), 'without another server it goes on waiting')

    def test_response_that_stops(self) -> None:
        """A response without progress is cut; one with progress, as server-sent events with heartbeats, is not."""
        memory = MemoryFrontend()
        client = memory.client(GET)
        memory.servers[0].say(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n')
        for _ in range(5):
            memory.wait(10)
            memory.servers[0].say(b'2\r\n:\n\r\n')
            self.assertTrue(client.taken().endswith(b'2\r\n:\n\r\n'))
        memory.wait(16)
        self.assertTrue(client.closed)
        self.assertEqual(memory.log.endings, [(200, 'sD')])

    def test_connect_timeout(self) -> None:
        """Servers that do not accept connections in time are tried in turn; then 503."""
        memory = MemoryFrontend(backend=Backend(retries=Retries(attempts=1)))
        memory.accepts = False
        client = memory.client(GET)
        memory.wait(32)
        self.assertIn(b'503', client.taken())
        self.assertEqual((memory.dialed, memory.log.endings), ([18000, 18001], [(503, 'sC')]))
        self.assertEqual(memory.backend.outcomes, [[ServerUseOutcome.NOT_CONNECTED]] * 2)

    def test_queue_timeout(self) -> None:
        """A backend that never admits a request does not make it wait for ever."""
        memory = MemoryFrontend()
        memory.backend.is_full = True
        client = memory.client(GET)
        memory.wait(17)
        self.assertIn(b'503', client.taken())
        self.assertEqual(memory.log.endings, [(503, 'sQ')])


class BackPressureTests(LoadBalancerTests):
    def test_slow_client(self) -> None:
        """While the client does not read, nothing is read from the server; its timeout does not run then, the
        client's does."""
        memory = MemoryFrontend()
        client = memory.client(GET)
        server = memory.servers[0]
        server.say(b'HTTP/1.1 200 OK\r\nContent-Length: 400000\r\n\r\n' + b'x' * 10)
        assert client.producer is not None
        client.producer.pauseProducing()
        server.say(b'y' * 10)
        self.assertEqual(server.producerState, 'paused')
        memory.wait(14)
        self.assertFalse(client.closed)
        client.producer.resumeProducing()
        self.assertTrue(client.taken().endswith(b'x' * 10 + b'y' * 10))
        self.assertEqual(server.producerState, 'producing')
        client.producer.pauseProducing()
        memory.wait(16)
        self.assertTrue(client.aborted)
        self.assertEqual(memory.log.endings, [(200, 'cD')])
        self.assertEqual(memory.backend.outcomes, [[ServerUseOutcome.ABANDONED]])

    def test_server_has_its_time_after_a_slow_client(self) -> None:
        """The time in which the server was not read because of the client does not count as silence of the server."""
        memory = MemoryFrontend()
        client = memory.client(GET)
        server = memory.servers[0]
        server.say(b'HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\na')
        assert client.producer is not None
        client.producer.pauseProducing()
        server.say(b'b')
        memory.wait(14)
        client.producer.resumeProducing()
        memory.wait(14)
        self.assertFalse(client.closed)
        server.say(b'c')
        self.assertTrue(client.taken().endswith(b'abc'))
        self.assertEqual(memory.log.endings, [(200, '--')])

    def test_server_is_lost_while_the_client_is_slow(self) -> None:
        """What the server has sent before it was lost still reaches the client."""
        memory = MemoryFrontend()
        client = memory.client(GET)
        assert client.producer is not None
        client.producer.pauseProducing()
        memory.servers[0].say(b'HTTP/1.0 200 OK\r\n\r\nall')
        memory.servers[0].end()
        client.producer.resumeProducing()
        self.assertTrue(client.taken().endswith(b'3\r\nall\r\n0\r\n\r\n'))

    def test_slow_server(self) -> None:
        """While the server does not read, nothing is read from the client, and its timeout runs."""
        memory = MemoryFrontend()
        client = memory.client(POST.replace(b': 2', b': 900000'))
        server = memory.servers[0]
        assert server.producer is not None
        server.producer.pauseProducing()
        client.say(b'x' * 70000)
        self.assertEqual(client.producerState, 'paused')
        server.producer.resumeProducing()
        self.assertEqual(client.producerState, 'producing')
        self.assertTrue(server.taken().endswith(b'x' * 70000))
        server.producer.pauseProducing()
        client.say(b'x')
        memory.wait(16)
        self.assertIn(b'504', client.taken())
        self.assertEqual(memory.backend.outcomes, [[ServerUseOutcome.TIMED_OUT]])

    def test_pipelining_client(self) -> None:
        """A client that sends further requests while one is in progress is read only up to a limit."""
        memory = MemoryFrontend(servers=['one'])
        client = memory.client(GET)
        client.say(GET * 4000)
        self.assertEqual(client.producerState, 'paused')
        for _ in range(4001):
            memory.servers[0].say(OK)
        self.assertEqual((client.producerState, client.taken().count(b'ok')), ('producing', 4001))


class DrainTests(LoadBalancerTests):
    def test_drain(self) -> None:
        """Idle connections end at once, others after their response; then nothing is left."""
        memory = MemoryFrontend()
        idle, busy, new = memory.client(GET), memory.client(), memory.client()
        memory.servers[0].say(OK)
        busy.say(GET)
        memory.frontend.drain()
        done = memory.frontend.wait_idle()
        self.assertEqual((idle.closed, busy.closed, new.closed), (True, False, True))
        memory.servers[1].say(OK)
        self.assertIn(b'Connection: close', busy.taken())
        self.assertTrue(busy.closed)
        self.assertNoResult(done)
        memory.clock.advance(0)
        self.successResultOf(done)

    def test_stop(self) -> None:
        """The hard stop aborts what is left."""
        memory = MemoryFrontend()
        client = memory.client(GET)
        memory.frontend.stop()
        self.assertTrue(client.aborted)
        memory.clock.advance(0)
        self.assertTrue(memory.servers[0].aborted)
        memory.wait(10)
        self.assertEqual(memory.clock.getDelayedCalls(), [])
        self.assert_over(memory)

    def test_connection_limit(self) -> None:
        """Connections beyond the limit are closed at once."""
        memory = MemoryFrontend(frontend(max_connections=1))
        memory.client()
        self.assertTrue(memory.client().aborted)
        self.assertEqual((memory.frontend.connections, memory.frontend.rejected_connections), (1, 1))
