"""The HTTP server with real clients, well-behaved and hostile, over loopback."""

from __future__ import annotations

import gc
import socket
import ssl
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import ExitStack
from functools import partial
from time import monotonic, sleep
from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.threads import deferToThread

from zatotx.connectors.http.buffered_writer import LARGE_READ_SIZE, READ_SIZE
from zatotx.model.message import Message, Reply
from zatotx.plugins.http.test.server_doubles import JSON, answers_in, get, post
from zatotx.plugins.http.test.socket_clients import (
    PATIENCE,
    Served,
    certificate,
    connected,
    everything,
    exchange,
    pause,
)

MIB = 1024 * 1024
CLOSE = 'Connection: close'


class Flood:
    """A stream of 100 MiB in pieces of 64 KiB."""

    def __init__(self) -> None:
        self.given = 0
        self.closed = False

    async def stream(self) -> AsyncIterator[bytes]:
        piece = bytes(65536)
        try:
            for _ in range(1600):
                self.given += len(piece)
                yield piece
        finally:
            self.closed = True

    def reply(self, inbound: Message) -> Reply:
        return Reply(200, b'', JSON, stream=self.stream())


class PatientClientTests(Served):
    async def test_a_stream_is_read_whole(self) -> None:
        """A stream of 100 MiB arrives completely."""
        flood = Flood()
        self.exchange.at_once = flood.reply
        await self.serve()
        (answer,) = await self.client(exchange, get('/echo', CLOSE))
        self.assertEqual(len(answer.body), 100 * MIB)
        await self.until(lambda: flood.closed)

    async def test_who_sends_much_is_read_in_large_pieces(self) -> None:
        """A connection starts with a small read buffer; a body that fills it gets a larger one."""
        await self.serve()
        reads: list[int] = []

        def note(inbound: Message) -> Reply:
            (connection,) = self.channel._server_context.connections  # type: ignore[union-attr]  # it listens
            reads.append(connection.transport.bufferSize)
            return Reply(200, b'{}', JSON)

        self.exchange.at_once = note

        def both(connection: socket.socket) -> bytes:
            connection.sendall(post())
            first = connection.recv(65536)
            connection.sendall(post('/echo', b'x' * 500_000, CLOSE))
            return first + everything(connection)

        answers = answers_in(await self.client(both))
        self.assertEqual(([answer.status for answer in answers], reads), ([200, 200], [READ_SIZE, LARGE_READ_SIZE]))

    async def test_a_large_answer_is_read_slowly(self) -> None:
        """A large response arrives in order, however slowly the client reads."""
        body = b''.join(n.to_bytes(4, 'big') for n in range(2 * MIB))
        self.exchange.at_once = lambda inbound: Reply(200, body, JSON)
        await self.serve()

        def slowly(connection: socket.socket) -> bytes:
            connection.sendall(get('/echo', CLOSE))
            sleep(0.3)
            return everything(connection)

        (answer,) = answers_in(await self.client(slowly))
        self.assertTrue(answer.body == body)

    async def test_a_long_pipeline(self) -> None:
        """A thousand pipelined requests get a thousand responses in order."""
        await self.serve()
        requests = b''.join(post(body=b'%d' % n) for n in range(1000)) + get('/echo', CLOSE)
        answers = await self.client(exchange, requests)
        self.assertEqual([answer.body for answer in answers], [b'%d' % n for n in range(1000)] + [b''])

    async def test_a_large_body_over_the_network(self) -> None:
        """A large body is spooled in threads, and the next request follows."""
        await self.serve()
        body = bytes(range(256)) * (12 * 4096)
        answers = await self.client(exchange, post(body=body) + get('/echo', CLOSE))
        self.assertTrue(answers[0].body == body)
        self.assertEqual(answers[1].status, 200)


class BadClientTests(Served):
    async def test_a_body_that_is_too_large_is_refused_readably(self) -> None:
        """A client that sends all of 100 MiB before it reads still finds the 413 response."""
        await self.serve()

        def send_all(connection: socket.socket) -> bytes:
            connection.sendall(f'POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {100 * MIB}\r\n\r\n'.encode())
            piece = bytes(MIB)
            for _ in range(100):
                connection.sendall(piece)
            connection.shutdown(socket.SHUT_WR)
            return everything(connection)

        (answer,) = answers_in(await self.client(send_all))
        self.assertEqual(answer.status, 413)

    async def test_a_deaf_client_costs_little_and_ends(self) -> None:
        """A client that requests 100 MiB and never reads: few pieces are produced, and the write timeout aborts it."""
        flood = Flood()
        self.exchange.at_once = flood.reply
        await self.serve(write_timeout=1)
        with connected(self.port, receive_buffer=4096) as deaf:
            deaf.sendall(get())
            await self.until(lambda: flood.closed)
            self.assertLess(flood.given, 8 * MIB)  # the kernel's buffers
            self.assertEqual(self.channel.counters.gone, 1)
        await self.until(lambda: not self.channel.counters.open)

    async def test_a_dripping_client_is_cut(self) -> None:
        """A client that drips its head reads a 408, and its connection ends."""
        await self.serve(head_timeout=1)

        def drip(connection: socket.socket) -> tuple[bytes, float]:
            began = monotonic()
            connection.settimeout(0.1)
            for byte in b'GET /echo HTTP/1.1\r\nX-Drip: ' + b'x' * 200:
                connection.sendall(bytes((byte,)))
                try:
                    return connection.recv(65536), monotonic() - began
                except TimeoutError:
                    continue
            return b'', 0.0

        data, seconds = await self.client(drip)
        self.assertEqual([answer.status for answer in answers_in(data)], [408])
        self.assertLess(seconds, 15)  # it would drip for twenty

    async def test_a_client_that_closes_cancels_its_service(self) -> None:
        """An ordinary close() while the service runs cancels it within two seconds."""
        self.exchange.at_once = None
        await self.serve()
        with connected(self.port) as connection:
            connection.sendall(get())
            await self.until(lambda: self.exchange.delivered)
        await self.until(lambda: self.exchange.delivered[0].cancelled)
        self.assertEqual(self.channel.counters.gone, 1)

    async def test_a_client_that_resets_cancels_its_service(self) -> None:
        """A reset cancels the service at once."""
        self.exchange.at_once = None
        await self.serve()
        with connected(self.port) as connection:
            connection.sendall(get())
            await self.until(lambda: self.exchange.delivered)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b'\1\0\0\0\0\0\0\0')
        await self.until(lambda: self.exchange.delivered[0].cancelled)

    async def test_a_client_that_half_closes_is_answered(self) -> None:
        """A half-closed client (`printf … | nc -N`) of a slow service gets its response, and nothing is cancelled."""
        self.exchange.at_once = None
        await self.serve()

        def half_closed(connection: socket.socket) -> bytes:
            connection.sendall(get())
            connection.shutdown(socket.SHUT_WR)
            return everything(connection)

        answered = Deferred.fromCoroutine(self.client(half_closed))
        await self.until(lambda: self.exchange.delivered)
        await pause(2)
        self.assertFalse(self.exchange.delivered[0].cancelled)
        self.exchange.delivered[0].answer(b'[1]')
        data = await answered
        self.assertEqual([answer.status for answer in answers_in(data)], [100, 200])

    async def test_a_crowd_that_leaves_leaves_nothing(self) -> None:
        """Clients that disconnect after any byte of a request leave no connection, and the next client is served."""
        await self.serve()
        request = post(body=b'{"a":1}')

        def leave() -> None:
            for end in range(len(request)):
                with connected(self.port) as connection:
                    connection.sendall(request[:end])

        await deferToThread(leave)
        await self.until(lambda: not self.channel.counters.open)
        (answer,) = await self.client(exchange, post('/echo', b'{}', CLOSE))
        self.assertEqual(answer.status, 200)


class MemoryTests(Served):
    async def test_an_idle_connection_is_small(self) -> None:
        """An idle connection uses at most 8 KiB of Python's memory, Twisted's part included."""
        await self.serve()
        count = 300
        with ExitStack() as stack:
            await self.talk(stack, 20)  # what is made once is there
            gc.collect()
            tracemalloc.start()
            try:
                before = tracemalloc.get_traced_memory()[0]
                await self.talk(stack, count)
                gc.collect()
                taken = tracemalloc.get_traced_memory()[0] - before
            finally:
                tracemalloc.stop()
        self.assertLess(taken / count, 8192)

    async def talk(self, stack: ExitStack, count: int) -> None:
        """Open that many connections, with one request each."""
        goal = self.channel.counters.answers[2] + count
        for _ in range(count):
            connection = socket.create_connection(('127.0.0.1', self.port))
            stack.callback(connection.close)
            connection.sendall(post('/echo', b'{"a":1}', 'User-Agent: test', 'Content-Type: application/json'))
        await self.until(lambda: self.channel.counters.answers[2] == goal)


class TLSTests(Served):
    async def serve_tls(self, **settings: Any) -> None:
        key, signed, self.trusting = certificate(self.mktemp())
        await self.serve(f'ssl:port=0:interface=127.0.0.1:privateKey={key}:certKey={signed}', **settings)

    async def secure(self, function: Any, *args: Any) -> Any:
        """Return the result of a client after a TLS handshake."""

        def shaken(connection: socket.socket) -> Any:
            with self.trusting.wrap_socket(connection, server_hostname='localhost') as secured:
                return function(secured, *args)

        return await self.client(shaken)

    async def test_requests(self) -> None:
        """Keep-alive, pipelining and large responses work as without TLS."""
        await self.serve_tls()
        body = b'"' + b'x' * 3 * MIB + b'"'
        requests = post(body=b'1') + post(body=body) + post('/echo', b'[]', CLOSE)
        answers = await self.secure(exchange, requests)
        self.assertEqual([answer.body == sent for answer, sent in zip(answers, (b'1', body, b'[]'), strict=True)],
                         [True] * 3)  # fmt: skip

    async def test_connections_over_the_limit_of_an_address(self) -> None:
        """Connections over the limit are aborted before the handshake; the first one is served, and another one after
        it ends."""
        await self.serve_tls(max_connections_per_address=1)

        def beside(secured: ssl.SSLSocket) -> bytes:
            with self.assertRaises(OSError), connected(self.port) as other:
                self.trusting.wrap_socket(other, server_hostname='localhost')
            secured.sendall(post('/echo', b'[]', CLOSE))
            return everything(secured)

        for _ in range(2):
            self.assertIn(b' 200 OK', await self.secure(beside))
            await self.until(lambda: self.channel.counters.open == 0)
        self.assertEqual(self.channel.counters.connections_refused, 2)

    async def test_a_protocol_asked_for(self) -> None:
        """If browsers, curl and requests offer protocols (ALPN), http/1.1 is selected."""
        await self.serve_tls()
        self.trusting.set_alpn_protocols(['h2', 'http/1.1'])
        self.assertEqual(await self.secure(ssl.SSLSocket.selected_alpn_protocol), 'http/1.1')

    async def test_a_stream(self) -> None:
        """A stream arrives completely, at the client's pace."""
        flood = Flood()
        self.exchange.at_once = flood.reply
        await self.serve_tls()
        (answer,) = await self.secure(exchange, get('/echo', CLOSE))
        self.assertEqual(len(answer.body), 100 * MIB)

    async def test_refusals_can_be_read(self) -> None:
        """A client that is still sending when it is rejected can read the response."""
        await self.serve_tls()

        def send_much(connection: ssl.SSLSocket) -> bytes:
            connection.sendall(f'POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {100 * MIB}\r\n\r\n'.encode())
            for _ in range(20):
                connection.sendall(bytes(MIB))
            return connection.recv(65536)

        (answer,) = answers_in(await self.secure(send_much))
        self.assertEqual(answer.status, 413)

    async def test_a_deaf_client_costs_little_and_ends(self) -> None:
        """A client that never reads is aborted, as without TLS."""
        flood = Flood()
        self.exchange.at_once = flood.reply
        await self.serve_tls(write_timeout=1)

        def deaf(connection: ssl.SSLSocket) -> None:
            connection.sendall(get())
            end = monotonic() + PATIENCE
            while not flood.closed and monotonic() < end:
                sleep(0.05)

        await self.secure(deaf)
        self.assertTrue(flood.closed)
        self.assertLess(flood.given, 16 * MIB)

    async def test_a_client_that_closes_cancels_its_service(self) -> None:
        """The service is cancelled within two seconds."""
        self.exchange.at_once = None
        await self.serve_tls()

        def leave(connection: ssl.SSLSocket) -> None:
            connection.sendall(get())
            end = monotonic() + PATIENCE
            while not self.exchange.delivered and monotonic() < end:
                sleep(0.02)

        await self.secure(leave)
        await self.until(lambda: self.exchange.delivered[0].cancelled)

    async def test_plain_http_on_a_tls_port(self) -> None:
        """Plain HTTP on a TLS port gets no response; the connection ends and nothing is delivered."""
        await self.serve_tls()
        data = await self.client(lambda connection: (connection.sendall(get()), everything(connection))[1])
        self.assertNotIn(b'HTTP', data)
        self.assertEqual(self.exchange.delivered, [])

    async def test_many_at_once(self) -> None:
        """Concurrent clients each get their own responses."""
        await self.serve_tls()
        asked = [
            Deferred.fromCoroutine(self.secure(partial(exchange, data=post('/echo', b'%d' % n, CLOSE))))
            for n in range(20)
        ]
        results = await DeferredList(asked, fireOnOneErrback=True)
        self.assertEqual([answers[0].body for _, answers in results], [b'%d' % n for n in range(20)])
