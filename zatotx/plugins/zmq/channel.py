"""A ZeroMQ channel, which delivers the messages of its socket to a service. For REP and ROUTER sockets, the channel
also sends the responses.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from time import time
from typing import Any

import msgspec
from attrs import define, field
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import deferLater
from twisted.logger import Logger

from zatotx.connectors.channels import ChannelParts, make_channel_delivery
from zatotx.connectors.inbound_delivery import MessageDelivery
from zatotx.interfaces.connector_kind import ChannelContext
from zatotx.interfaces.inbound_delivery import DeadLetter, InboundDelivery
from zatotx.interfaces.meters import MetricRow
from zatotx.interfaces.pipeline import IDispatcher
from zatotx.model.cid import new_cid
from zatotx.model.message import ChannelSpec, Message, Reply
from zatotx.model.work_message import VALUE_FORMAT, ValueMessage
from zatotx.plugins.zmq.addresses import parse_addresses
from zatotx.plugins.zmq.message_frames import InvalidFrames, make_body, split_envelope, strip_prefix
from zatotx.plugins.zmq.reactor_sockets import SocketFactory, SocketSpec, curve_of
from zatotx.plugins.zmq.receiver import Receiver
from zatotx.plugins.zmq.reusable_sockets import BIND_ATTEMPTS, ReusableSockets, acquire_with_retry
from zatotx.plugins.zmq.schema import BIND, LIST, REP, ROUTER, SUB, ZmqChannel
from zatotx.rules.resilience.inbound_retry import DeliveryHistory
from zatotx.rules.resilience.outgoing_retry import backoff_delay

KIND = 'zmq'
MAX_BYTES_IN_FLIGHT = 64 * 1024 * 1024  # of one channel: at this limit, too, no further messages are read
BACKOFF, MAX_BACKOFF = 0.5, 30.0  # seconds between attempts where the message cannot be settled
STOPPED = 'The node stopped before the request was processed'
LINGER = 1.0  # seconds for which ZeroMQ still sends the last replies
RECENT = 60.0  # seconds for which a failed handshake is a finding
DISCONNECT_PAUSE = 0.01  # seconds between two looks whether ZeroMQ has disconnected the peers


@define(eq=False)
class ChannelEnvironment:
    """The resources that the channels of a node share: the ZeroMQ context and the sockets."""

    context: ChannelContext
    grace: float
    factory: SocketFactory = field(init=False)
    registries: dict[str, ReusableSockets[Receiver]] = field(factory=dict, init=False)  # by name of the channel
    channels: set[SocketChannel] = field(factory=set, init=False)

    def __attrs_post_init__(self) -> None:
        self.factory = SocketFactory(self.context.reactor, self.context.run_in_thread)

    def registry(self, name: str, title: str) -> ReusableSockets[Receiver]:
        """The sockets of a channel."""
        registry = self.registries.get(name)
        if registry is None:
            registry = self.registries[name] = ReusableSockets(partial(Receiver, self.factory, title))
        return registry

    def end(self) -> Deferred[None]:
        """Close what is left."""
        return self.factory.end()

    def metrics(self) -> Iterator[MetricRow]:
        """The figures of the channels that run."""
        for channel in self.channels:
            yield from channel.metrics()


class InFlightMessage:
    """A received message until it is settled. `attempts` is the number of deliveries so far after which the message
    could not be settled."""

    __slots__ = ('_channel', 'attempts', 'began', 'cid', 'content', 'envelope', 'size')

    def __init__(self, channel: SocketChannel, envelope: Sequence[bytes], content: Sequence[bytes], size: int,
                 began: float) -> None:  # fmt: skip
        self._channel = channel
        self.envelope, self.content, self.size = envelope, content, size
        self.cid = new_cid()
        self.began = began
        self.attempts = 0

    def make_message(self) -> Message:
        """See InboundDelivery."""
        return self._channel.make_message(self)

    def ack(self, reply: Reply | None) -> None:
        """See InboundDelivery."""
        self._channel.processed(self, reply)

    def nack(self, reply: Reply | None, *, requeue: bool) -> None:
        """See InboundDelivery."""
        self._channel.failed(self, reply, requeue=requeue)


class SocketChannel:
    """Implements InboundChannel for one configured ZeroMQ channel."""

    _log = Logger()

    def __init__(self, value: ZmqChannel, parts: ChannelParts, environment: ChannelEnvironment) -> None:
        self._value, self._parts, self._environment = value, parts, environment
        self._reactor: Any = parts.context.reactor
        self._registry = environment.registry(value.name, parts.title)
        self._spec = _socket_spec(value)
        self._replies = value.socket_type in (REP, ROUTER)
        is_list = value.multipart == LIST
        self._channel = ChannelSpec(name=value.name, kind=KIND, service=value.service, timeout=value.timeout,
                                    data_format=VALUE_FORMAT if is_list else value.data_format)  # fmt: skip
        self._receiver: Receiver | None = None
        self._delivery: MessageDelivery | None = None
        self._in_flight: set[InFlightMessage] = set()
        self._bytes_in_flight = 0
        self._retrying: set[Deferred[None]] = set()
        self._storing: set[Deferred[None]] = set()
        self._is_stopping = False
        self._is_grace_over = False
        self._changed: Deferred[None] | None = None  # fires when a message is settled
        self._invalid = self._lost_replies = 0

    # InboundChannel

    async def start(self, dispatcher: IDispatcher, lost: Callable[[str], None]) -> None:
        """See InboundChannel. Raises SocketError."""
        value = self._value
        self._is_stopping = self._is_grace_over = False
        keys = msgspec.structs.replace(value, retry=None, dead_letter=False) if self._replies else value
        self._delivery = make_channel_delivery(self._parts, dispatcher, keys)
        attempts = 1 if self._registry.newest is None else BIND_ATTEMPTS
        self._receiver = await acquire_with_retry(self._registry, self._spec, self._reactor, attempts)
        self._environment.channels.add(self)
        self._receiver.attach(self)

    def stop(self) -> Deferred[None]:
        """See InboundChannel. What ZeroMQ has received is still delivered, up to `receive_hwm` messages."""
        receiver = self._receiver
        if receiver is None or self._is_stopping:
            return succeed(None)
        self._is_stopping = True
        return Deferred.fromCoroutine(self._stop(receiver))

    def findings(self) -> Iterator[str]:
        """See InboundChannel."""
        receiver = self._receiver
        if receiver is None:
            return
        peers, title = receiver.socket.peers, self._parts.title
        if not self._spec.is_bound and not peers.ready:
            yield f'{title} is not connected: {peers.failure or "no peer has answered yet"}'
        elif peers.failure and self._reactor.seconds() - peers.failed_at < RECENT:
            yield f'{title}: a peer could not connect: {peers.failure}'

    # Consumer

    @property
    def is_full(self) -> bool:
        """See Consumer."""
        return len(self._in_flight) >= self._value.max_in_flight or self._bytes_in_flight >= MAX_BYTES_IN_FLIGHT

    def received(self, frames: list[bytes]) -> None:
        """See Consumer."""
        value = self._value
        self._parts.meter.requests += 1
        envelope: Sequence[bytes] = ()
        content: Sequence[bytes] = frames
        if self._replies:
            try:
                split = split_envelope(value.socket_type, frames)
            except InvalidFrames as error:
                self._invalid += 1
                self._log.debug('{title}: a message is dropped: {why}', title=self._parts.title, why=str(error))
                return
            envelope, content = split.envelope, split.content
        elif self._spec.prefixes and value.strip_sub_key:
            content = strip_prefix(content, self._spec.prefixes)
        size = len(frames[0]) if len(frames) == 1 else sum(map(len, frames))
        message = InFlightMessage(self, envelope, content, size, self._reactor.seconds())
        self._in_flight.add(message)
        self._bytes_in_flight += size
        self._deliver(message)

    def metrics(self) -> Iterator[MetricRow]:
        """The figures of this channel."""
        label = (self._value.name,)
        receiver = self._receiver
        if receiver is None:
            return
        yield 'zatotx_zmq_channel_peers', label, receiver.socket.peers.ready
        yield 'zatotx_zmq_channel_failed_handshakes', label, receiver.socket.peers.failed_handshakes
        yield 'zatotx_zmq_channel_dropped', label, self._invalid + receiver.socket.oversized
        yield 'zatotx_zmq_channel_lost_replies', label, self._lost_replies
        yield 'zatotx_zmq_in_flight', label, len(self._in_flight)

    # Delivery

    def _deliver(self, message: InFlightMessage) -> None:
        assert self._delivery is not None
        self._delivery.deliver(
            InboundDelivery(make_message=message.make_message, ack=message.ack, nack=message.nack)
        )

    def make_message(self, message: InFlightMessage) -> Message:
        """Make a message for the service. It may run for `timeout` seconds from now on."""
        deadline = self._reactor.seconds() + self._value.timeout
        if self._value.multipart == LIST:
            made = ValueMessage(message.cid, self._channel, self._channel.service, {}, b'', deadline)
            made.value = list(message.content)
            return made
        body, headers = make_body(message.content, self._value.multipart)
        return Message(message.cid, self._channel, self._channel.service, headers, body, deadline)

    def processed(self, message: InFlightMessage, reply: Reply | None) -> None:
        """The service has succeeded."""
        if self._replies:
            self._reply(message, b'' if reply is None else reply.body)
        self._settle(message, 2)

    def failed(self, message: InFlightMessage, reply: Reply | None, *, requeue: bool) -> None:
        """The service has failed for the last time, or the message cannot be settled (`requeue`)."""
        if not requeue:
            if self._replies and reply is not None:
                self._reply(message, reply.body)
            self._settle(message, 0 if reply is None else reply.status // 100)
        elif self._is_stopping:
            self._keep(message)
        else:
            self._deliver_later(message)

    def _reply(self, message: InFlightMessage, body: bytes) -> None:
        receiver = self._receiver
        try:
            if receiver is None or not receiver.socket.try_send([*message.envelope, body]):
                self._lost_replies += 1
        except OSError:  # the client has gone
            self._lost_replies += 1

    def _deliver_later(self, message: InFlightMessage) -> None:
        """ZeroMQ takes no message back: it stays here, and counts as in flight, until it can be settled."""
        delay = backoff_delay(message.attempts, random.random, base=BACKOFF, cap=MAX_BACKOFF)
        message.attempts += 1
        waiting: Deferred[None] = deferLater(self._reactor, delay)
        self._retrying.add(waiting)

        def over(result: Any) -> None:
            self._retrying.discard(waiting)
            if self._is_stopping:
                self._keep(message)
            else:
                self._deliver(message)

        waiting.addBoth(over)

    def _keep(self, message: InFlightMessage) -> None:
        """The node stops before the message is processed: store it as a dead letter."""
        letters = None if self._delivery is None else self._delivery.dead_letters
        if letters is None:
            if self._replies:
                self._reply(message, _stopped_reply(self._value.data_format, message.cid))
            else:
                self._parts.events.add('a message is lost', 'the node stops before it is processed', cid=message.cid)
            self._settle(message, 0)
            return
        history = DeliveryHistory().failed(time(), 'the node stopped before the message was processed')
        storing = letters.store(DeadLetter(message=self.make_message(message), history=history))
        self._storing.add(storing)

        def stored(result: Any) -> None:
            self._storing.discard(storing)
            if result is not None:
                self._parts.events.add('a message is lost', 'the node stops, and the message cannot be stored',
                                       cid=message.cid, failure=result)  # fmt: skip
            self._settle(message, 0)

        storing.addBoth(stored)

    def _settle(self, message: InFlightMessage, status_class: int) -> None:
        self._parts.meter.observe_response(status_class, self._reactor.seconds() - message.began)
        was_full = self.is_full
        self._in_flight.discard(message)
        self._bytes_in_flight -= message.size
        if was_full and self._receiver is not None:
            self._receiver.resume()
        changed, self._changed = self._changed, None
        if changed is not None:
            changed.callback(None)

    # Start and end

    async def _stop(self, receiver: Receiver) -> None:
        timer: IDelayedCall = self._reactor.callLater(self._environment.grace, self._end_grace)
        try:
            receiver.detach(self)
            for waiting in tuple(self._retrying):
                waiting.cancel()
            if self._registry.is_last_user(receiver) and not self._replies:
                await self._deliver_received(receiver)
            while self._in_flight:
                await self._one_settled()
        finally:
            if timer.active():
                timer.cancel()
            is_last = self._registry.is_last_user(receiver)
            self._registry.release(receiver)
            if is_last:
                receiver.socket.shutdown(LINGER)
            self._environment.channels.discard(self)
            self._receiver = None

    async def _deliver_received(self, receiver: Receiver) -> None:
        """Deliver what ZeroMQ has received already: it is lost when the socket is closed. A socket that listens gets
        nothing more when it stops listening; of others, which may get more all the time, as much as they keep."""
        left = self._value.receive_hwm * max(1, receiver.socket.peers.ready)
        receiver.release_addresses()
        while left and not self._is_grace_over:
            while self.is_full and not self._is_grace_over:
                await self._one_settled()
            frames = None if self._is_grace_over else receiver.socket.read_message()
            if frames is not None:
                left -= 1
                self.received(frames)
            elif receiver.socket.spec.is_bound and receiver.socket.peers.ready:
                await deferLater(self._reactor, DISCONNECT_PAUSE)  # ZeroMQ's threads have not disconnected them yet
            else:
                return

    def _one_settled(self) -> Deferred[None]:
        self._changed = Deferred()
        return self._changed

    def _end_grace(self) -> None:
        self._is_grace_over = True
        if self._delivery is not None:
            self._delivery.cancel()


def _stopped_reply(data_format: str, cid: str) -> bytes:
    """Return the reply to a request that is not processed, in Zato's form if its channel has JSON."""
    if data_format != 'json':
        return STOPPED.encode()
    return msgspec.json.encode({'zato_env': {'result': 'ZATO_ERROR', 'cid': cid, 'details': STOPPED}})


def _socket_spec(value: ZmqChannel) -> SocketSpec:
    prefixes: tuple[bytes, ...] = ()
    if value.socket_type == SUB:
        keys = dict.fromkeys([*([value.sub_key] if value.sub_key or not value.sub_keys else []), *value.sub_keys])
        prefixes = tuple(key.encode('utf-8') for key in keys)
    return SocketSpec(
        socket_type=value.socket_type, is_bound=value.socket_method == BIND, addresses=parse_addresses(value.address),
        prefixes=prefixes, receive_hwm=value.receive_hwm, max_message_size=value.max_message_size,
        **curve_of(value),
    )  # fmt: skip
