"""What all channels and outgoing connections promise, on IBM MQ: pymqi over the loopback queue manager."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

from twisted.internet.defer import Deferred

from trial_tests.support import mqi_loopback
from trial_tests.support.kind_contracts import SHORT, ChannelContract, OutgoingContract
from zatotx.interfaces.connector_kind import ChannelContext, ConnectorKind, IChannel, OutgoingContext
from zatotx.interfaces.outgoing import IOutgoingKind
from zatotx.plugins.ibm_mq import kind
from zatotx.plugins.ibm_mq.channel import make_channel
from zatotx.plugins.ibm_mq.outgoing import make_outgoing
from zatotx.plugins.ibm_mq.schema import MqChannel, MqDefinition, MqOutgoing
from zatotx.schema.snapshot import Snapshot, StoredObject

mqi_loopback.install()
_numbers = count()


def definition(port: int, **fields: Any) -> StoredObject:
    """The definition of a queue manager."""
    value = MqDefinition(**{'name': 'QM1', 'host': '127.0.0.1', 'port': port, 'channel': mqi_loopback.CHANNEL,
                            'username': mqi_loopback.USER, 'password': mqi_loopback.PASSWORD, **fields})  # fmt: skip
    return StoredObject(1, 'definition_ibm_mq', value, 1)


class MqChannelTests(ChannelContract):
    """Channels. Their clients learn that the queue manager has accepted a message."""

    meter_kind = 'jms-wmq'
    returns_reply = False

    def setUp(self) -> None:
        self.qmgr = mqi_loopback.shared()
        self.queue = f'CONTRACT.{next(_numbers)}'
        self.qmgr.define(self.queue)
        super().setUp()

    def declaration(self) -> ConnectorKind:
        return kind

    def make_channel(self, context: ChannelContext) -> IChannel:
        return make_channel(context)

    def settings(self, port: int) -> dict[str, Any]:
        return {'get_wait': 0.1}

    def objects(self, port: int, service: str, *, is_active: bool = True) -> list[StoredObject]:
        value = MqChannel(name='in', definition='QM1', queue=self.queue, service=service, is_active=is_active)
        return [definition(self.qmgr.port), StoredObject(2, 'channel_ibm_mq', value, 1)]

    def ask(self, text: bytes = b'abc') -> Deferred[bytes]:
        """Put a message; fires with b'' when it is committed."""

        async def run() -> bytes:
            self.qmgr.put(text, self.queue)
            await self.until(lambda: not self.qmgr.depth(self.queue))
            return b'committed'

        return Deferred.fromCoroutine(run())

    async def is_refused(self) -> bool:
        """Whether another message stays on the queue."""
        self.qmgr.put(b'next', self.queue)
        await self.sleep(0.1)
        return self.qmgr.browse(self.queue) == [b'next']

    async def test_drain(self) -> None:
        """Stopping gets no further message, waits for the one under way, which is committed, and then is done."""
        self.exchange.at_once = None
        await self.serve()
        self.qmgr.put(b'abc', self.queue)
        await self.until(lambda: self.exchange.delivered)
        self.channel.drain()
        await self.sleep(0.05)
        self.assertTrue(await self.is_refused())
        stopping = self.channel.stop()
        self.assertNoResult(stopping)
        self.exchange.delivered[0].answer(b'late')
        await stopping
        self.assertEqual(self.qmgr.browse(self.queue), [b'next'])

    async def test_grace(self) -> None:
        """A message that does not end is cut off when the time of grace is over, and is on its queue again."""
        self.exchange.at_once = None
        await self.serve()
        self.qmgr.put(b'abc', self.queue)
        await self.until(lambda: self.exchange.delivered)
        await self.channel.stop()
        self.assertTrue(self.exchange.delivered[0].cancelled)
        self.assertEqual(self.qmgr.browse(self.queue), [b'abc'])

    async def test_inactive(self) -> None:
        """An inactive channel receives nothing."""
        await self.serve()
        await self.channel.apply(self.snapshot('one', is_active=False))
        await self.until(lambda: not self.inputs())
        self.assertTrue(await self.is_refused())
        self.assertEqual(self.exchange.delivered, [])

    async def test_live_edit(self) -> None:
        """When the channel that was replaced has stopped, all messages go to the new one."""
        await self.serve()
        await self.channel.apply(self.snapshot('two'))
        await self.until(lambda: self.inputs() == 1)
        await self.ask()
        self.assertEqual(self.exchange.delivered[-1].inbound.service, 'two')

    async def test_client_gone(self) -> None:
        """A message whose connection is lost while its service runs is delivered again; the service is not cut off."""
        self.exchange.at_once = None
        await self.serve()
        self.qmgr.put(b'abc', self.queue)
        await self.until(lambda: self.exchange.delivered)
        self.qmgr.control('break')
        self.exchange.delivered[0].answer(b'first')
        await self.until(lambda: len(self.exchange.delivered) == 2)
        self.assertFalse(self.exchange.delivered[0].cancelled)
        headers = self.exchange.delivered[1].inbound.headers
        self.assertEqual((headers[b'jmsredelivered'], headers[b'jmsxdeliverycount']), (b'true', b'2'))
        self.exchange.delivered[1].answer(b'second')
        await self.until(lambda: not self.qmgr.depth(self.queue))

    def inputs(self) -> int:
        """The handles that have the queue open."""
        found: int = self.qmgr.control('state')['queues'][self.queue]['inputs']
        return found

    def snapshot(self, service: str, **fields: Any) -> Snapshot:
        """The configuration with another service."""
        return Snapshot(2, self.objects(0, service, **fields))

    def send_text(self, connection: socket.socket, text: bytes) -> None:
        raise NotImplementedError  # clients talk to the queue manager

    read_reply = send_text  # type: ignore[assignment]


class MqOutgoingTests(OutgoingContract):
    """Outgoing connections."""

    object_type, namespace, response = 'outgoing_ibm_mq', 'ibm_mq', b'OK'

    def make_outgoing(self, context: OutgoingContext) -> IOutgoingKind:
        return make_outgoing(context)

    def objects(self, port: int, *, timeout: float = SHORT, is_active: bool = True) -> list[StoredObject]:
        value = MqOutgoing(name='peer', definition='QM1', queue='DEV.QUEUE.2', timeout=timeout, is_active=is_active)
        return [definition(port), StoredObject(2, 'outgoing_ibm_mq', value, 1)]

    @contextmanager
    def peer(self, response: bytes | None) -> Iterator[int]:
        """The queue manager, or a frozen one."""
        if response is not None:
            yield mqi_loopback.shared().port
            return
        qmgr = mqi_loopback.LoopbackQueueManager()
        qmgr.start()
        qmgr.freeze()
        try:
            yield qmgr.port
        finally:
            qmgr.close()

    def call(self, connection: Any) -> Awaitable[str]:
        """Send a message: 'OK' where it has an identifier."""

        async def run() -> str:
            found = await connection.send('abc')
            return 'OK' if found.startswith('ID:414d5120') else found

        return run()


del ChannelContract, OutgoingContract  # else they would be collected
