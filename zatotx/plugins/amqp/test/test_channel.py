"""AMQP channels on a real broker: consuming, acknowledging, retries, dead letters, replies and lost connections."""

from __future__ import annotations

import gzip
from typing import Any

import pika
from twisted.logger import LogLevel, capturedLogs

from trial_tests.support.amqp_environment import PATIENCE, WithChannel, definition, failing
from trial_tests.support.rabbitmq import PASSWORD
from trial_tests.support.waiting import allowed
from zatotx.connectors import connection_supervisor
from zatotx.model.errors import BadRequest, NoSuchService, Overloaded, ServiceUnavailable
from zatotx.model.message import Reply
from zatotx.plugins.amqp import consumer
from zatotx.plugins.amqp.schema.channel_amqp import AmqpBinding, AmqpQueue
from zatotx.schema.delivery_fields import DeliveryRetry
from zatotx.schema.snapshot import Snapshot

QUICK = DeliveryRetry(attempts=2, backoff=0.01)


class ConsumeTests(WithChannel):
    async def test_delivers(self) -> None:
        """A message goes to its service with headers, properties, cid and trace, and is acknowledged afterwards."""
        trace = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
        queue = await self.blocking(
            self.broker.queue, b'{"a": 1}', message_id='m1', content_type='application/json',
            headers={'X-Zato-CID': 'cid-12345678', 'traceparent': trace, 'n': 7},
        )  # fmt: skip
        await self.serve(queue, data_format='json')
        await self.until(lambda: self.exchange.delivered)
        inbound = self.exchange.delivered[0].inbound
        self.assertEqual((inbound.service, inbound.cid, inbound.channel.kind, inbound.channel.data_format),
                         ('one', 'cid-12345678', 'amqp', 'json'))  # fmt: skip
        self.assertIn('0af7651916cd43dd8448eb211c80319c', inbound.trace)
        headers = inbound.headers
        self.assertEqual([headers[name] for name in (b'n', b'content-type', b'message-id', b'x-amqp-routing-key',
                                                      b'x-amqp-redelivered')],
                         [b'7', b'application/json', b'm1', queue.encode(), b'false'])  # fmt: skip
        await self.until(lambda: self.meters.channels('amqp').get('in').responses[2] == 1)
        await self.channel.stop()
        self.assertEqual(await self.blocking(self.broker.count, queue), 0)

    async def test_acknowledged_after_the_service(self) -> None:
        """A message stays in its queue until its service has succeeded, and comes again where that does not end."""
        queue = await self.blocking(self.broker.queue, b'x')
        self.exchange.at_once = None
        await self.serve(queue)
        await self.until(lambda: self.exchange.delivered)
        self.assertEqual(self.figures()['in_flight_messages'], 1)
        await self.channel.stop()  # the grace is over before it ends
        self.assertTrue(self.exchange.delivered[0].cancelled)
        await self.blocking(self.broker.taken, queue)

    async def test_prefetch(self) -> None:
        """No more messages are in progress than the prefetch says."""
        queue = await self.blocking(self.broker.queue, *[b'x'] * 9)
        self.exchange.at_once = None
        await self.serve(queue, prefetch=2, consumers=2)
        await self.until(lambda: len(self.exchange.delivered) == 4)
        await self.sleep(0.2)
        self.assertEqual(len(self.exchange.delivered), 4)
        for delivery in list(self.exchange.delivered):
            delivery.answer(b'')
        await self.until(lambda: len(self.exchange.delivered) == 8)

    async def test_single_active_consumer(self) -> None:
        """A queue with a single active consumer keeps its order: the other consumers wait for the end of that one."""
        queue = await self.blocking(self.broker.queue, b'1', b'2', b'3', arguments={'x-single-active-consumer': True})
        self.exchange.at_once = None
        await self.serve(queue, prefetch=1, consumers=2)
        for number in range(3):
            await self.until(lambda: len(self.exchange.delivered) == number + 1)  # noqa: B023 - waits for it here
            await self.sleep(0.1)
            self.assertEqual(self.bodies, [b'1', b'2', b'3'][: number + 1])
            self.exchange.delivered[number].answer(b'')

    async def test_priorities(self) -> None:
        """Messages with a higher priority are delivered before those that have waited longer."""
        queue = await self.blocking(self.broker.queue, b'low', arguments={'x-max-priority': 9}, priority=1)
        await self.blocking(self.broker.publish, queue, b'high', priority=8)
        await self.serve(queue, prefetch=1)
        await self.until(lambda: len(self.exchange.delivered) == 2)
        self.assertEqual(self.bodies, [b'high', b'low'])

    async def test_bytes_in_flight(self) -> None:
        """Where the bodies in progress take too much memory, nothing more is read until some are done."""
        queue = await self.blocking(self.broker.queue, *[b'x' * 60_000] * 20)
        self.exchange.at_once = None
        await self.serve(queue, prefetch=20, max_size=65_536, max_in_flight_bytes=65_536)
        await self.until(lambda: self.exchange.delivered)
        await self.sleep(0.3)
        first = len(self.exchange.delivered)
        self.assertLess(first, 10)
        done = 0
        while done < 20:
            await self.until(lambda: len(self.exchange.delivered) > done)  # noqa: B023 - waits for it here
            self.exchange.delivered[done].answer(b'')
            done += 1
        await self.until(lambda: self.figures()['in_flight_bytes'] == 0)

    async def test_slow_services(self) -> None:
        """Reading goes on after a while, so that the broker does not close the connection; doctor says what to do."""
        self.patch(consumer, 'MAX_PAUSE', 0.2)
        queue = await self.blocking(self.broker.queue, *[b'x' * 60_000] * 20)
        self.exchange.at_once = None
        await self.serve(queue, prefetch=20, max_size=65_536, max_in_flight_bytes=65_536)
        await self.until(lambda: len(self.exchange.delivered) == 20)
        self.assertIn('lower its prefetch', await self.finding())
        for delivery in self.exchange.delivered:
            delivery.answer(b'')
        self.assertEqual(list(self.channel.findings()), [])

    async def test_key_groups(self) -> None:
        """Messages of one group are processed one after another, those of others meanwhile."""
        queue = await self.blocking(self.broker.queue)
        for number, group in enumerate('aabab'):
            await self.blocking(self.broker.publish, queue, b'%d' % number, headers={'customer': group})
        self.exchange.at_once = None
        await self.serve(queue, key_group='header:customer')
        await self.until(lambda: self.bodies == [b'0', b'2'])
        self.exchange.delivered[0].answer(b'')
        await self.until(lambda: self.bodies == [b'0', b'2', b'1'])
        self.exchange.delivered[1].answer(b'')
        self.exchange.delivered[2].answer(b'')
        await self.until(lambda: self.bodies == [b'0', b'2', b'1', b'4', b'3'])
        for delivery in self.exchange.delivered[3:]:
            delivery.answer(b'')
        await self.until(lambda: self.figures()['in_flight_messages'] == 0)

    async def test_gzip(self) -> None:
        """A compressed body reaches the service as it was before."""
        queue = await self.blocking(self.broker.queue, gzip.compress(b'text'), content_encoding='gzip')
        await self.serve(queue)
        await self.until(lambda: self.bodies == [b'text'])

    async def test_large_bodies(self) -> None:
        """Bodies of several frames, and the small ones between them, arrive whole."""
        bodies = [b'a', b'b' * 131_064, b'c' * 131_065, b'', b'd' * 1_000_000, b'e']
        queue = await self.blocking(self.broker.queue, *bodies)
        await self.serve(queue, prefetch=10)
        await self.until(lambda: len(self.bodies) == len(bodies))
        self.assertEqual([body == found for body, found in zip(bodies, self.bodies, strict=True)], [True] * 6)

    async def test_declares(self) -> None:
        """A declared queue is made with its bindings; RabbitMQ's own limit of deliveries is off."""
        queue, exchange = self.broker.name(), self.broker.name('exchange')
        binding = AmqpBinding(exchange=exchange, routing_key='a.*', exchange_type='topic')
        await self.serve(queue, declare=AmqpQueue(bindings=[binding]))
        await self.blocking(self.broker.publish, 'a.b', b'routed', exchange=exchange)
        await self.until(lambda: self.bodies == [b'routed'])
        found = await self.blocking(self.broker.ctl, 'list_queues', 'name', 'type', 'arguments')
        (line,) = [line for line in found.splitlines() if line.split('\t')[0] == queue]
        self.assertIn('quorum', line)
        self.assertIn('"x-delivery-limit",-1', line)

    async def test_inequivalent_declaration(self) -> None:
        """A queue that exists with other attributes is a finding that says what differs."""
        queue = await self.blocking(self.broker.queue)
        await self.serve(queue, declare=AmqpQueue())
        finding = await self.finding()
        self.assertIn("x-queue-type", finding)

    async def test_missing_queue(self) -> None:
        """A missing queue is a finding; the channel consumes it as soon as it exists."""
        queue = self.broker.name()
        await self.serve(queue)
        finding = await self.finding()
        self.assertIn('the queue does not exist', finding)
        await self.blocking(self.broker.queue, b'late', name=queue)
        await self.until(lambda: self.bodies == [b'late'])
        self.assertEqual(list(self.channel.findings()), [])

    async def test_deleted_queue(self) -> None:
        """A declared queue that is deleted is declared again."""
        queue = self.broker.name()
        await self.serve(queue, declare=AmqpQueue(type='classic'))
        await self.blocking(self.broker.delete, queue)
        await self.until(lambda: list(self.channel.findings()))
        await self.until(lambda: not list(self.channel.findings()))
        await self.blocking(self.broker.publish, queue, b'again')
        await self.until(lambda: self.bodies == [b'again'])

    async def test_live_edit(self) -> None:
        """An edit finishes the messages in progress on the old consumer; the new one has started before."""
        queue = await self.blocking(self.broker.queue, b'old')
        self.exchange.at_once = None
        await self.serve(queue)
        await self.until(lambda: self.exchange.delivered)
        await self.channel.apply(Snapshot(2, self.objects(queue, service='two')))
        await self.blocking(self.broker.publish, queue, b'new')
        await self.until(lambda: len(self.exchange.delivered) == 2)
        self.assertEqual(self.exchange.delivered[1].inbound.service, 'two')
        for delivery in self.exchange.delivered:
            delivery.answer(b'')
        await self.until(lambda: self.figures()['in_flight_messages'] == 0)

    async def test_edited_definition(self) -> None:
        """An edit of the definition moves the channel to a new connection, and messages in progress are finished. A
        password that the broker does not accept is a finding until the next edit."""
        queue = await self.blocking(self.broker.queue, b'old')
        self.exchange.at_once = None
        await self.serve(queue)
        await self.until(lambda: self.exchange.delivered)
        objects = self.objects(queue)
        for revision, password in ((2, 'wrong'), (3, PASSWORD)):
            objects[0] = definition(self.broker, password=password)
            await self.channel.apply(Snapshot(revision, objects))
            await self.until(lambda: bool(list(self.channel.findings())) == (password == 'wrong'))  # noqa: B023
        self.exchange.delivered[0].answer(b'')
        await self.blocking(self.broker.publish, queue, b'new')
        await self.until(lambda: len(self.exchange.delivered) == 2)
        self.exchange.delivered[1].answer(b'')
        await self.until(lambda: self.figures()['in_flight_messages'] == 0)
        await self.channel.stop()
        self.assertEqual(await self.blocking(self.broker.count, queue), 0)

    async def test_waiting_messages(self) -> None:
        """The messages that wait in the queue are a metric."""
        queue = await self.blocking(self.broker.queue, *[b'x'] * 5)
        self.exchange.at_once = None
        await self.serve(queue, prefetch=1)
        await self.until(lambda: self.figures().get('queue_messages') == 4)


class FailureTests(WithChannel):
    async def test_requeue(self) -> None:
        """A message whose service fails is retried, and then a dead letter; it leaves the queue."""
        queue = await self.blocking(self.broker.queue, b'bad', message_id='m1', headers={'n': 'v'})
        self.exchange.at_once = failing()
        await self.serve(queue, retry=QUICK)
        await self.until(lambda: self.letters.kept)
        (letter,) = self.letters.kept
        self.assertEqual((letter.history.attempts, letter.id, letter.message.headers[b'n']), (2, 'm1', b'v'))
        await self.channel.stop()
        self.assertEqual(await self.blocking(self.broker.count, queue), 0)

    async def test_dead_letter(self) -> None:
        """With on_error dead_letter the first failure is the last."""
        queue = await self.blocking(self.broker.queue, b'bad')
        self.exchange.at_once = failing()
        await self.serve(queue, on_error='dead_letter')
        await self.until(lambda: self.letters.kept)
        self.assertEqual(self.letters.kept[0].history.attempts, 1)

    async def test_reject(self) -> None:
        """With on_error reject the broker routes the message to its dead letter exchange."""
        dead = await self.blocking(self.broker.queue)
        arguments = {'x-dead-letter-exchange': '', 'x-dead-letter-routing-key': dead}
        queue = await self.blocking(self.broker.queue, b'bad', arguments=arguments)
        self.exchange.at_once = failing()
        await self.serve(queue, on_error='reject')
        _, body = await self.blocking(self.broker.taken, dead)
        self.assertEqual((body, self.letters.kept), (b'bad', []))

    async def test_wrong_message(self) -> None:
        """A message that is wrong by itself is not retried."""
        queue = await self.blocking(self.broker.queue, b'bad')
        self.exchange.at_once = failing(BadRequest(None, 'wrong'))
        await self.serve(queue, retry=QUICK)
        await self.until(lambda: self.letters.kept)
        self.assertEqual(self.letters.kept[0].history.attempts, 1)

    async def test_missing_service(self) -> None:
        """A service that does not exist yet does not cost a message: it is retried."""
        queue = await self.blocking(self.broker.queue, b'early')
        answers = [failing(NoSuchService(None, 'No such service')), lambda inbound: Reply(200, b'', b'')]
        self.exchange.at_once = lambda inbound: answers.pop(0)(inbound)
        await self.serve(queue, retry=QUICK)
        await self.until(lambda: len(self.exchange.delivered) == 2)
        self.assertEqual(self.letters.kept, [])

    async def test_overload(self) -> None:
        """A node at its limit makes messages wait, and uses up none of their attempts."""
        queue = await self.blocking(self.broker.queue, b'x')
        answers: list[Any] = [failing(Overloaded(None, 'full'))] * 3 + [lambda inbound: Reply(200, b'', b'')]
        self.exchange.at_once = lambda inbound: answers.pop(0)(inbound)
        await self.serve(queue, on_error='dead_letter')
        await self.until(lambda: len(self.exchange.delivered) == 4)
        await self.until(lambda: self.figures()['in_flight_messages'] == 0)
        self.assertEqual(self.letters.kept, [])

    async def test_dead_letters_away(self) -> None:
        """A message is not lost while dead letters cannot be stored: it comes again."""
        queue = await self.blocking(self.broker.queue, b'bad')
        self.letters.refuses = [ServiceUnavailable(None, 'the ODB is away')]
        self.exchange.at_once = failing()
        await self.serve(queue, on_error='dead_letter')
        await self.until(lambda: self.letters.kept)
        self.assertEqual(self.figures()['redelivered_messages'], 1)
        self.flushLoggedErrors(ServiceUnavailable)

    async def test_unusable_bodies(self) -> None:
        """Bodies that are too large, or not what their encoding says, are dead letters with the reason."""
        queue = await self.blocking(self.broker.queue, b'x' * 2000)
        await self.blocking(self.broker.publish, queue, b'no gzip', content_encoding='gzip')
        await self.blocking(self.broker.publish, queue, gzip.compress(b'x' * 5000), content_encoding='gzip')
        await self.blocking(self.broker.publish, queue, b'x', content_encoding='zstd')
        await self.serve(queue, max_size=1024)
        await self.until(lambda: len(self.letters.kept) == 4)
        causes = [letter.history.last.cause for letter in self.letters.kept if letter.history.last is not None]
        for cause, part in zip(causes, ('2000 bytes', 'is not gzip', 'decompressed', 'zstd'), strict=True):
            self.assertIn(part, cause)
        self.assertEqual(self.exchange.delivered, [])

    async def test_poison(self) -> None:
        """A message that a quorum queue has delivered too often is a dead letter without its service."""
        queue = await self.blocking(self.broker.queue, b'poison', type='quorum', arguments={'x-delivery-limit': -1})
        for _ in range(3):
            await self.blocking(self._return, queue)
        await self.serve(queue, max_deliveries=3)
        await self.until(lambda: self.letters.kept)
        self.assertEqual(self.exchange.delivered, [])
        self.assertEqual(list(self.channel.findings()), [])

    async def test_limit_of_deliveries(self) -> None:
        """A quorum queue of somebody else that drops messages is a finding, unless it has a dead letter exchange."""
        for arguments, is_found in (({}, True), ({'x-dead-letter-exchange': 'amq.fanout'}, False)):
            queue = await self.blocking(self.broker.queue, type='quorum', arguments=arguments)
            await self.channel.apply(Snapshot(1, self.objects(queue)))
            if is_found:
                await self.channel.start(self.exchange)
            await self.blocking(self.broker.publish, queue, queue.encode())
            await self.until(lambda: queue.encode() in self.bodies)  # noqa: B023 - waits for it here
            self.assertEqual(bool(list(self.channel.findings())), is_found)

    def _return(self, queue: str) -> None:
        with self.broker.channel() as channel:
            method, _, _ = channel.basic_get(queue)
            assert method is not None
            channel.basic_reject(method.delivery_tag, requeue=True)

    async def test_another_consumer(self) -> None:
        """An exclusive channel whose queue has another consumer is a finding; it consumes when that one is gone."""
        queue = await self.blocking(self.broker.queue)
        with self.broker.channel() as other:
            other.basic_consume(queue, lambda *args: None)
            await self.serve(queue, exclusive=True)
            finding = await self.finding()
            self.assertIn('ACCESS_REFUSED', finding)
            self.assertIn('exclusive', finding)
        await self.blocking(self.broker.publish, queue, b'x')
        await self.until(lambda: self.bodies == [b'x'])

    async def test_names(self) -> None:
        """The broker shows consumers and connections under the names of the configuration."""
        queue = await self.blocking(self.broker.queue)
        self.patch(self, 'definition_fields', {'connection_name': 'orders-of-zatotx', 'channel_max': 77})
        await self.serve(queue, consumer_tag_prefix='shop', consumers=2, prefetch=7, consumer_priority=3)
        consumers = await self.blocking(self.broker.ctl, 'list_consumers', 'queue_name', 'consumer_tag',
                                        'prefetch_count', 'arguments')  # fmt: skip
        rows = [line.split('\t') for line in consumers.splitlines() if line.startswith(queue)]
        self.assertEqual([(tag.startswith('shop:'), count) for _, tag, count, _ in rows], [(True, '7')] * 2)
        self.assertEqual(len({tag for _, tag, _, _ in rows}), 2)
        for *_, arguments in rows:
            self.assertIn('"x-priority",3', arguments)
        connections = await self.blocking(self.broker.ctl, 'list_connections', 'channel_max', 'client_properties')
        (line,) = [line for line in connections.splitlines() if 'orders-of-zatotx' in line]
        self.assertEqual(line.split()[0], '77')

    async def test_wrong_password(self) -> None:
        """A login that the broker does not accept is one finding and one line in the log."""
        objects = self.objects('q')
        self.patch(connection_supervisor, 'MAX_BACKOFF', 0.2)
        objects[0] = definition(self.broker, password='wrong-sEcReT')
        await self.channel.apply(Snapshot(1, objects))
        await self.channel.start(self.exchange)
        finding = await self.finding()
        self.assertIn('ACCESS_REFUSED', finding)
        self.assertNotIn('sEcReT', finding)
        with capturedLogs() as events:
            await self.sleep(1.5)  # in which it tries again
        self.assertEqual([event for event in events if event['log_level'] >= LogLevel.warn], [])


    async def test_a_user_who_is_deleted(self) -> None:
        """A user whom the broker does not know any more ends the channel with a finding; it consumes again when the
        user is back. The broker may not send it what the account has no right to read."""
        queue = await self.blocking(self.broker.queue)
        add = ('rabbit_auth_backend_internal:add_user(<<"clerk">>, <<"clerk-sEcReT">>, <<"tests">>), '
               'rabbit_auth_backend_internal:set_permissions(<<"clerk">>, <<"/">>, <<"">>, <<"">>, <<"{}">>, '
               '<<"tests">>).')  # fmt: skip
        await self.blocking(self.broker.ctl, 'eval', add.format('.*'))
        self.patch(connection_supervisor, 'MAX_BACKOFF', 0.2)
        self.patch(self, 'definition_fields', {'username': 'clerk', 'password': 'clerk-sEcReT'})
        await self.serve(queue)
        for rights, refusal in (('nothing', "read access to queue"), ('.*', '')):
            await self.blocking(self.broker.ctl, 'delete_user', 'clerk')
            await self.until(lambda: any('ACCESS_REFUSED' in each for each in self.channel.findings()))
            await self.blocking(self.broker.ctl, 'eval', add.format(rights))
            await self.until(lambda: refusal in ''.join(self.channel.findings()))  # noqa: B023 - waits for it here
        await self.blocking(self.broker.ctl, 'delete_user', 'clerk')


class RequestTests(WithChannel):
    def ask(self, queue: str) -> tuple[Any, bytes]:
        """Send a request by RabbitMQ's direct reply-to, and return the reply."""
        replies: list[tuple[Any, bytes]] = []
        with self.broker.channel() as channel:
            channel.basic_consume('amq.rabbitmq.reply-to', lambda c, m, p, body: replies.append((p, body)),
                                  auto_ack=True)  # fmt: skip
            channel.basic_publish('', queue, b'question', pika.BasicProperties(
                reply_to='amq.rabbitmq.reply-to', correlation_id='c1'))  # fmt: skip
            for _ in range(int(PATIENCE * 10)):
                channel.connection.process_data_events(0.1)
                if replies:
                    return replies[0]
        raise AssertionError('no reply')

    async def test_reply(self) -> None:
        """The response of the service is the reply to the request."""
        queue = await self.blocking(self.broker.queue)
        await self.serve(queue)
        properties, body = await self.blocking(self.ask, queue)
        self.assertEqual((body, properties.correlation_id, properties.content_type), (b'QUESTION', 'c1', 'text/plain'))
        self.assertEqual(properties.headers['X-Zato-Status'], 200)

    async def test_error_reply(self) -> None:
        """The error of the service is the reply to the request, and the message a dead letter."""
        queue = await self.blocking(self.broker.queue)
        self.exchange.at_once = failing(BadRequest(None, 'wrong'))
        await self.serve(queue)
        properties, body = await self.blocking(self.ask, queue)
        self.assertEqual((body, properties.headers['X-Zato-Status']), (b'error', 400))
        self.assertEqual(len(self.letters.kept), 1)


class LostConnectionTests(WithChannel):
    async def test_frozen_broker(self) -> None:
        """A frozen broker is noticed within the heartbeat, and consumed again afterwards."""
        queue = await self.blocking(self.broker.queue)
        objects = self.objects(queue)
        objects[0] = definition(self.broker, heartbeat=1)
        await self.channel.apply(Snapshot(1, objects))
        await self.channel.start(self.exchange)
        self.broker.freeze()
        try:
            began = self.reactor.seconds()
            await self.until(lambda: any('no sign of life' in each for each in self.channel.findings()))
            self.assertLess(self.reactor.seconds() - began, allowed(5))
        finally:
            self.broker.thaw()
        await self.blocking(self.broker.publish, queue, b'after')
        await self.until(lambda: self.bodies == [b'after'])

    async def test_restarted_broker(self) -> None:
        """A broker that is killed and started again is consumed again: what was not acknowledged comes once more."""
        queue = await self.blocking(self.broker.queue, b'x')
        self.exchange.at_once = None
        await self.serve(queue)
        await self.until(lambda: self.exchange.delivered)
        self.broker.restart()
        await self.until(lambda: len(self.exchange.delivered) == 2)
        self.exchange.delivered[0].answer(b'')  # on the connection that is gone: no harm
        self.exchange.delivered[1].answer(b'')
        await self.until(lambda: self.figures()['in_flight_messages'] == 0)
        await self.channel.stop()
        self.assertEqual(await self.blocking(self.broker.count, queue), 0)
        self.assertEqual(self.exchange.delivered[1].inbound.headers[b'x-amqp-redelivered'], b'true')

