"""What all channels and outgoing connections promise, on ZeroMQ."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any

import zmq

from trial_tests.support.kind_contracts import PATIENCE, SHORT, ChannelContract, OutgoingContract
from trial_tests.support.ports import free_port
from zatotx.interfaces.connector_kind import ChannelContext, ConnectorKind, IChannel, OutgoingContext
from zatotx.interfaces.outgoing import IOutgoingKind
from zatotx.model.errors import ServiceUnavailable
from zatotx.plugins.zmq import kind
from zatotx.plugins.zmq.channels import make_channel
from zatotx.plugins.zmq.outgoing import make_outgoing
from zatotx.plugins.zmq.schema import BIND, PULL, REP, REQ, ZmqChannel, ZmqOutgoing
from zatotx.plugins.zmq.test import zmtp
from zatotx.schema.snapshot import StoredObject


class PullChannelTests(ChannelContract):
    """Channels whose peers get no reply."""

    meter_kind = 'zmq'
    returns_reply = False
    socket_type, client_type = PULL, b'PUSH'

    def declaration(self) -> ConnectorKind:
        return kind

    def make_channel(self, context: ChannelContext) -> IChannel:
        return make_channel(context)

    def objects(self, port: int, service: str, *, is_active: bool = True) -> list[StoredObject]:
        value = ZmqChannel(name='in', address=f'tcp://127.0.0.1:{port}', socket_type=self.socket_type,
                           socket_method=BIND, service=service, is_active=is_active)  # fmt: skip
        return [StoredObject(1, 'channel_zmq', value, 1)]

    def send_text(self, connection: socket.socket, text: bytes) -> None:
        zmtp.handshake(connection, self.client_type)
        zmtp.write_message(connection, [text])

    def read_reply(self, connection: socket.socket) -> bytes:
        return b'sent'

    async def test_counted(self) -> None:
        """Messages are counted when they come and when they are processed, which may be after they are sent."""
        await self.serve()
        await self.ask()
        slots = self.meters.channels(self.meter_kind).get('in')
        await self.until(lambda: slots.responses[2])
        self.assertEqual((slots.requests, slots.responses[2]), (1, 1))

    async def ask_delivered(self, text: bytes) -> bytes:
        before = len(self.exchange.delivered)
        reply = await super().ask(text)
        if self.channel._slots:  # type: ignore[attr-defined]
            await self.until(lambda: len(self.exchange.delivered) > before)
        return reply

    def ask(self, text: bytes = b'abc') -> Any:
        """A message that has arrived: its peer does not know."""
        from twisted.internet.defer import Deferred

        return Deferred.fromCoroutine(self.ask_delivered(text))


class RepChannelTests(ChannelContract):
    """Channels whose clients get the response of the service."""

    meter_kind = 'zmq'

    def declaration(self) -> ConnectorKind:
        return kind

    def make_channel(self, context: ChannelContext) -> IChannel:
        return make_channel(context)

    def objects(self, port: int, service: str, *, is_active: bool = True) -> list[StoredObject]:
        value = ZmqChannel(name='in', address=f'tcp://127.0.0.1:{port}', socket_type=REP, socket_method=BIND,
                           service=service, is_active=is_active)  # fmt: skip
        return [StoredObject(1, 'channel_zmq', value, 1)]

    def send_text(self, connection: socket.socket, text: bytes) -> None:
        zmtp.handshake(connection, b'REQ')
        zmtp.write_message(connection, [b'', text])

    def read_reply(self, connection: socket.socket) -> bytes:
        _, delimiter = zmtp.read_frame(connection)
        return b'' if delimiter else zmtp.read_frame(connection)[1]

    async def test_drain(self) -> None:
        """Stopping reads no further requests, waits for the one under way, sends its reply, and then is done. ZeroMQ
        cannot stop listening without disconnecting the clients, so that the address is given up last."""
        self.exchange.at_once = None
        await self.serve()
        asking = self.ask()
        await self.until(lambda: self.exchange.delivered)
        self.channel.drain()
        stopping = self.channel.stop()
        self.assertNoResult(stopping)
        self.exchange.delivered[0].answer(b'late')
        self.assertEqual(await asking, b'late')
        await stopping
        self.assertTrue(await self.is_refused())

    async def test_client_gone(self) -> None:
        """ZeroMQ does not tell of which client a request is: the service of one that has gone goes on, and its reply is
        counted as lost."""
        self.exchange.at_once = None
        await self.serve()
        client = socket.create_connection(('127.0.0.1', self.port), PATIENCE)
        self.send_text(client, b'abc')
        await self.until(lambda: self.exchange.delivered)
        client.close()

        def rows() -> dict[str, float]:
            return {name: value for name, _, value in self.channel.metrics()}  # type: ignore[attr-defined]

        await self.until(lambda: not rows()['zatotx_zmq_channel_peers'])
        self.exchange.delivered[0].answer(b'late')
        self.assertEqual(rows()['zatotx_zmq_channel_lost_replies'], 1)


class ReqOutgoingTests(OutgoingContract):
    """Outgoing connections that wait for replies."""

    object_type, namespace, response = 'outgoing_zmq', 'zmq', b'OK'

    def make_outgoing(self, context: OutgoingContext) -> IOutgoingKind:
        return make_outgoing(context)

    def objects(self, port: int, *, timeout: float = SHORT, is_active: bool = True) -> list[StoredObject]:
        value = ZmqOutgoing(name='peer', address=f'tcp://127.0.0.1:{port}', socket_type=REQ, timeout=timeout,
                            is_active=is_active)  # fmt: skip
        return [StoredObject(2, 'outgoing_zmq', value, 1)]

    @contextmanager
    def peer(self, response: bytes | None) -> Iterator[int]:
        """A REP socket of pyzmq in a thread, or a peer that accepts connections and is silent."""
        if response is None:
            with super().peer(None) as port:
                yield port
            return
        context = zmq.Context()
        replying = context.socket(zmq.REP)
        replying.linger = 0
        port = replying.bind_to_random_port('tcp://127.0.0.1')

        def serve() -> None:
            try:
                while True:
                    replying.recv()
                    replying.send(response)
            except zmq.ContextTerminated:
                replying.close()

        thread = Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield port
        finally:
            context.term()
            thread.join()

    async def call(self, connection: Any) -> str:
        reply: bytes = await connection.send(b'question')
        return reply.decode()

    async def test_unreachable(self) -> None:
        """ZeroMQ waits for its peer: where none comes within the timeout, that is ServiceUnavailable, which names the
        connection."""
        await self.configure(free_port())
        error = await self.failed(ServiceUnavailable)
        self.assertIn('Outgoing connection peer (zmq) cannot be used: nobody is at the address', error.msg)


del ChannelContract, OutgoingContract  # else they would be collected
