"""The HTTP channel: listening, applying configurations, draining, stopping."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.logger import capturedLogs, formatEvent
from twisted.python.threadable import isInIOThread
from twisted.trial.unittest import SynchronousTestCase

from trial_tests.support.reactor import as_reactor
from zatotx.interfaces.connector_kind import ChannelContext
from zatotx.model.errors import StartError
from zatotx.plugins.http import channel as http_channel
from zatotx.plugins.http.channel import IDLE_GRACE, HTTPChannel
from zatotx.plugins.http.test.server_doubles import Client, Lines, ScriptedExchange, Server, channel, get, post, run_now
from zatotx.plugins.http.test.socket_clients import Served, everything, exchange, pause
from zatotx.schema.snapshot import Snapshot

CLOSE = 'Connection: close'


class ListenTests(Served):
    async def test_an_occupied_port(self) -> None:
        """StartError names an address in use and what to do, and no listener is left."""
        await self.serve()
        other = self.made(listen=['tcp:port=0:interface=127.0.0.1', f'tcp:port={self.port}:interface=127.0.0.1'])
        with self.assertRaises(StartError) as caught:
            await other.start(self.exchange)
        self.assertIn(f'tcp:port={self.port}', str(caught.exception))
        self.assertIn('server.toml', str(caught.exception))
        self.assertEqual(other.addresses, [])

    async def test_an_address_that_is_none(self) -> None:
        """An invalid endpoint description and a missing certificate raise StartError too."""
        for bad in ('nonsense:port=1', 'tcp:port=x', 'ssl:port=0:privateKey=/nowhere/key.pem'):
            with self.assertRaises(StartError) as caught:
                await self.made(listen=[bad]).start(self.exchange)
            self.assertIn(bad, str(caught.exception))

    async def test_unix_sockets(self) -> None:
        """Any Twisted endpoint works; a client without an address is logged as `unix`."""
        path = self.mktemp()[-90:]
        self.channel = self.made(listen=[f'unix:{path}'], grace=1)
        self.addCleanup(self.channel.stop)
        await self.channel.start(self.exchange)

        def ask() -> bytes:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(60)
                connection.connect(path)
                connection.sendall(get('/zato/ping', CLOSE))
                return everything(connection)

        self.assertIn(b' 200 OK', await deferToThread(ask))
        self.assertTrue(self.lines[0].startswith('unix '))

    async def test_a_connection_is_counted(self) -> None:
        """Connections are counted, in total and while open."""
        await self.serve()
        answers = await self.client(exchange, post('/echo', b'{}', CLOSE))
        self.assertEqual([answer.status for answer in answers], [200])
        counters = self.channel.counters
        await self.until(lambda: counters.open == 0)
        self.assertEqual((counters.accepted, counters.requests, counters.answers[2]), (1, 1, 1))


class ApplyTests(Served):
    async def status(self, path: str) -> int:
        (answer,) = await self.client(exchange, post(path, b'{}', CLOSE))
        status: int = answer.status
        return status

    async def test_a_new_configuration(self) -> None:
        """A configuration is active when the Deferred fires: new channels are served, removed ones are not."""
        await self.serve()
        await self.channel.apply(Snapshot(2, [channel(url_path='/other')]))
        self.assertEqual([await self.status('/other'), await self.status('/echo')], [200, 404])

    async def test_many_channels(self) -> None:
        """A large table is built in a thread, and configurations are applied in order."""
        await self.serve()
        many = [channel(n, name=f'c{n}', url_path=f'/c/{n}') for n in range(1000)]
        first = self.channel.apply(Snapshot(2, many))
        second = self.channel.apply(Snapshot(3, [channel(url_path='/last')]))
        self.assertNoResult(first)
        await first
        await second
        self.assertEqual([await self.status('/last'), await self.status('/c/999')], [200, 404])

    async def test_what_xml_needs_is_loaded_beforehand(self) -> None:
        """The first channel that reads XML loads lxml, in a thread and before the channel is served; others do not."""
        loaded: list[bool] = []
        self.patch(http_channel, 'is_lxml_loaded', lambda: False)
        self.patch(http_channel, 'load_lxml', lambda: loaded.append(isInIOThread()))
        await self.serve()
        await self.channel.apply(Snapshot(2, [channel(url_path='/json')]))
        self.assertEqual(loaded, [])
        await self.channel.apply(Snapshot(3, [channel(url_path='/xml', data_format='xml')]))
        self.assertEqual(loaded, [False])

    async def test_nothing_changed(self) -> None:
        """A newer snapshot with the same channels keeps the table."""
        await self.serve()
        stored = [channel(n, name=f'c{n}', url_path=f'/c/{n}') for n in range(1000)]
        await self.channel.apply(Snapshot(2, stored))
        before = self.channel._router.routes
        self.successResultOf(self.channel.apply(Snapshot(3, stored)))
        self.assertIs(self.channel._router.routes, before)

    async def test_a_channel_that_cannot_be_served(self) -> None:
        """An invalid channel is logged; the others are served."""
        await self.serve()
        with capturedLogs() as events:
            await self.channel.apply(Snapshot(2, [channel(), channel(2, name='bad', url_path='/{a}{b}')]))
        self.assertIn("'bad' is left out", '\n'.join(str(formatEvent(event)) for event in events))
        self.assertEqual(await self.status('/echo'), 200)


class StopTests(Served):
    async def test_nobody_is_let_in_any_more(self) -> None:
        """After drain no client is accepted; idle connections are closed after half of the grace period."""
        await self.serve()

        def idle(connection: socket.socket) -> bytes:
            connection.sendall(post())
            connection.recv(65536)
            return everything(connection)

        ended: Deferred[Any] = Deferred.fromCoroutine(self.client(idle))
        await self.until(lambda: self.channel.counters.answers[2])
        await pause(0.1)
        stopped = self.channel.stop()
        await pause(0.1)
        with self.assertRaises(ConnectionRefusedError):
            await self.client(everything)
        self.assertEqual(await ended, b'')
        await stopped

    async def test_what_runs_is_answered(self) -> None:
        """A running request gets its response with `Connection: close`, and stop waits for it."""
        self.exchange.at_once = None
        await self.serve()
        answered = Deferred.fromCoroutine(self.client(exchange, get()))
        await self.until(lambda: self.exchange.delivered)
        self.channel.drain()
        stopped = self.channel.stop()
        await pause(0.1)
        self.assertNoResult(stopped)
        self.exchange.delivered[0].answer(b'[1]')
        (answer,) = await answered
        self.assertEqual((answer.body, answer.headers[b'connection']), (b'[1]', b'close'))
        await stopped

    async def test_grace_has_an_end(self) -> None:
        """Requests that exceed the grace period are aborted, and their services cancelled."""
        self.exchange.at_once = None
        await self.serve()
        cut = Deferred.fromCoroutine(self.client(exchange, get()))
        await self.until(lambda: self.exchange.delivered)
        await self.channel.stop()
        self.assertTrue(self.exchange.delivered[0].cancelled)
        await self.assertFailure(cut, ConnectionResetError)

    async def test_stop_is_idempotent(self) -> None:
        """stop may be called twice, and without start."""
        await self.serve()
        await self.channel.stop()
        await self.channel.stop()
        await self.made().stop()

    async def test_a_pipeline_that_is_drained(self) -> None:
        """All pipelined requests are answered; only the last response has `Connection: close`."""
        self.exchange.at_once = None
        await self.serve()
        answered = Deferred.fromCoroutine(self.client(exchange, get() * 3))
        await self.until(lambda: len(self.exchange.delivered) == 3)
        self.channel.drain()
        for delivery in self.exchange.delivered:
            delivery.answer()
        answers = await answered
        self.assertEqual([b'connection' in answer.headers for answer in answers], [False, False, True])


class NoPort:
    """A listening port without clients."""

    def stopListening(self) -> None:
        """Do nothing."""


class KeptAliveTests(SynchronousTestCase):
    """Idle keep-alive connections while the server stops."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000)
        self.exchange = ScriptedExchange()
        port: Any = NoPort()
        context = ChannelContext(
            reactor=as_reactor(self.clock),
            settings={'grace': 30, 'listen': ['tcp:1']},
            line_sink=lambda name: Lines(),
            work_dir='.',
            run_in_thread=run_now,
            listen=lambda description, factory: succeed(port),
        )
        self.channel = HTTPChannel(context)
        self.channel.apply(Snapshot(1, [channel()]))
        self.channel.start(self.exchange)
        assert self.channel._server_context is not None
        server = Server(self.exchange)
        server.site = self.channel._server_context
        self.client, self.other = Client(server), Client(server)
        for client in (self.client, self.other):
            self.assertEqual(client.ask(post()).status, 200)

    def test_a_steady_client_loses_no_request(self) -> None:
        """A client that sends another request within five seconds is answered, with `Connection: close`."""
        stopped = self.channel.stop()
        self.clock.advance(IDLE_GRACE - 0.1)
        answer = self.client.ask(post())
        self.assertEqual((answer.status, answer.headers[b'connection']), (200, b'close'))
        self.assertEqual((self.client.closed, self.other.closed), (True, False))
        self.assertNoResult(stopped)
        self.clock.advance(0.2)
        self.assertTrue(self.other.closed and not self.other.wire.aborted)
        self.successResultOf(stopped)

    def test_when_all_have_gone(self) -> None:
        """After the last response of every client stop does not wait for the five seconds, and leaves no timer."""
        stopped = self.channel.stop()
        for client in (self.client, self.other):
            client.ask(post())
        self.successResultOf(stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_they_have_their_time_once(self) -> None:
        """A worker that has already drained for those seconds closes idle connections at once."""
        gone = self.channel.retire()
        self.clock.advance(IDLE_GRACE)
        self.assertNoResult(gone)
        self.assertFalse(self.client.closed)
        stopped = self.channel.stop()
        self.clock.advance(0)
        self.successResultOf(stopped)
        self.assertTrue(self.client.closed and self.other.closed)
