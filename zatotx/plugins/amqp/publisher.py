"""Publishes messages on one connection in confirm mode, with one AMQP channel per exchange, and tracks whether each
message was confirmed.

A missing exchange, or a message that the broker does not accept, closes the AMQP channel with the confirmations of all
its other messages. Hence each exchange has a channel of its own, whose exchange is known to exist before anything is
sent; and messages that the broker may refuse, because of their size or user id, are sent one at a time on another one.

The broker returns what no queue gets before it confirms it, without the delivery tag. Each message has a message id
that no other one in flight on its channel has, by which it is found.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from functools import partial
from typing import Any

from attrs import define, field, frozen
from twisted.internet.defer import Deferred

from zatotx.plugins.amqp.driver import BrokerChannel, BrokerConnection
from zatotx.plugins.amqp.errors import (
    NOT_FOUND,
    PRECONDITION_FAILED,
    AmqpFailed,
    ChannelClosed,
    ConnectionLost,
    MessageReturned,
    MessageTooLarge,
    NotConnected,
    OutcomeUnknown,
    PublishRejected,
)
from zatotx.plugins.amqp.shared_result import SharedResult

REPLY_QUEUE = 'amq.rabbitmq.reply-to'  # RabbitMQ's direct reply-to
MAX_CHANNELS = 100  # of one connection; the one that was used least recently is closed for another
ISOLATED_SIZE = 1024 * 1024  # bytes from which on a message is sent on a channel of its own

OnReply = Callable[[str, Any, bytes], None]  # correlation id, properties, body


@frozen(kw_only=True)
class OutgoingMessage:
    """A message that is ready to be sent. `method` and `properties` are already encoded by the functions of the module
    `wire`."""

    exchange: str
    message_id: str
    method: bytes
    properties: bytes
    body: bytes
    is_isolated: bool = False  # whether the broker may refuse it
    wants_reply: bool = False


@define(eq=False)
class UnconfirmedMessage:
    """A message that was sent, and that the broker has not confirmed yet."""

    message_id: str
    confirmed: Deferred[None]
    returned: MessageReturned | None = None


class PublishChannel:
    """An AMQP channel in confirm mode, which publishes the messages to one exchange."""

    def __init__(self, exchange: str, on_reply: OnReply) -> None:
        self.exchange = exchange
        self.unconfirmed: OrderedDict[int, UnconfirmedMessage] = OrderedDict()  # by delivery tag
        self._by_id: dict[str, UnconfirmedMessage] = {}
        self._same_id: deque[tuple[OutgoingMessage, Deferred[None]]] = deque()  # wait for one with their message id
        self._channel: BrokerChannel | None = None
        self._on_reply = on_reply
        self._consuming: SharedResult[Any] | None = None  # of the replies
        self._next_tag = 0

    async def open(self, connection: BrokerConnection) -> None:
        """Open the channel, and see that the exchange exists. Raises ChannelClosed and ConnectionLost."""
        channel = await connection.open_channel()
        try:
            if self.exchange:
                await channel.declare_exchange(self.exchange, passive=True)
            await channel.confirm(self._confirmed, self._returned)
        except BaseException:
            channel.close()
            raise
        channel.on_closed = self._closed
        self._channel = channel

    @property
    def is_open(self) -> bool:
        """Whether messages can be sent."""
        return self._channel is not None and self._channel.error is None

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits for a confirmation."""
        return not self.unconfirmed and not self._same_id

    async def receive_replies(self) -> None:
        """See that replies to messages of this channel are received."""
        assert self._channel is not None
        if self._consuming is None:
            self._consuming = SharedResult(self._channel.consume(REPLY_QUEUE, '', self._replied, auto_ack=True))
        await self._consuming.wait()

    def publish(self, message: OutgoingMessage) -> Deferred[None]:
        """Send a message. Fires when the broker has confirmed it; fails with PublishRejected, MessageReturned, and
        OutcomeUnknown. Cancelling it only forgets about the message. Raises ConnectionLost; nothing was sent then."""
        message_id = message.message_id
        confirmed: Deferred[None] = Deferred()
        if message_id in self._by_id:
            self._same_id.append((message, confirmed))
            return confirmed
        self._send(message, message_id, confirmed)
        return confirmed

    def close(self) -> None:
        """Close the channel. What is not confirmed stays unknown."""
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()
        self._fail(OutcomeUnknown('the connection was closed before the broker confirmed the message'))

    def _send(self, message: OutgoingMessage, message_id: str, confirmed: Deferred[None]) -> None:
        assert self._channel is not None
        self._channel.publish(message.method, message.properties, message.body)
        self._next_tag += 1
        sent = self.unconfirmed[self._next_tag] = UnconfirmedMessage(message_id, confirmed)
        self._by_id[message_id] = sent

    def _confirmed(self, tag: int, multiple: bool, is_accepted: bool) -> None:
        if not multiple:
            sent = self.unconfirmed.pop(tag, None)
            settled = [] if sent is None else [sent]
        else:
            settled = []
            while self.unconfirmed and (not tag or next(iter(self.unconfirmed)) <= tag):
                settled.append(self.unconfirmed.popitem(last=False)[1])
        for sent in settled:
            del self._by_id[sent.message_id]
            if sent.returned is not None:
                sent.confirmed.errback(sent.returned)
            elif is_accepted:
                sent.confirmed.callback(None)
            else:
                sent.confirmed.errback(PublishRejected('the broker did not take the message, e.g. because a queue is '
                                                       'full'))  # fmt: skip
        if self._same_id:
            self._send_waiting()

    def _send_waiting(self) -> None:
        waiting, self._same_id = self._same_id, deque()
        for message, confirmed in waiting:
            if confirmed.called:  # cancelled
                continue
            message_id = message.message_id
            if message_id in self._by_id:
                self._same_id.append((message, confirmed))
                continue
            try:
                self._send(message, message_id, confirmed)
            except AmqpFailed as error:
                confirmed.errback(NotConnected(str(error)))

    def _returned(self, reply_code: int, reply_text: str, message_id: str) -> None:
        sent = self._by_id.get(message_id)
        if sent is not None:
            sent.returned = MessageReturned(f'no queue gets the message ({reply_code} {reply_text})', reply_code)

    def _replied(self, channel: Any, tag: int, redelivered: bool, exchange: str, routing_key: str, properties: Any,
                 body: bytes) -> None:  # fmt: skip
        self._on_reply(properties.correlation_id or '', properties, body)

    def _closed(self, error: ChannelClosed | ConnectionLost) -> None:
        self._channel = None
        unconfirmed = self.unconfirmed
        if len(unconfirmed) == 1 and isinstance(error, ChannelClosed):  # it is what the broker refuses
            self._fail(_refusal(error))
        else:
            self._fail(OutcomeUnknown(f'the message was sent, but not confirmed: {error}', error.code))

    def _fail(self, error: AmqpFailed) -> None:
        sent, self.unconfirmed = self.unconfirmed, OrderedDict()
        waiting, self._same_id = self._same_id, deque()
        self._by_id.clear()
        for each in sent.values():
            if not each.confirmed.called:
                each.confirmed.errback(error)
        for _, confirmed in waiting:
            if not confirmed.called:
                confirmed.errback(NotConnected(str(error)))


@define(eq=False)
class Publisher:
    """Publishes messages on one connection."""

    connection: BrokerConnection
    on_reply: OnReply
    _channels: OrderedDict[tuple[str, bool], PublishChannel] = field(factory=OrderedDict, init=False)
    _opening: dict[tuple[str, bool], SharedResult[PublishChannel]] = field(factory=dict, init=False)
    _isolated: dict[str, SharedResult[None]] = field(factory=dict, init=False)  # by exchange, the last isolated message

    def find_channel(self, message: OutgoingMessage) -> PublishChannel | None:
        """Return the channel for a message if it is open."""
        key = message.exchange, message.is_isolated
        channel = self._channels.get(key)
        if channel is None or not channel.is_open:
            return None
        self._channels.move_to_end(key)
        return channel

    async def channel(self, message: OutgoingMessage) -> PublishChannel:
        """Return the channel for a message, and open it first if needed. Raises ChannelClosed and ConnectionLost."""
        found = self.find_channel(message)
        if found is not None:
            return found
        key = message.exchange, message.is_isolated
        opening = self._opening.get(key)
        if opening is None:
            opening = SharedResult(Deferred.fromCoroutine(self._open(key)))
            if not opening.is_known:
                self._opening[key] = opening
        return await opening.wait()

    async def acquire_isolation(self, message: OutgoingMessage) -> Callable[[], None]:
        """Wait until no other isolated message to the exchange is in flight. Returns the function that releases the
        exchange, to be called when this message is settled."""
        while (before := self._isolated.get(message.exchange)) is not None and not before.is_known:
            await before.wait()
        settled: Deferred[None] = Deferred()
        self._isolated[message.exchange] = SharedResult(settled)
        return partial(settled.callback, None)

    @property
    def unconfirmed(self) -> int:
        """The number of messages that are not confirmed yet."""
        return sum(len(channel.unconfirmed) for channel in self._channels.values())

    def close(self) -> None:
        """Close all channels."""
        channels, self._channels = self._channels, OrderedDict()
        for channel in channels.values():
            channel.close()

    async def _open(self, key: tuple[str, bool]) -> PublishChannel:
        channel = PublishChannel(key[0], self.on_reply)
        try:
            await channel.open(self.connection)
        finally:
            self._opening.pop(key, None)
        if len(self._channels) >= MAX_CHANNELS:
            idle = next((each for each, one in self._channels.items() if one.is_idle or not one.is_open), None)
            if idle is not None:
                self._channels.pop(idle).close()
        self._channels[key] = channel
        return channel


def _refusal(error: ChannelClosed) -> AmqpFailed:
    if error.code == PRECONDITION_FAILED and 'message size' in str(error):
        return MessageTooLarge(f'the message is too large for the broker: {error}', error.code)
    if error.code == NOT_FOUND:
        return PublishRejected(f'the exchange does not exist any more: {error}', error.code)
    return PublishRejected(f'the broker does not accept the message: {error}', error.code)

