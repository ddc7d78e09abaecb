"""Buffered writers with slow clients."""

from __future__ import annotations

import socket
from array import array
from typing import Any

from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase, TestCase

from zatotx.connectors.http.buffered_writer import (
    SLICE_SIZE,
    BufferedWriter,
    SocketWriter,
    WriteBatch,
    make_writer,
)
from zatotx.plugins.http.test.socket_clients import connected, everything, pause


class Narrow(StringTransport):
    """A transport that is full after every write."""

    def write(self, data: bytes) -> None:
        super().write(data)
        if self.producer is not None:
            self.producer.pauseProducing()


class OutletTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.drained = 0
        self.now = 5.0

    def outlet(self, transport: Any) -> BufferedWriter:
        return BufferedWriter(transport, self.count, lambda: self.now)

    def count(self) -> None:
        self.drained += 1

    def test_what_is_not_taken_waits_in_order(self) -> None:
        """Data is written in order, a slice at a time, to a transport that is full after each; `drained` is called at
        the end."""
        transport = Narrow()
        outlet = self.outlet(transport)
        first, second = b'a' * (2 * SLICE_SIZE + 10), b'b' * 10
        outlet.write(first)
        outlet.write(second)
        self.assertEqual(len(transport.value()), SLICE_SIZE)
        while outlet.is_backlogged and len(transport.value()) < len(first + second):
            outlet.resumeProducing()
        outlet.resumeProducing()
        self.assertEqual((transport.value(), self.drained), (first + second, 1))

    def test_progress_is_noted(self) -> None:
        """`moved` is the time of the last progress, starting when the client fell behind."""
        transport = Narrow()
        outlet = self.outlet(transport)
        outlet.write(b'x' * 3 * SLICE_SIZE)
        self.assertEqual((outlet.is_backlogged, outlet.last_progress), (True, 5.0))
        self.now = 9.0
        outlet.resumeProducing()
        self.assertEqual((outlet.is_backlogged, outlet.last_progress), (True, 9.0))

    def test_closing_waits_for_what_is_written(self) -> None:
        """`lose` closes after all data is written."""
        transport = Narrow()
        outlet = self.outlet(transport)
        outlet.write(b'x' * 2 * SLICE_SIZE)
        outlet.close()
        self.assertFalse(transport.disconnecting)
        outlet.resumeProducing()
        outlet.resumeProducing()
        self.assertTrue(transport.disconnecting)
        self.assertEqual(len(transport.value()), 2 * SLICE_SIZE)

    def test_a_lost_connection_frees_what_waits(self) -> None:
        """After a lost connection nothing is buffered."""
        transport = Narrow()
        outlet = self.outlet(transport)
        outlet.write(b'x' * 3 * SLICE_SIZE)
        outlet.stopProducing()
        outlet.resumeProducing()
        self.assertEqual(len(transport.value()), SLICE_SIZE)

    def test_other_transports_are_written_to_by_their_own_means(self) -> None:
        """Only plain TCP sockets are written to directly."""
        writer = make_writer(StringTransport(), self.count, lambda: 0.0, WriteBatch(Clock()))
        self.assertIs(type(writer), BufferedWriter)


class Flushed:
    """A writer that counts its flushes; `error` is raised by each."""

    def __init__(self, error: Exception | None = None) -> None:
        self.flushes = 0
        self._error = error

    def flush(self) -> None:
        self.flushes += 1
        if self._error is not None:
            raise self._error


class WriteBatchTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.batch = WriteBatch(self.clock)

    def test_writers_are_flushed_at_the_end_of_the_iteration(self) -> None:
        """One call flushes all writers, each once; an error of one is logged and does not affect the others."""
        writers = [Flushed(), Flushed(ZeroDivisionError()), Flushed()]
        for writer in writers:
            self.batch.add(writer)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.advance(0)
        self.assertEqual([writer.flushes for writer in writers], [1, 1, 1])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_writers_are_flushed_at_the_end_of_a_round(self) -> None:
        """Inside a round of reading connections no call is needed; after it there is one again."""
        writer = Flushed()
        self.batch.set_in_round(True)
        self.batch.add(writer)
        self.assertEqual((writer.flushes, self.clock.getDelayedCalls()), (0, []))
        self.batch.set_in_round(False)
        self.assertEqual(writer.flushes, 1)
        self.batch.add(writer)
        self.clock.advance(0)
        self.assertEqual(writer.flushes, 2)


class Held(Protocol):
    """A server that only stores its connection."""


class HeldFactory(Factory):
    def __init__(self) -> None:
        self.made: list[Held] = []
        self.noisy = False

    def buildProtocol(self, addr: Any) -> Held:
        self.made.append(Held())
        return self.made[-1]


class DirectOutletTests(TestCase):
    """SocketWriter with a real socket."""

    async def held(self, client: socket.socket, port: int) -> SocketWriter:
        while not self.factory.made or self.factory.made[-1].transport is None:
            await pause(0.01)
        self.transport: Any = self.factory.made[-1].transport
        self.drained = 0
        made = make_writer(self.transport, self.count, lambda: 1.0, WriteBatch(reactor))
        assert isinstance(made, SocketWriter)
        return made

    def count(self) -> None:
        self.drained += 1

    async def listening(self) -> int:
        self.factory = HeldFactory()
        port: Any = await TCP4ServerEndpoint(reactor, 0, interface='127.0.0.1').listen(self.factory)
        self.addCleanup(port.stopListening)
        number: int = port.getHost().port
        return number

    async def test_writes_of_one_turn_go_out_together(self) -> None:
        """Writes of one iteration are sent together at its end, before anything else happens."""
        port = await self.listening()
        with connected(port) as client:
            outlet = await self.held(client, port)
            for piece in (b'1', b'2', b'3'):
                outlet.write(piece)
            client.setblocking(False)
            self.assertRaises(BlockingIOError, client.recv, 10)
            await pause(0)
            client.settimeout(60)
            self.assertEqual(client.recv(10), b'123')

    async def test_closing_sends_what_was_put_aside(self) -> None:
        """Closing in the same iteration loses no data."""
        port = await self.listening()
        with connected(port) as client:
            outlet = await self.held(client, port)
            outlet.write(b'the end')
            outlet.close()
            await pause(0.05)
            self.assertEqual(everything(client), b'the end')

    async def test_half_closing_sends_what_was_put_aside(self) -> None:
        """Half-closing loses no data, and reading continues."""
        port = await self.listening()
        with connected(port) as client:
            outlet = await self.held(client, port)
            outlet.write(b'the end')
            outlet.half_close()
            await pause(0.05)
            self.assertEqual(everything(client), b'the end')
            self.assertTrue(self.transport.connected)

    async def test_a_slow_client_gets_all_in_order(self) -> None:
        """Two writes that exceed the kernel's buffer, then a close: `behind` is set, and all of it arrives."""
        port = await self.listening()
        with connected(port, receive_buffer=4096) as client:
            outlet = await self.held(client, port)
            data = array('I', range(2_000_000)).tobytes()
            outlet.write(data)
            self.assertTrue(outlet.is_backlogged)
            outlet.write(b'more')
            outlet.close()
            client.settimeout(0)
            received = bytearray()
            while len(received) < len(data) + 4:
                try:
                    received += client.recv(1_000_000)
                except BlockingIOError:
                    await pause(0)
            self.assertTrue(received == data + b'more')
            self.assertEqual((outlet.is_backlogged, self.drained), (False, 0))

    async def test_a_client_that_has_caught_up(self) -> None:
        """When the client has caught up `drained` is called once, and writes are direct again."""
        port = await self.listening()
        with connected(port, receive_buffer=4096) as client:
            outlet = await self.held(client, port)
            outlet.write(bytes(8_000_000))
            client.settimeout(0)
            got = 0
            while not self.drained:
                try:
                    got += len(client.recv(1_000_000))
                except BlockingIOError:
                    await pause(0)
            self.assertFalse(outlet.is_backlogged)
            outlet.write(b'again')
            while got < 8_000_005:
                try:
                    got += len(client.recv(1_000_000))
                except BlockingIOError:
                    await pause(0)
            self.assertEqual(self.drained, 1)

    async def test_a_dead_socket(self) -> None:
        """A write to a connection that was reset ends it without an error."""
        port = await self.listening()
        with connected(port) as client:
            outlet = await self.held(client, port)
            self.transport.pauseProducing()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b'\1\0\0\0\0\0\0\0')
        await pause(0.05)
        outlet.write(b'anybody?')
        outlet.close()
        await pause(0.05)
        self.assertFalse(self.transport.connected)
        outlet.write(b'late')
        await pause(0.01)
