"""Tunnels in memory: upgraded HTTP connections, and TCP mode."""

from __future__ import annotations

from trial_tests.support.lb_memory import (
    REFUSED,
    ClientLine,
    ConnectionLost,
    Line,
    LoadBalancerTests,
    MemoryFrontend,
    ServerUseOutcome,
)
from zatotx.lb.config.model import Backend, Frontend, ServerTimeouts

UPGRADE = (b'GET /chat HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n'
           b'Sec-WebSocket-Key: k\r\n\r\n')  # fmt: skip
SWITCH = b'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-X: y\r\n\r\n'


class UpgradeTests(LoadBalancerTests):
    def open_tunnel(self, memory: MemoryFrontend, early: bytes = b'') -> tuple[ClientLine, Line]:
        """Upgrade a connection."""
        client = memory.client(UPGRADE)
        server = memory.servers[-1]
        self.assertIn(b'Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n', server.taken())
        server.say(SWITCH + early)
        return client, server

    def test_websocket(self) -> None:
        """After 101 bytes pass both ways, also those that came together with the heads."""
        memory = MemoryFrontend()
        client, server = self.open_tunnel(memory, b'\x81\x02hi')
        self.assertEqual(client.taken(), b'HTTP/1.1 101 Switching Protocols\r\nSec-X: y\r\nConnection: Upgrade\r\n'
                         b'Upgrade: websocket\r\n\r\n\x81\x02hi')  # fmt: skip
        client.say(b'GET / HTTP/1.1\r\n')  # whatever it is, it is no request
        self.assertEqual(server.taken(), b'GET / HTTP/1.1\r\n')
        server.say(b'\0')
        self.assertEqual(client.taken(), b'\0')
        client.end()
        memory.clock.advance(0)
        self.assertTrue(server.closed)
        self.assertEqual(memory.backend.outcomes, [[ServerUseOutcome.RESPONDED]])
        self.assertEqual([(record.status, record.received_bytes, record.sent_bytes) for record in memory.log],
                         [(101, 16, 5)])  # fmt: skip

    def test_early_frames(self) -> None:
        """What a client sends before it has the response is kept for the server."""
        memory = MemoryFrontend()
        client = memory.client(UPGRADE + b'early')
        server = memory.servers[0]
        self.assertNotIn(b'early', server.taken())
        server.say(SWITCH)
        self.assertEqual(server.taken(), b'early')
        self.assertFalse(client.closed)

    def test_refused_upgrade(self) -> None:
        """Another response than 101 is an ordinary one, and the connection goes on."""
        memory = MemoryFrontend(servers=['one'])
        client = memory.client(UPGRADE)
        memory.servers[0].say(b'HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n')
        self.assertEqual(client.taken(), b'HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n')
        client.say(b'GET / HTTP/1.1\r\nHost: x\r\n\r\n')
        self.assertIn(b'GET / HTTP/1.1', memory.servers[0].value())

    def test_other_protocols_are_not_tunnelled(self) -> None:
        """An upgrade to HTTP/2 would let a client send unchecked requests: its fields are removed."""
        memory = MemoryFrontend()
        request = UPGRADE.replace(b': WebSocket', b': h2c').replace(b'Sec-WebSocket-Key', b'HTTP2-Settings')
        client = memory.client(request)
        received = memory.servers[0].taken()
        for word in (b'h2c', b'Upgrade', b'HTTP2-Settings'):
            self.assertNotIn(word, received)
        memory.servers[0].say(SWITCH)
        self.assertIn(b'502 Bad Gateway', client.taken())

    def test_upgrade_to_another_protocol(self) -> None:
        """A server that switches to another protocol than the one that was asked for: 502."""
        memory = MemoryFrontend()
        client = memory.client(UPGRADE)
        memory.servers[0].say(SWITCH.replace(b'Upgrade: websocket', b'Upgrade: h2c'))
        self.assertIn(b'502 Bad Gateway', client.taken())
        self.assertEqual(memory.backend.outcomes, [[ServerUseOutcome.MALFORMED]])

    def test_server_ends(self) -> None:
        """When the server closes, the client gets the rest, and its connection ends; after a reset, with a reset."""
        for error, is_reset in ((None, False), (ConnectionLost(), True)):
            memory = MemoryFrontend()
            client, server = self.open_tunnel(memory)
            server.say(b'bye')
            server.end(error)
            self.assertTrue(client.taken().endswith(b'bye'))
            self.assertEqual((client.disconnecting, client.aborted), (not is_reset, is_reset))
            memory.clock.advance(0)
            self.assertEqual((memory.frontend.connections, len(memory.log)), (0, 1))

    def test_back_pressure(self) -> None:
        """Each side is read only while the other one accepts data."""
        memory = MemoryFrontend()
        client, server = self.open_tunnel(memory)
        for one, other in ((client, server), (server, client)):
            assert other.producer is not None
            other.producer.pauseProducing()
            one.say(b'x' * 10)
            self.assertEqual(one.producerState, 'paused')
            other.producer.resumeProducing()
            self.assertEqual(one.producerState, 'producing')

    def test_timeout(self) -> None:
        """A tunnel without a byte in either direction ends after its timeout."""
        memory = MemoryFrontend(backend=Backend(timeouts=ServerTimeouts(tunnel=60)))
        client, server = self.open_tunnel(memory)
        for _ in range(3):
            memory.wait(50)
            server.say(b'x')
        self.assertFalse(client.closed)
        memory.wait(61)
        self.assertEqual((client.aborted, server.aborted), (True, True))
        self.assertEqual(memory.log.endings, [(101, 'sD')])

    def test_drain(self) -> None:
        """A draining frontend lets tunnels go on; the hard stop ends them."""
        memory = MemoryFrontend()
        client, server = self.open_tunnel(memory)
        memory.frontend.drain()
        server.say(b'x')
        self.assertFalse(client.closed)
        memory.frontend.stop()
        memory.clock.advance(0)
        self.assertEqual((client.aborted, server.closed, memory.frontend.connections), (True, True, 0))


class TcpTests(LoadBalancerTests):
    def make(self, backend: Backend | None = None, **fields: object) -> MemoryFrontend:
        """A frontend in TCP mode."""
        return MemoryFrontend(Frontend(listen=('127.0.0.1:0',), default_backend='main', mode='tcp', **fields),  # type: ignore[arg-type]
                              backend or Backend(mode='tcp'))  # fmt: skip

    def test_bytes_pass(self) -> None:
        """Bytes pass both ways, a greeting of the server first."""
        memory = self.make()
        client = memory.client()
        server = memory.servers[0]
        server.say(b'220 hello\r\n')
        self.assertEqual(client.taken(), b'220 hello\r\n')
        client.say(b'\0\xff')
        self.assertEqual(server.taken(), b'\0\xff')
        client.end()
        memory.clock.advance(0)
        self.assertTrue(server.closed)
        record, = memory.log
        self.assertEqual((record.received_bytes, record.sent_bytes, record.server, record.termination),
                         (2, 11, 'one', 'CD'))  # fmt: skip
        self.assertEqual(memory.backend.outcomes, [[ServerUseOutcome.RESPONDED]])

    def test_nothing_is_read_before_the_server_is_connected(self) -> None:
        """Memory is bounded, however much a client sends to a server that does not accept yet."""
        memory = self.make()
        memory.accepts = False
        client = memory.client()
        self.assertEqual(client.producerState, 'paused')
        memory.connect()
        self.assertEqual(client.producerState, 'producing')

    def test_half_close(self) -> None:
        """Each direction ends by itself; the connection ends when both have."""
        memory = self.make()
        client = memory.client()
        server = memory.servers[0]
        client.say(b'question')
        client.half_close()
        self.assertEqual((server.taken(), server.closed), (b'question', False))
        server.say(b'answer')
        server.protocol.readConnectionLost()
        self.assertEqual((client.taken(), client.disconnecting, server.disconnecting), (b'answer', True, True))
        memory.clock.advance(0)
        self.assertEqual((memory.frontend.connections, memory.log.endings), (0, [(0, '--')]))

    def test_other_servers_are_tried(self) -> None:
        """A server that refuses is replaced by another one; without any, the connection is closed."""
        memory = self.make()
        memory.refused[18000] = REFUSED
        memory.client()
        self.assertEqual((memory.dialed, len(memory.servers)), ([18000, 18001], 1))
        memory.accepts = REFUSED
        self.assertTrue(memory.client().aborted)
        self.assertEqual(memory.log[-1].termination, 'SC')
        memory.backend.names = []
        self.assertTrue(memory.client().aborted)

    def test_connect_timeout(self) -> None:
        """A server that does not accept in time is replaced by another one."""
        memory = self.make()
        memory.accepts = False
        memory.client()
        memory.wait(16)
        self.assertEqual(memory.dialed, [18000, 18001])
        self.assertEqual(memory.backend.outcomes, [[ServerUseOutcome.NOT_CONNECTED], []])

    def test_server_that_probes_find_down(self) -> None:
        """A connection that the server has not accepted yet goes to another one; those that it has accepted stay."""
        memory = self.make()
        memory.client()
        memory.accepts = False
        memory.client()
        memory.accepts = True
        for name in ('one', 'two'):
            memory.frontend.server_down('main', name)
        self.assertEqual(memory.dialed, [18000, 18001, 18000])
        self.assertEqual([server.closed for server in memory.servers], [False, False])

    def test_queue(self) -> None:
        """A connection waits until a server has room, and leaves the queue when its client does."""
        memory = self.make()
        memory.backend.is_full = True
        memory.client()
        memory.backend.admit()
        self.assertEqual(len(memory.servers), 1)
        memory.backend.is_full = True
        client = memory.client()
        client.end()
        self.assertTrue(memory.backend.queue[0].called)
        self.assertEqual(memory.log[-1].termination, 'CQ')
        memory.client()
        memory.wait(17)
        self.assertEqual(memory.log[-1].termination, 'sQ')

    def test_access_list(self) -> None:
        """Denied clients are closed at once."""
        memory = self.make(deny=('203.0.113.9',))
        self.assertTrue(memory.client().aborted)
        self.assertFalse(memory.client(address='203.0.113.10').aborted)
        self.assertEqual(memory.frontend.rejected_connections, 1)

    def test_proxy_headers(self) -> None:
        """The server gets the client's addresses first, in the version that it wants."""
        memory = self.make(Backend(mode='tcp', proxy_protocol='v1'))
        memory.client(b'')
        self.assertEqual(memory.servers[0].taken(), b'PROXY TCP4 203.0.113.9 10.0.0.1 40000 12345\r\n')
        memory = self.make(Backend(mode='tcp', proxy_protocol='v2'))
        memory.client(b'')
        self.assertTrue(memory.servers[0].taken().startswith(b'\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c'))


class ProxyProtocolTests(LoadBalancerTests):
    def test_received_header(self) -> None:
        """The client of a PROXY header is the client of the request."""
        memory = MemoryFrontend(Frontend(listen=('127.0.0.1:0',), default_backend='main', proxy_protocol=True))
        memory.client(b'PROXY TCP4 198.51.100.7 10.1.1.1 555 80\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n')
        self.assertIn(b'X-Forwarded-For: 198.51.100.7\r\n', memory.servers[0].taken())
        self.assertTrue(memory.client(b'GET / HTTP/1.1\r\nHost: x\r\n\r\n').aborted)

    def test_trusted_senders(self) -> None:
        """With trusted proxies, only these may send PROXY headers."""
        memory = MemoryFrontend(Frontend(listen=('127.0.0.1:0',), default_backend='main', proxy_protocol=True,
                                         trusted_proxies=('10.0.0.0/8',)))  # fmt: skip
        self.assertTrue(memory.client().aborted)
        client = memory.client(b'PROXY TCP4 198.51.100.7 10.1.1.1 555 80\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n',
                               address='10.2.2.2')  # fmt: skip
        self.assertFalse(client.aborted)
        self.assertEqual(len(memory.servers), 1)

    def test_http_mode(self) -> None:
        """In HTTP mode a connection with a header carries requests of its client only: it is not reused."""
        memory = MemoryFrontend(backend=Backend(proxy_protocol='v1'), servers=['one'])
        client = memory.client()
        for number in range(2):
            client.say(b'GET / HTTP/1.1\r\nHost: x\r\n\r\n')
            self.assertTrue(memory.servers[number].taken().startswith(b'PROXY TCP4 203.0.113.9 10.0.0.1 40000 12345\r\n'
                                                                      b'GET / HTTP/1.1\r\n'))  # fmt: skip
            memory.servers[number].say(b'HTTP/1.1 204 No Content\r\n\r\n')
            self.assertTrue(memory.servers[number].closed)
