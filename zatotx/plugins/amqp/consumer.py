"""Consumes a queue on one AMQP connection, from the login to the acknowledgment of the last message."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from attrs import define
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from zatotx.connectors.channels import ChannelParts
from zatotx.connectors.inbound_delivery import MessageDelivery
from zatotx.interfaces.inbound_delivery import InboundDelivery
from zatotx.model.cid import new_cid, validated_cid
from zatotx.model.message import ChannelSpec, Message, Reply
from zatotx.plugins.amqp.body_codec import InvalidBody, decode_body
from zatotx.plugins.amqp.driver import BrokerChannel, BrokerConnection, BrokerConnector
from zatotx.plugins.amqp.errors import AmqpFailed, ChannelClosed
from zatotx.plugins.amqp.key_groups import HEADER, ROUTING_KEY, KeyGroups
from zatotx.plugins.amqp.message_properties import (
    CID_HEADER,
    TRACE_HEADER,
    MessageHeaders,
    delivery_count,
    header_text,
)
from zatotx.plugins.amqp.metrics import QueueCounters
from zatotx.plugins.amqp.queue_declaration import declare, drops_messages
from zatotx.plugins.amqp.reply_sender import ReplySender
from zatotx.plugins.amqp.schema.channel_amqp import AmqpChannel
from zatotx.plugins.amqp.schema.definition_amqp import AmqpDefinition
from zatotx.wire.http.traceparent import continue_trace

KIND = 'amqp'
# Seconds for which nothing is read from the broker at most: RabbitMQ closes a connection that takes nothing for 30 s.
MAX_PAUSE = 10.0
RETURN_DELAY = 1.0  # seconds until a message that could not be kept is returned: the broker delivers it again at once
_ALIVE = '{title} consumes {queue} at {broker}'


@define(eq=False)
class ReceivedMessage:
    """A received message that has not been acknowledged or rejected yet."""

    consumer: QueueConsumer
    channel: BrokerChannel
    tag: int  # delivery tag on the channel
    properties: Any
    body: bytes
    exchange: str
    routing_key: str
    redelivered: bool
    received_at: float  # on the reactor's clock
    size: int = 0  # bytes of the body in memory
    group: str | None = None  # its key group, if the channel has such

    def make_message(self) -> Message:
        """Return the message for one attempt."""
        consumer, properties = self.consumer, self.properties
        spec = consumer.spec
        cid = trace = ''
        if properties.headers:
            cid = validated_cid(header_text(properties, CID_HEADER)) or ''
            trace = header_text(properties, TRACE_HEADER)
        headers = MessageHeaders(properties, self.exchange, self.routing_key, self.redelivered)
        deadline = consumer.reactor.seconds() + spec.timeout
        return Message(cid or new_cid(), spec, spec.service, headers, self.body, deadline, None,
                       continue_trace(trace.encode('utf-8', 'replace')) if trace else '')

    def processed(self, reply: Reply | None) -> None:
        """The service has succeeded, or the message is a duplicate: `ack` of InboundDelivery."""
        self.consumer.observe(self, 2)
        if reply is not None and self.properties.reply_to:
            self.consumer.reply(self, reply)
        else:
            self.consumer.acknowledge(self)

    def failed(self, reply: Reply | None, *, requeue: bool) -> None:
        """The message was given up, or cannot be kept: `nack` of InboundDelivery."""
        self.consumer.observe(self, 0 if reply is None else reply.status // 100)
        if requeue:
            self.consumer.give_back(self)
        elif reply is not None and self.properties.reply_to:
            self.consumer.reply(self, reply)
        else:
            self.consumer.drop(self)


class QueueConsumer:
    """The consumers of one AMQP channel. `delivery` delivers the received messages to the service."""

    _log = Logger()

    def __init__(self, value: AmqpChannel, definition: AmqpDefinition, parts: ChannelParts, delivery: MessageDelivery,
                 counters: QueueCounters) -> None:
        self.value, self.reactor = value, parts.context.reactor
        self.spec = ChannelSpec(name=value.name, kind=KIND, service=value.service, timeout=value.timeout,
                                data_format=value.data_format)  # fmt: skip
        self._parts, self._delivery, self._counters = parts, delivery, counters
        self._connector = BrokerConnector(definition, parts.title, parts.context.reactor)
        self._replies = ReplySender(parts, definition)
        self._connection: BrokerConnection | None = None
        self._channels: list[tuple[BrokerChannel, str]] = []  # with their consumer tags
        self._unsettled: set[ReceivedMessage] = set()
        self._bytes = 0
        self._pause_timer: IDelayedCall | None = None  # while nothing is read from the broker
        self._is_over_limit = False  # whether reading had to go on above the limit
        self._settling: set[Deferred[Any]] = set()  # replies on their way
        self._is_stopping = False
        self._lost: Callable[[str], None] = _ignore
        self._drops_messages = False  # whether the queue drops messages after some deliveries
        self._groups = KeyGroups()

    async def start(self, tag: str, lost: Callable[[str], None]) -> None:
        """Connect, declare and consume. `lost` is called when that is over. Raises AmqpFailed."""
        value, self._lost = self.value, lost
        connection = self._connection = await self._connector.connect(self._gone)
        try:
            await declare(connection, value)
            if value.declare is None:
                self._drops_messages = await drops_messages(connection, value.queue)
            for number in range(value.consumers):
                await self._consume(connection, f'{tag}:{number}' if value.consumers > 1 else tag)
        except BaseException:
            self._connection, self._lost = None, _ignore
            connection.abort('the channel could not be started')
            raise
        self._log.info(_ALIVE, title=self._parts.title, queue=value.queue, broker=connection.broker)

    async def _consume(self, connection: BrokerConnection, tag: str) -> None:
        value = self.value
        channel = await connection.open_channel()
        channel.on_closed = self._channel_closed
        channel.watch_cancellation(lambda: self._end('the broker ended the consumer: its queue was deleted'))
        await channel.set_prefetch(value.prefetch_count)
        arguments = {'x-priority': value.consumer_priority} if value.consumer_priority else {}
        self._channels.append((channel, tag))
        await channel.consume(value.queue, tag, self._received, exclusive=value.exclusive, arguments=arguments)

    async def stop(self, grace: float) -> None:
        """Consume no more, and wait for the messages under way. Those that are left after `grace` seconds are returned
        to the queue."""
        self._is_stopping = True
        self._resume()
        connection, self._connection = self._connection, None
        if connection is None:
            return
        for channel, tag in self._channels:
            cancelling = channel.cancel(tag)
            cancelling.addErrback(lambda failure: failure.trap(AmqpFailed) and None)
        timer = self.reactor.callLater(grace, self._cancel_all)
        while waiting := [*self._delivery.pending, *self._settling]:
            await DeferredList([_ended(each) for each in waiting])
        if timer.active():
            timer.cancel()
        self._flush()
        await connection.shut_down()
        await self._replies.stop()

    def findings(self) -> Iterator[str]:
        """Yield what keeps the channel from working well now."""
        yield from self._replies.findings()
        if self._is_over_limit:
            yield (f'{self._parts.title}: its services are too slow for the size of its messages, {self._bytes} bytes '
                   'are in progress: lower its prefetch, or raise max_in_flight_bytes')  # fmt: skip
        if self._drops_messages:
            yield (f'{self._parts.title}: RabbitMQ drops messages of {self.value.queue} that were delivered several '
                   'times: declare it with x-delivery-limit -1, or with a dead letter exchange')  # fmt: skip

    async def count_waiting(self) -> int | None:
        """Return the number of messages that wait in the queue; None if that is unknown."""
        if self._connection is None or not self._connection.is_usable:
            return None
        try:
            channel = await self._connection.open_channel()
        except AmqpFailed:
            return None
        try:
            return await channel.declare_queue(self.value.queue, passive=True)
        except AmqpFailed:
            return None
        finally:
            channel.close()

    # From the broker.

    def _received(self, channel: BrokerChannel, tag: int, redelivered: bool, exchange: str, routing_key: str,
                  properties: Any, body: bytes) -> None:  # fmt: skip
        if self._is_stopping:
            return  # the broker gets it back when the connection is closed
        message = ReceivedMessage(self, channel, tag, properties, body, exchange, routing_key, redelivered,
                                  self.reactor.seconds())
        counters = self._counters
        self._parts.meter.requests += 1
        problem = self._problem(message)
        message.size = len(message.body)
        counters.redelivered += redelivered
        counters.in_flight += 1
        counters.in_flight_bytes += message.size
        self._unsettled.add(message)
        self._bytes += message.size
        if self._bytes >= self.value.max_in_flight_bytes:
            self._pause()
        delivery = InboundDelivery(make_message=message.make_message, ack=message.processed, nack=message.failed,
                                   key=properties.message_id or '')  # fmt: skip
        if problem:
            self._delivery.give_up(delivery, problem)
        elif not self.value.key_group:
            self._delivery.deliver(delivery)
        else:
            message.group = self._group_of(message)
            self._groups.enter(message.group, partial(self._delivery.deliver, delivery))

    def _pause(self) -> None:
        """Read nothing more until some messages are settled, at most for MAX_PAUSE."""
        if self._connection is not None and self._pause_timer is None and not self._is_over_limit:
            self._connection.pause()
            self._pause_timer = self.reactor.callLater(MAX_PAUSE, self._read_on)

    def _read_on(self) -> None:
        """The pause has lasted too long: from now on only the prefetch limits what is read."""
        self._is_over_limit = True
        self._resume()

    def _resume(self) -> None:
        timer, self._pause_timer = self._pause_timer, None
        if timer is not None and timer.active():
            timer.cancel()
        if self._connection is not None:
            self._connection.resume()

    def _group_of(self, message: ReceivedMessage) -> str:
        group = self.value.key_group
        if group == ROUTING_KEY:
            return f'{message.exchange}\0{message.routing_key}'
        return header_text(message.properties, group.removeprefix(HEADER))

    def _problem(self, message: ReceivedMessage) -> str:
        """Return why a message cannot be given to its service, '' if it can. Decodes its body."""
        value, properties = self.value, message.properties
        if len(message.body) > value.max_size:
            return f'its body has {len(message.body)} bytes, and may have {value.max_size}'
        count = delivery_count(properties) if properties.headers else 0
        if value.max_deliveries and count >= value.max_deliveries:
            return f'it was delivered {count + 1} times: its service, or the process, never came to an end with it'
        if properties.content_encoding:
            try:
                message.body = decode_body(message.body, properties.content_encoding, value.max_size)
            except InvalidBody as error:
                return str(error)
        return ''

    def _channel_closed(self, error: AmqpFailed) -> None:
        if isinstance(error, ChannelClosed):  # where the connection is lost, `_gone` knows why
            self._end(f'the broker closed its AMQP channel: {error}')

    def _gone(self, reason: str) -> None:
        self._connection = None
        self._end(reason)

    def _end(self, reason: str) -> None:
        """The channel consumes no more: start anew."""
        lost, self._lost = self._lost, _ignore
        self._resume()
        connection, self._connection = self._connection, None
        if self._is_stopping:
            return
        if connection is not None:
            self._flush()
            connection.shut_down()
        self._groups.clear()
        for message in tuple(self._unsettled):
            self._forget(message)
        lost(reason)

    # Settling messages.

    def observe(self, message: ReceivedMessage, status_class: int) -> None:
        """Count a message whose service has ended."""
        self._parts.meter.observe_response(status_class, self.reactor.seconds() - message.received_at)

    def acknowledge(self, message: ReceivedMessage) -> None:
        """Remove a message from the queue."""
        self._forget(message)
        message.channel.ack(message.tag)

    def drop(self, message: ReceivedMessage) -> None:
        """Remove a message that was given up: it is a dead letter, or the broker drops it, or routes it to a dead
        letter exchange."""
        self._counters.dead_letters += 1
        self._forget(message)
        if self._delivery.dead_letters is not None:
            message.channel.ack(message.tag)
        else:
            message.channel.reject(message.tag, requeue=False)

    def give_back(self, message: ReceivedMessage) -> None:
        """Return a message to the queue, after a moment: the broker delivers it again at once."""
        if self._is_stopping:
            self._forget(message)
            message.channel.reject(message.tag, requeue=True)
        else:
            self.reactor.callLater(RETURN_DELAY, self._return, message)

    def reply(self, message: ReceivedMessage, reply: Reply) -> None:
        """Send the reply to a request. It is acknowledged when the broker has confirmed the reply."""
        sending = Deferred.fromCoroutine(self._replies.send(message.properties, reply))
        self._settling.add(sending)

        def sent(result: bool) -> None:
            self._settling.discard(sending)
            if not result:
                self.give_back(message)
            elif reply.error is None:
                self.acknowledge(message)
            else:
                self.drop(message)

        sending.addCallback(sent)

    def _return(self, message: ReceivedMessage) -> None:
        self._forget(message)
        message.channel.reject(message.tag, requeue=True)

    def _forget(self, message: ReceivedMessage) -> None:
        if message not in self._unsettled:
            return
        self._unsettled.discard(message)
        self._bytes -= message.size
        self._counters.in_flight -= 1
        self._counters.in_flight_bytes -= message.size
        if self._bytes < self.value.max_in_flight_bytes:
            self._is_over_limit = False
            if self._pause_timer is not None:
                self._resume()
        if message.group is not None:
            self._groups.leave(message.group)

    def _flush(self) -> None:
        """Send the acknowledgments that wait for the end of the reactor iteration."""
        for channel, _ in self._channels:
            channel.flush()

    def _cancel_all(self) -> None:
        self._delivery.cancel()
        for sending in tuple(self._settling):
            sending.cancel()


def _ended(source: Deferred[Any]) -> Deferred[None]:
    """Fires when another Deferred has, whatever its result, which is left alone."""
    ended: Deferred[None] = Deferred()

    def fire(result: Any) -> Any:
        ended.callback(None)
        return result

    source.addBoth(fire)
    return ended


def _ignore(reason: str) -> None:
    """Nothing is to be done."""
