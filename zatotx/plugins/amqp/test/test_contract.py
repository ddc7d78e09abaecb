"""What all channels and all outgoing connections promise, on AMQP."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from trial_tests.support import rabbitmq
from trial_tests.support.kind_contracts import SHORT, ChannelContract, OutgoingContract
from zatotx.interfaces.connector_kind import ChannelContext, ConnectorKind, IChannel, OutgoingContext
from zatotx.interfaces.outgoing import IOutgoingKind
from zatotx.plugins.amqp import kind
from zatotx.plugins.amqp.channel import make_channel
from zatotx.plugins.amqp.outgoing import make_outgoing
from zatotx.plugins.amqp.schema.channel_amqp import AmqpChannel
from zatotx.plugins.amqp.schema.definition_amqp import AmqpDefinition
from zatotx.plugins.amqp.schema.outgoing_amqp import AmqpOutgoing
from zatotx.schema.snapshot import StoredObject


def _definition(port: int) -> StoredObject:
    value = AmqpDefinition(name='rabbit', host='127.0.0.1', port=port, username=rabbitmq.USER,
                           password=rabbitmq.PASSWORD)  # fmt: skip
    return StoredObject(1, 'definition_amqp', value, 1)


class AmqpChannelTests(ChannelContract):
    """A client is whoever publishes to the queue of the channel."""

    meter_kind, returns_reply, timeout = 'amqp', False, 120.0

    def setUp(self) -> None:
        super().setUp()
        self.broker = rabbitmq.shared()
        self.port, self.queue = self.broker.port, self.broker.queue()

    def declaration(self) -> ConnectorKind:
        return kind

    def make_channel(self, context: ChannelContext) -> IChannel:
        return make_channel(context)

    def objects(self, port: int, service: str, *, is_active: bool = True) -> list[StoredObject]:
        value = AmqpChannel(name='in', definition='rabbit', queue=self.queue, service=service, is_active=is_active)
        return [_definition(port), StoredObject(2, 'channel_amqp', value, 1)]

    def send_text(self, connection: socket.socket, text: bytes) -> None:
        self.broker.publish(self.queue, text)

    def read_reply(self, connection: socket.socket) -> bytes:
        return b'accepted'

    async def is_refused(self) -> bool:
        await self.until(lambda: not self.broker.consumers(self.queue))
        return True

    def ask(self, text: bytes = b'abc') -> Deferred[bytes]:
        """Publish a message, and wait until it has been delivered where something consumes the queue."""

        async def run() -> bytes:
            before = len(self.exchange.delivered)
            await deferToThread(self.broker.publish, self.queue, text)
            if await deferToThread(self.broker.consumers, self.queue):
                await self.until(lambda: len(self.exchange.delivered) > before)
            return b'accepted'

        return Deferred.fromCoroutine(run())


class AmqpOutgoingTests(OutgoingContract):
    """The peer is the broker; a call sends a message to a queue."""

    object_type, namespace, response, timeout = 'outgoing_amqp', 'amqp', b'RabbitMQ', 120.0

    def setUp(self) -> None:
        super().setUp()
        self.broker = rabbitmq.shared()
        self.queue = self.broker.queue()

    def make_outgoing(self, context: OutgoingContext) -> IOutgoingKind:
        return make_outgoing(context)

    def objects(self, port: int, *, timeout: float = SHORT, is_active: bool = True) -> list[StoredObject]:
        value = AmqpOutgoing(name='peer', definition='rabbit', timeout=timeout, is_active=is_active,
                             routing_key=self.queue)  # fmt: skip
        return [_definition(port), StoredObject(2, 'outgoing_amqp', value, 1)]

    @contextmanager
    def peer(self, response: bytes | None) -> Iterator[int]:
        """The broker, or a socket that is silent."""
        if response is None:
            with super().peer(None) as port:
                yield port
        else:
            yield self.broker.port

    async def call(self, connection: Any) -> str:
        await connection.send('x')
        return 'OK'


del ChannelContract, OutgoingContract  # else they would be collected
