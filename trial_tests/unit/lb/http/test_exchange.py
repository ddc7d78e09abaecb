"""Exchanges between clients and servers in memory."""

from __future__ import annotations

from trial_tests.support.lb_memory import LoadBalancerTests, MemoryFrontend, ServerUseOutcome
from zatotx.lb.config.model import (
    AddressRateLimit,
    Backend,
    Frontend,
    HeaderRules,
    RoutingRule,
    Server,
    ServerTimeouts,
    StickyCookie,
)

GET = b'GET /a HTTP/1.1\r\nHost: x.example\r\n\r\n'
POST = b'POST /a HTTP/1.1\r\nHost: x.example\r\nContent-Length: 2\r\n\r\nhi'
CHUNKED = b'POST /a HTTP/1.1\r\nHost: x.example\r\nTransfer-Encoding: chunked\r\n\r\n'
FORWARDED = b'X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: x.example\r\n'
OK = b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok'


def frontend(**fields: object) -> Frontend:
    """The settings of a frontend."""
    return Frontend(listen=('127.0.0.1:0',), default_backend='main', **fields)  # type: ignore[arg-type]


class ForwardingTests(LoadBalancerTests):
    def test_request_and_response(self) -> None:
        """A request and its response pass, and the server gets the client's address."""
        memory = MemoryFrontend()
        received, answered = self.exchanged(memory, POST, OK)
        self.assertEqual(received, b'POST /a HTTP/1.1\r\nHost: x.example\r\n' + FORWARDED
                         + b'Content-Length: 2\r\n\r\nhi')  # fmt: skip
        self.assertEqual(answered, OK)
        self.assertEqual(memory.backend.outcomes, [[ServerUseOutcome.RESPONDED]])
        self.assertEqual(memory.log.endings, [(200, '--')])

    def test_connections_are_reused(self) -> None:
        """Both sides keep their connections: a second request needs no new one, and an identical response head is
        written identically."""
        memory = MemoryFrontend(servers=['one'])
        client = memory.client()
        for _ in range(3):
            client.say(GET)
            memory.servers[0].say(OK)
            self.assertEqual(client.taken(), OK)
        self.assertEqual((len(memory.servers), client.closed), (1, False))
        self.exchanged(memory, GET, OK)
        self.assertEqual(len(memory.servers), 1)

    def test_pipelined_requests_are_answered_in_order(self) -> None:
        """The next pipelined request is sent when the one before is answered."""
        memory = MemoryFrontend(servers=['one'])
        client = memory.client(GET + POST + GET)
        server = memory.servers[0]
        for number in range(3):
            self.assertEqual(server.taken().count(b'HTTP/1.1'), 1)
            server.say(b'HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d' % number)
        self.assertEqual([part[-1:] for part in client.taken().split(b'HTTP/1.1')[1:]], [b'0', b'1', b'2'])

    def test_servers_take_turns(self) -> None:
        """Each request gets the server that the backend chooses."""
        memory = MemoryFrontend()
        client = memory.client()
        for _ in range(4):
            client.say(GET)
            memory.servers[len(memory.log) % 2].say(OK)
        self.assertEqual([record.server for record in memory.log], ['one', 'two', 'one', 'two'])
        self.assertEqual(memory.dialed, [18000, 18001])

    def test_bodies_are_streamed(self) -> None:
        """A body is passed on while it arrives, in both directions, with chunks and trailers."""
        memory = MemoryFrontend()
        client = memory.client(CHUNKED + b'3\r\nabc\r\n')
        server = memory.servers[0]
        self.assertTrue(server.taken().endswith(b'Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n'))
        client.say(b'2\r\nde\r\n0\r\nDigest: x\r\n\r\n')
        self.assertEqual(server.taken(), b'2\r\nde\r\n0\r\nDigest: x\r\n\r\n')
        server.say(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: Sum\r\n\r\n1\r\na\r\n')
        self.assertEqual(client.taken(), b'HTTP/1.1 200 OK\r\nTrailer: Sum\r\nTransfer-Encoding: chunked\r\n\r\n'
                         b'1\r\na\r\n')  # fmt: skip
        server.say(b'1;x=y\r\nb\r\n0\r\nSum: 1\r\n\r\n')
        self.assertEqual(client.taken(), b'1\r\nb\r\n0\r\nSum: 1\r\n\r\n')
        self.assertEqual(memory.log.endings, [(200, '--')])

    def test_response_until_close(self) -> None:
        """A response that the end of the connection ends is sent in chunks."""
        memory = MemoryFrontend()
        client = memory.client(GET)
        memory.servers[0].say(b'HTTP/1.0 200 OK\r\n\r\nall')
        memory.servers[0].end()
        self.assertEqual(client.taken(), b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nall\r\n'
                         b'0\r\n\r\n')  # fmt: skip
        self.assertFalse(client.closed)

    def test_http_1_0_clients(self) -> None:
        """A client of HTTP/1.0 gets no chunks and no interim responses; its connection ends unless it asks to keep
        it. A request without Host gets that of the listener."""
        memory = MemoryFrontend(servers=['one'])
        client = memory.client(b'GET / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n')
        server = memory.servers[0]
        self.assertIn(b'GET / HTTP/1.1\r\nHost: 10.0.0.1:12345\r\n', server.taken())
        server.say(b'HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n'
                   b'0\r\n\r\n')  # fmt: skip
        self.assertEqual(client.taken(), b'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\na')
        self.assertTrue(client.closed)
        client = memory.client(b'GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n')
        server.say(OK)
        self.assertEqual(client.taken(), b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok')
        self.assertFalse(client.closed)

    def test_head(self) -> None:
        """A response to HEAD has the length of the body, and no body."""
        memory = MemoryFrontend()
        head = b'HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n'
        self.assertEqual(self.exchanged(memory, GET.replace(b'GET', b'HEAD'), head)[1], head)
        self.assertEqual(memory.log.endings, [(200, '--')])

    def test_no_content_and_not_modified(self) -> None:
        """Responses without a body have no framing that announces one."""
        for response in (b'HTTP/1.1 204 No Content\r\n\r\n', b'HTTP/1.1 304 Not Modified\r\nETag: "a"\r\n\r\n'):
            self.assertEqual(self.exchanged(MemoryFrontend(), GET, response)[1], response)

    def test_expect_continue(self) -> None:
        """The client sends its body when the server says 100, which is passed on."""
        memory = MemoryFrontend()
        client = memory.client(b'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-Continue\r\n\r\n')
        server = memory.servers[0]
        self.assertTrue(server.taken().endswith(b'Content-Length: 2\r\nExpect: 100-continue\r\n\r\n'))
        server.say(b'HTTP/1.1 100 Continue\r\n\r\n')
        self.assertEqual(client.taken(), b'HTTP/1.1 100 Continue\r\n\r\n')
        client.say(b'hi')
        self.assertEqual(server.taken(), b'hi')
        server.say(OK)
        self.assertEqual((client.taken(), client.closed), (OK, False))

    def test_expectation_that_is_declined(self) -> None:
        """A final response instead of 100 ends the connections: whether the body follows is not known."""
        memory = MemoryFrontend()
        client = memory.client(b'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n')
        memory.servers[0].say(b'HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n')
        self.assertEqual(client.taken(), b'HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n')
        self.assertTrue(memory.servers[0].closed)
        client.say(b'hi')  # it is ignored
        memory.wait(6)
        self.assertTrue(client.closed)

    def test_early_hints(self) -> None:
        """Interim responses are passed on."""
        hints = b'HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n'
        self.assertEqual(self.exchanged(MemoryFrontend(), GET, hints + OK)[1], hints + OK)

    def test_early_response(self) -> None:
        """A response before the end of the request is passed on; then both connections end."""
        memory = MemoryFrontend()
        client = memory.client(CHUNKED + b'3\r\nabc\r\n')
        memory.servers[0].say(b'HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n')
        self.assertIn(b'Connection: close', client.taken())
        self.assertTrue(memory.servers[0].aborted)
        self.assertFalse(client.closed)  # it may still be sending
        client.say(b'3\r\nabc\r\n' * 1000)
        memory.wait(6)
        self.assertTrue(client.closed)

    def test_connection_close(self) -> None:
        """`Connection: close` of the client ends its connection, that of the server the server's."""
        memory = MemoryFrontend(servers=['one'])
        client = memory.client(GET.replace(b'Host', b'Connection: close\r\nHost'))
        memory.servers[0].say(OK)
        self.assertEqual(client.taken(), b'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok')
        self.assertEqual((client.closed, memory.servers[0].closed), (True, False))
        client = memory.client(GET)
        memory.servers[0].say(b'HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok')
        self.assertEqual(client.taken(), OK)
        self.assertEqual((client.closed, memory.servers[0].closed), (False, True))

    def test_half_close(self) -> None:
        """A client that ends its direction gets its response, and then the connection ends."""
        memory = MemoryFrontend()
        client = memory.client(GET)
        client.half_close()
        self.assertFalse(client.closed)
        memory.servers[0].say(OK)
        self.assertIn(b'ok', client.taken())
        self.assertTrue(client.closed)

    def test_header_rules(self) -> None:
        """Fields are set and removed as frontend and backend say."""
        rules = HeaderRules(set={'X-Env': 'test', 'Host': 'inner'}, remove=('X-Debug',))
        memory = MemoryFrontend(frontend(request_headers=rules, response_headers=HeaderRules(remove=('Server',))),
                                Backend(response_headers=HeaderRules(set={'X-Frame': 'deny'})))  # fmt: skip
        received, answered = self.exchanged(
            memory, GET.replace(b'\r\n\r\n', b'\r\nX-Debug: 1\r\nX-Env: prod\r\n\r\n'),
            b'HTTP/1.1 200 OK\r\nServer: x\r\nX-Frame: allow\r\nContent-Length: 0\r\n\r\n',
        )  # fmt: skip
        self.assertEqual(received, b'GET /a HTTP/1.1\r\nHost: inner\r\n' + FORWARDED + b'X-Env: test\r\n\r\n')
        self.assertEqual(answered, b'HTTP/1.1 200 OK\r\nX-Frame: deny\r\nContent-Length: 0\r\n\r\n')

    def test_sticky_cookie(self) -> None:
        """The cookie of the slot is set, also if the response head is cached."""
        memory = MemoryFrontend(backend=Backend(sticky_cookie=StickyCookie(secure=True)), servers=['one'])
        line = b'Set-Cookie: zato-lb-test=a1; Path=/; HttpOnly; SameSite=Lax; Secure\r\n\r\nok'
        memory.backend.cookie = 'a1'
        for _ in range(2):
            self.assertTrue(self.exchanged(memory, GET, OK)[1].endswith(line))
        memory.backend.cookie = ''
        self.assertEqual(self.exchanged(memory, GET, OK)[1], OK)

    def test_balancing_key(self) -> None:
        """The backend gets the fields and cookies that it names."""
        memory = MemoryFrontend()
        memory.backend.key_headers, memory.backend.key_cookies = ['x-user'], ['sid']
        memory.client(GET.replace(b'Host', b'X-User: anna\r\nCookie: a=b; sid=7; sid=8\r\nHost'))
        key = memory.backend.keys[0]
        self.assertEqual((key.client_address, key.headers, key.cookies),
                         ('203.0.113.9', {'x-user': 'anna'}, {'sid': '7'}))  # fmt: skip


class LocalTests(LoadBalancerTests):
    """Responses that need no server."""

    def status(self, memory: MemoryFrontend, request: bytes = GET, address: str = '203.0.113.9') -> bytes:
        """The status and the connection's end, as the client sees them."""
        client = memory.client(request, address)
        return client.taken()[9:12] + (b' closed' if client.closed else b'')

    def test_alive(self) -> None:
        """The alive path needs no server, and says when the load balancer stops."""
        memory = MemoryFrontend(servers=[])
        alive = GET.replace(b'/a', b'/zato-lb-alive')
        self.assertEqual(self.status(memory, alive), b'200')
        client = memory.client(alive[:10])
        memory.frontend.drain()
        client.say(alive[10:])
        self.assertIn(b'503', client.taken())

    def test_pages(self) -> None:
        """The statistics are served where the frontend enables them."""
        stats = GET.replace(b'/a', b'/zato-lb-stats?x')
        self.assertEqual(self.status(MemoryFrontend(frontend(stats=True)), stats), b'200')
        memory = MemoryFrontend()
        memory.client(stats)
        self.assertEqual(len(memory.servers), 1)
        memory = MemoryFrontend(frontend(stats=True))
        memory.client(stats.replace(b'stats?x', b'statsman'))
        self.assertEqual(len(memory.servers), 1)

    def test_access_lists(self) -> None:
        """Denied clients get 403, the others are served."""
        memory = MemoryFrontend(frontend(allow=('203.0.113.0/24',), deny=('203.0.113.66',)))
        self.assertEqual(self.status(memory, address='203.0.113.66'), b'403')
        self.assertEqual(self.status(memory, address='198.51.100.1'), b'403')
        self.assertEqual(self.status(memory), b'')
        self.assertEqual(len(memory.servers), 1)

    def test_request_rate(self) -> None:
        """Requests beyond the rate of an address get 429; others are not affected."""
        memory = MemoryFrontend(frontend(request_rate=AddressRateLimit(count=2)))
        statuses = [self.status(memory, GET) for _ in range(3)]
        self.assertEqual(statuses, [b'', b'', b'429'])
        self.assertEqual(self.status(memory, address='203.0.113.10'), b'')
        memory.wait(1)
        self.assertEqual(self.status(memory), b'')

    def test_redirect_to_https(self) -> None:
        """Plain HTTP is redirected, with method and body kept, to the same host without its port."""
        memory = MemoryFrontend(frontend(redirect_to_https=True))
        client = memory.client(GET.replace(b'x.example', b'x.example:8080').replace(b'/a', b'/a?b=c'))
        answer = client.taken()
        self.assertIn(b'308 Permanent Redirect', answer)
        self.assertIn(b'Location: https://x.example/a?b=c\r\n', answer)

    def test_no_route(self) -> None:
        """A request that no rule matches gets 404; CONNECT 405; an unknown expectation 417."""
        routes = (RoutingRule(backend='main', host='x.example', path='/a'),)
        memory = MemoryFrontend(Frontend(listen=('127.0.0.1:0',), routes=routes))
        self.assertEqual(self.status(memory), b'')
        self.assertEqual(self.status(memory, GET.replace(b'/a', b'/ab')), b'404')
        self.assertEqual(self.status(memory, b'CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\n\r\n'), b'405')
        self.assertEqual(self.status(memory, GET.replace(b'Host', b'Expect: magic\r\nHost')), b'417')
        self.assertEqual(len(memory.servers), 1)

    def test_body_of_a_rejected_request(self) -> None:
        """A body that is there is skipped, and the connection persists; otherwise it ends after the response."""
        memory = MemoryFrontend(frontend(deny=('203.0.113.9',)))
        client = memory.client(POST + GET)
        self.assertEqual((client.taken().count(b'403 Forbidden'), client.closed), (2, False))
        client = memory.client(POST[:-1])
        self.assertIn(b'Connection: close', client.taken())
        client.say(b'i' + GET)
        self.assertEqual(client.taken(), b'')

    def test_new_configuration(self) -> None:
        """A new configuration applies to the next request of an open connection."""
        memory = MemoryFrontend()
        client = memory.client(GET)
        memory.servers[0].say(OK)
        memory.apply(frontend(deny=('203.0.113.9',)))
        client.taken()
        client.say(GET)
        self.assertIn(b'403', client.taken())
        self.assertTrue(memory.servers[0].closed)  # its server is not in the new configuration

    def test_new_configuration_with_the_same_servers(self) -> None:
        """The connections to servers that have not changed are kept, and those to others are closed, also if they are
        in use: then after their exchange. Retries are limited as before."""
        one, two = Server(host='127.0.0.1', port=18000), Server(host='127.0.0.1', port=18001)
        memory = MemoryFrontend(backend=Backend(servers={'one': one, 'two': two}))
        clients = [memory.client(GET) for _ in range(3)]
        for server in memory.servers[:2]:
            server.say(OK)
        budget = memory.frontend._state.http.targets['main'].budget  # type: ignore[union-attr]
        memory.apply(frontend(deny=('192.0.2.1',)), Backend(servers={'one': one, 'three': two}))
        self.assertIs(memory.frontend._state.http.targets['main'].budget, budget)  # type: ignore[union-attr]
        self.assertEqual([server.closed for server in memory.servers], [False, True, False])
        memory.servers[2].say(OK)
        self.assertIn(b'200 OK', clients[2].taken())
        memory.backend.names.remove('two')
        for client in clients[:2]:
            client.say(GET)
        self.assertEqual(memory.dialed, [18000, 18001, 18000])
        slower = Backend(servers={'one': one}, timeouts=ServerTimeouts(connect=1))
        memory.apply(frontend(), slower)
        self.assertEqual([server.closed for server in memory.servers], [False, True, False])
        for server in (memory.servers[0], memory.servers[2]):
            server.say(OK)
        self.assertEqual([server.closed for server in memory.servers], [True, True, True])
