"""Outgoing AMQP connections on a real broker: what is sent, and how each failure is told."""

from __future__ import annotations

import gzip
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any

from twisted.internet.defer import Deferred, gatherResults

from trial_tests.support.amqp_environment import WithOutgoing
from trial_tests.support.waiting import allowed
from zatotx.model.errors import (
    BadRequest,
    BrokerUnavailable,
    ContentTooLarge,
    DeliveryUnknown,
    MessageNotSent,
    MessageRefused,
    MessagesNotSent,
    MessageUnroutable,
    NotSent,
    ReplyTimeout,
)
from zatotx.plugins.amqp.schema.outgoing_amqp import MEBIBYTE, AmqpOutgoing, AmqpRetry


@contextmanager
def speaking(data: bytes) -> Iterator[int]:
    """A server that sends these bytes to each client: its port."""
    with socket.create_server(('127.0.0.1', 0)) as listening:
        kept = []

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                kept.append(connection)
                connection.sendall(data)

        Thread(target=serve, daemon=True).start()
        try:
            yield listening.getsockname()[1]
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            for connection in kept:
                connection.close()


class SendTests(WithOutgoing):
    async def test_properties(self) -> None:
        """A message has the connection's properties, those of the call, and headers that say where it comes from."""
        queue = await self.blocking(self.broker.queue)
        out = await self.connect(routing_key=queue, priority=7, app_id='crm', expiration=60_000)
        message_id = await out.send({'a': 1}, properties={'correlation_id': 'c1', 'priority': 2}, headers={'x': [1]})
        properties, body = await self.blocking(self.broker.taken, queue)
        self.assertEqual(body, b'{"a":1}')
        self.assertEqual((properties.content_type, properties.delivery_mode, properties.priority, properties.app_id,
                          properties.expiration, properties.correlation_id, properties.message_id),
                         ('application/json', 2, 2, 'crm', '60000', 'c1', message_id))  # fmt: skip
        self.assertEqual(properties.headers['x'], [1])
        self.assertEqual(properties.headers['X-Zato-Component'], 'server1@host')
        self.assertLessEqual({'X-Zato-Msg-TS', 'X-Zato-CID'}, set(properties.headers))

    async def test_bodies(self) -> None:
        """Bytes are sent as they are, text as UTF-8; with gzip, text is compressed."""
        queue = await self.blocking(self.broker.queue)
        out = await self.connect(routing_key=queue)
        await out.send_many([b'\xff', 'zażółć'])
        await out.send('text', properties={'content_encoding': 'gzip'})
        bodies = await self.blocking(self.broker.take_all, queue)
        self.assertEqual((bodies[0], bodies[1].decode(), gzip.decompress(bodies[2])), (b'\xff', 'zażółć', b'text'))

    async def test_zato_form(self) -> None:
        """Zato's form names the connection, the exchange and the routing key."""
        queue = await self.blocking(self.broker.queue)
        await self.connect()
        await self.namespace().send('hello', 'out', '', queue, {'type': 'greeting'}, {'x': 'y'})
        properties, body = await self.blocking(self.broker.taken, queue)
        self.assertEqual((body, properties.type, properties.headers['x']), (b'hello', 'greeting', 'y'))

    async def test_unroutable(self) -> None:
        """A mandatory message that no queue gets is an error, whichever others are in flight with it; one that is not
        mandatory is dropped."""
        queue = await self.blocking(self.broker.queue)
        out = await self.connect()
        keys = [queue if number % 3 else 'nowhere' for number in range(60)]
        sending = [Deferred.fromCoroutine(out.send(str(number), routing_key=key)) for number, key in enumerate(keys)]
        for number, each in enumerate(sending):
            if number % 3:
                await each
            else:
                error = await self.assertFailure(each, MessageUnroutable)
                self.assertIn('out', error.msg)
        self.assertEqual(await self.blocking(self.broker.count, queue), 40)
        await out.send('x', routing_key='nowhere', mandatory=False)

    async def test_same_message_id(self) -> None:
        """Messages with one message id in flight at once are told apart."""
        queue = await self.blocking(self.broker.queue)
        out = await self.connect()
        keys = ['nowhere', queue, 'nowhere', queue]
        sending = [Deferred.fromCoroutine(out.send('x', routing_key=key, properties={'message_id': 'same'}))
                   for key in keys]  # fmt: skip
        for key, each in zip(keys, sending, strict=True):
            if key == queue:
                self.assertEqual(await each, 'same')
            else:
                await self.assertFailure(each, MessageUnroutable)

    async def test_missing_exchange(self) -> None:
        """A missing exchange is an error of its own messages; those to other exchanges are confirmed."""
        queue = await self.blocking(self.broker.queue)
        out = await self.connect()
        wrong = [Deferred.fromCoroutine(out.send('x', exchange='no-such', routing_key='k')) for _ in range(5)]
        right = [Deferred.fromCoroutine(out.send('x', routing_key=queue)) for _ in range(5)]
        await gatherResults(right)
        for each in wrong:
            error = await self.assertFailure(each, MessageRefused)
            self.assertIsInstance(error, NotSent)
            self.assertIn('exchange', error.msg)

    async def test_invalid_arguments(self) -> None:
        """Wrong properties are all named at once, and nothing is sent."""
        out = await self.connect(max_size=1024)
        error = await self.raises(BadRequest, out.send('x', properties={'colour': 1, 'priority': 300},
                                                       headers={'y': object()}))  # fmt: skip
        for name in ('colour', 'priority', 'headers.y'):
            self.assertIn(name, error.msg)
        await self.raises(BadRequest, out.send(object()))
        await self.raises(BadRequest, out.send('x', routing_key='k' * 256))
        await self.raises(ContentTooLarge, out.send('x' * 2000))

    async def test_too_large_for_the_broker(self) -> None:
        """A message above the broker's own limit is an error that says so, and concerns no other message."""
        queue = await self.blocking(self.broker.queue)
        out = await self.connect(routing_key=queue, max_size=64 * MEBIBYTE)
        right = [Deferred.fromCoroutine(out.send('x')) for _ in range(5)]
        error = await self.raises(ContentTooLarge, out.send(bytes(17 * MEBIBYTE)))
        self.assertIn('the message is too large for the broker', error.msg)
        await gatherResults([*right, Deferred.fromCoroutine(out.send('y'))])

    async def test_foreign_user_id(self) -> None:
        """A user id that is not of the account is refused by the broker, for that message alone."""
        queue = await self.blocking(self.broker.queue)
        out = await self.connect(routing_key=queue)
        right = [Deferred.fromCoroutine(out.send('x')) for _ in range(5)]
        wrong = Deferred.fromCoroutine(out.send('x', properties={'user_id': 'somebody'}))
        await self.assertFailure(wrong, MessageRefused)
        await gatherResults(right)

    async def test_full_queue(self) -> None:
        """A message that a full queue rejects was not sent."""
        queue = await self.blocking(self.broker.queue, arguments={'x-max-length': 1, 'x-overflow': 'reject-publish'})
        out = await self.connect(routing_key=queue)
        await out.send('one')
        error = await self.raises(MessageRefused, out.send('two'))
        self.assertIsInstance(error, NotSent)

    async def test_many(self) -> None:
        """Several messages are confirmed in one go, in order; those that fail are named."""
        queue = await self.blocking(self.broker.queue)
        out = await self.connect(routing_key=queue, max_in_flight=10)
        ids = await out.send_many([str(number) for number in range(200)])
        self.assertEqual(len(set(ids)), 200)
        bodies = await self.blocking(self.broker.take_all, queue)
        self.assertEqual(bodies, [str(number).encode() for number in range(200)])
        error = await self.raises(MessagesNotSent, out.send_many(['x', 'y'], routing_key='nowhere'))
        self.assertEqual({number: type(each) for number, each in error.errors.items()},
                         {0: MessageUnroutable, 1: MessageUnroutable})  # fmt: skip

    async def test_call(self) -> None:
        """A request gets its reply, and a missing reply ends at the timeout."""
        queue = await self.blocking(self.broker.queue)
        out = await self.connect(routing_key=queue)
        asking = Deferred.fromCoroutine(out.call({'question': 1}))
        request, _ = await self.blocking(self.broker.taken, queue)
        await self.blocking(self.broker.publish, request.reply_to, b'{"answer": 42}',
                            mandatory=False,
                            correlation_id=request.correlation_id, headers={'X-Zato-Status': 202})  # fmt: skip
        reply = await asking
        self.assertEqual((reply.data, reply.status_code, reply.headers['X-ZATO-STATUS']), ({'answer': 42}, 202, '202'))
        began = self.reactor.seconds()
        error = await self.raises(ReplyTimeout, out.call('x', timeout=0.5))
        self.assertLess(self.reactor.seconds() - began, allowed(5))
        self.assertIn('out', error.msg)
        await self.raises(MessageUnroutable, out.call('x', routing_key='nowhere'))

    async def test_edit(self) -> None:
        """A connection that is edited, or deleted, still gets the replies to its requests; further messages go by the
        new configuration."""
        queue, other = [await self.blocking(self.broker.queue) for _ in range(2)]
        asking = []
        for routing_key in (queue, other):
            out = await self.connect(routing_key=routing_key)
            asking.append(Deferred.fromCoroutine(out.call(routing_key)))
            _, body = request = await self.blocking(self.broker.taken, routing_key)
            self.assertEqual(body.decode(), routing_key)
            if routing_key == queue:
                first = request
        await self.configure()
        for properties, body in (first, request):
            await self.blocking(self.broker.publish, properties.reply_to, body, mandatory=False,
                                correlation_id=properties.correlation_id)  # fmt: skip
        self.assertEqual([(await each).text for each in asking], [queue, other])
        await self.until(lambda: not any('BrokerConnection.' in str(call) for call in self.reactor.getDelayedCalls()))

    async def test_ping(self) -> None:
        """A ping names the broker."""
        await self.connect()
        self.assertIn('RabbitMQ', await self.outgoing.ping('outgoing_amqp', 'out'))


class FailureTests(WithOutgoing):
    async def test_wrong_password(self) -> None:
        """A login that the broker does not accept is one sentence, without the password."""
        await self.configure(AmqpOutgoing(name='out', definition='rabbit', timeout=5), password='wrong-sEcReT')
        error = await self.raises(BrokerUnavailable, self.facade().send('x', routing_key='q'))
        self.assertIn('ACCESS_REFUSED', error.msg)
        self.assertNotIn('wrong-sEcReT', error.msg)
        (finding,) = self.outgoing.findings()
        self.assertIn('ACCESS_REFUSED', finding)

    async def test_no_such_vhost(self) -> None:
        """A missing virtual host is named."""
        await self.configure(AmqpOutgoing(name='out', definition='rabbit', timeout=5), vhost='/none')
        error = await self.raises(BrokerUnavailable, self.facade().send('x', routing_key='q'))
        self.assertIn('/none', error.msg)

    async def test_frozen_broker(self) -> None:
        """With a frozen broker, what was sent is unknown, what was not is told apart, each at its timeout; all of it
        works again afterwards, after the connection was found dead within the heartbeat."""
        queue = await self.blocking(self.broker.queue)
        value = AmqpOutgoing(name='out', definition='rabbit', timeout=0.5, routing_key=queue, max_in_flight=1)
        await self.configure(value, heartbeat=1)
        out = self.facade()
        await out.send('before', timeout=20)
        self.broker.freeze()
        try:
            began = self.reactor.seconds()
            sent = Deferred.fromCoroutine(out.send('first'))
            waiting = Deferred.fromCoroutine(out.send('second', timeout=0.4))
            await self.assertFailure(waiting, MessageNotSent)
            await self.assertFailure(sent, DeliveryUnknown)
            self.assertLess(self.reactor.seconds() - began, allowed(0.55 + 0.5))  # the machine may be busy
            await self.until(lambda: any('no sign of life' in each for each in self.outgoing.findings()))
        finally:
            self.broker.thaw()
        await self.until(lambda: not list(self.outgoing.findings()))
        await out.send('after', timeout=20)

    async def test_memory_alarm(self) -> None:
        """A broker that is short of memory blocks the connection: messages wait, and were not sent at their timeout;
        channels consume and acknowledge meanwhile, on connections of their own."""
        queue = await self.blocking(self.broker.queue)
        out = await self.connect(routing_key=queue, timeout=1.0)
        await out.send('before', timeout=20)
        await self.blocking(self.broker.ctl, 'set_vm_memory_high_watermark', 'absolute', '1MB')
        try:
            first = Deferred.fromCoroutine(out.send('first', timeout=60))  # which the broker reads when it can
            await self.until(lambda: any('takes no messages' in each for each in self.outgoing.findings()))
            await self.raises(MessageNotSent, out.send('second'))
            self.assertEqual(await self.blocking(self.broker.take, queue) is not None, True)
        finally:
            await self.blocking(self.broker.ctl, 'set_vm_memory_high_watermark', 'absolute', '2GB')
        await first
        await out.send('after', timeout=20)
        self.assertEqual(await self.blocking(self.broker.take_all, queue), [b'first', b'after'])

    async def test_no_right_to_write(self) -> None:
        """An exchange to which the account may not write is an error that says so."""
        out = await self.connect()
        error = await self.raises(MessageRefused, out.send('x', exchange='amq.rabbitmq.trace'))
        self.assertIn('ACCESS_REFUSED', error.msg)

    async def test_retry(self) -> None:
        """What was not sent is repeated where that is configured, and counted."""
        await self.configure(
            AmqpOutgoing(name='out', definition='rabbit', timeout=5, routing_key='q',
                         retry=AmqpRetry(attempts=3, backoff=0.01)),
            port=1,
        )  # fmt: skip
        await self.raises(BrokerUnavailable, self.facade().send('x'))
        rows = {name: value for name, _, value in self.meters._outgoing_rows()}
        self.assertEqual(rows['zatotx_outgoing_retries'], 2)

    async def test_protocol_garbage(self) -> None:
        """A peer that does not speak AMQP is a sentence."""
        with speaking(b'SSH-2.0-OpenSSH_9.9\r\n' * 20) as port:
            await self.configure(AmqpOutgoing(name='out', definition='rabbit', timeout=5), port=port)
            error = await self.raises(BrokerUnavailable, self.facade().send('x', routing_key='q'))
            self.assertIn('cannot be used', error.msg)


class TlsTests(WithOutgoing):
    async def send(self, **fields: Any) -> None:
        """Send over TLS."""
        queue = await self.blocking(self.broker.queue)
        await self.configure(AmqpOutgoing(name='out', definition='rabbit', timeout=5, routing_key=queue),
                             port=self.broker.tls_port, tls=True, **fields)  # fmt: skip
        await self.facade().send('secret')

    async def test_trusted(self) -> None:
        """TLS with the CA of the definition."""
        await self.send(tls_ca=self.broker.ca)

    async def test_untrusted(self) -> None:
        """A certificate of an unknown CA is not accepted."""
        error = await self.raises(BrokerUnavailable, self.send())
        self.assertIn('certificate', error.msg)

    async def test_unverified(self) -> None:
        """For tests, any certificate may be accepted."""
        await self.send(tls_verify=False)
