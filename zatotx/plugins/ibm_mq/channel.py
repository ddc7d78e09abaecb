"""The IBM MQ channels of a node, which deliver the messages of queues to services."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from attrs import define, field
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.interfaces import IDelayedCall
from twisted.python.failure import Failure

from zatotx.connectors.channels import (
    ChannelParts,
    Channels,
    ChannelType,
    configured_nodes,
    configured_placement,
    make_channel_delivery,
)
from zatotx.connectors.connection_definitions import refers_to_definition, require_active
from zatotx.connectors.connection_supervisor import ConnectionState, ConnectionSupervisor
from zatotx.connectors.failure_log import FailureLog, FailureLogGroup
from zatotx.connectors.inbound_delivery import MessageDelivery
from zatotx.connectors.outgoing_connections import Sources
from zatotx.interfaces.connector_kind import ChannelContext, IChannel
from zatotx.interfaces.inbound_delivery import DeadLetter, IDeadLetterSink, InboundDelivery
from zatotx.interfaces.meters import MetricRow
from zatotx.interfaces.pipeline import IDispatcher
from zatotx.model.cid import new_cid
from zatotx.model.errors import NoSuchService, ServiceError
from zatotx.model.message import ChannelSpec, Message, Reply
from zatotx.rules.resilience.inbound_retry import DeliveryHistory, is_permanent_failure
from zatotx.schema.snapshot import StoredObject

from .abandoned_threads import AbandonedThreads
from .consumer_thread import COMMITTED, ConsumerSettings, ConsumerThread, Decision, ReplyMessage, Settlement
from .driver_loading import DriverUnavailable, connect
from .metrics import MqCounters
from .mqi_interfaces import Connect, GotMessage, MqiError
from .schema import BACK_OUT, DEFINITION, MqChannel, MqDefinition, connect_options
from .wire.ccsid import UTF_8
from .wire.descriptor import REQUEST, STRING_FORMAT, reply_descriptor
from .wire.jms import DecodedMessage, JmsHeaders, id_text

KIND = 'jms-wmq'  # Zato's name of the channel
GRACE = 10.0  # seconds that messages under way get to finish
STUCK_AFTER = 15.0  # seconds after which a call counts as stuck, without the wait of MQGET
CHECK_INTERVAL = 1.0
WAIT = 1.0  # seconds that one MQGET waits, at most
FIRST_ATTEMPT = 2.0  # seconds that the start of a channel waits for its consumers


class ReceivingChannel:
    """Implements InboundChannel and ConsumerOwner for one configured channel."""

    def __init__(self, value: MqChannel, definition: MqDefinition, parts: ChannelParts,
                 resources: ConsumerResources) -> None:
        self.value, self._parts, self._resources = value, parts, resources
        self._reactor: Any = parts.context.reactor
        self._grace = float(parts.context.settings.get('grace', GRACE))
        self._settings = ConsumerSettings(
            name=parts.title, wait=float(parts.context.settings.get('get_wait', WAIT)),
            options=connect_options(definition), queue=value.queue, max_backouts=value.max_backouts,
            max_message_size=definition.max_message_size, use_jms=value.use_jms,
        )  # fmt: skip
        self._spec = ChannelSpec(name=value.name, kind=KIND, service=value.service, data_format=value.data_format,
                                 timeout=value.timeout)  # fmt: skip
        self._slots: list[_Slot] = []
        self._delivery: MessageDelivery | None = None
        self._check_timer: IDelayedCall | None = None

    # InboundChannel

    async def start(self, dispatcher: IDispatcher, lost: Callable[[str], None]) -> None:
        """See InboundChannel. Consumers that cannot connect are findings, and try again."""
        self._delivery = make_channel_delivery(self._parts, dispatcher, self.value)
        if self.value.on_error == BACK_OUT:
            self._delivery.dead_letters = None  # `give_up` stores them where there is no back-out queue
            self._delivery.failed_event = 'the service of a message failed'
        self._resources.channels[self.value.name] = self
        failures = FailureLogGroup(self._parts.title, self._reactor.seconds)
        self._slots = [_Slot(self, self._parts.title, self._reactor, failures.make_log())
                       for _ in range(self.value.consumers)]  # fmt: skip
        self._check_timer = self._reactor.callLater(CHECK_INTERVAL, self._check_calls)
        attempts = [slot.start() for slot in self._slots]
        attempted: Deferred[Any] = gatherResults(attempts, consumeErrors=True)  # those that the timeout cancels
        attempted.addTimeout(FIRST_ATTEMPT, self._reactor, lambda result, seconds: None)
        try:
            await attempted
        except BaseException:  # the channel stops while it starts
            self.stop()
            raise

    def stop(self) -> Deferred[None]:
        """See InboundChannel. What is not settled in time is backed out."""
        if self._resources.channels.get(self.value.name) is self:
            del self._resources.channels[self.value.name]
        if self._check_timer is not None and self._check_timer.active():
            self._check_timer.cancel()
        timer = self._reactor.callLater(self._grace, self._cancel)
        last = self._reactor.callLater(self._grace + 2 * WAIT, self._abandon)
        return Deferred.fromCoroutine(self._stopped(timer, last))

    async def _stopped(self, *timers: IDelayedCall) -> None:
        await gatherResults([slot.stop() for slot in self._slots])
        for timer in timers:
            if timer.active():
                timer.cancel()

    def findings(self) -> Iterator[str]:
        """See InboundChannel."""
        for cause in dict.fromkeys(slot.cause for slot in self._slots if slot.cause):
            down = sum(slot.cause == cause for slot in self._slots)
            yield f'{self._parts.title}: {down} of {len(self._slots)} consumers do not run: {cause}'

    def figures(self) -> tuple[int, int, int | None]:
        """The consumers that are connected, the messages in flight, and the depth of the queue."""
        up = [slot.consumer for slot in self._slots if slot.consumer is not None and slot.is_up]
        depths = [consumer.depth for consumer in up if consumer.depth is not None]
        in_flight = 0 if self._delivery is None else len(self._delivery.pending)
        return len(up), in_flight, max(depths, default=None)

    def make_consumer(self) -> ConsumerThread:
        """Return a new consumer, not yet started. Raises TooManyAbandonedThreads."""
        self._resources.stuck.require_capacity()
        return ConsumerThread(self._settings, self._resources.connect, self, self._reactor)

    def abandon(self, consumer: ConsumerThread) -> None:
        """Give up a consumer whose call does not return."""
        self._resources.stuck.add(consumer)
        consumer.abandon()

    # ConsumerOwner

    def consumer_up(self, consumer: ConsumerThread) -> None:
        """See ConsumerOwner."""
        for slot in self._slots:
            slot.consumer_up(consumer)

    def consumer_ended(self, consumer: ConsumerThread, error: Exception | None) -> None:
        """See ConsumerOwner."""
        self._resources.stuck.discard(consumer)
        for slot in self._slots:
            slot.consumer_ended(consumer, error)

    def received(self, consumer: ConsumerThread, message: DecodedMessage) -> None:
        """See ConsumerOwner."""
        self._parts.meter.requests += 1
        if message.descriptor.backout_count:
            self._resources.counters.redelivered += 1
        began = self._reactor.seconds()
        assert self._delivery is not None
        self._delivery.deliver(InboundDelivery(
            make_message=partial(self._message, message), key=id_text(message.descriptor.message_id),
            ack=partial(self._processed, consumer, message, began), nack=partial(self._failed, consumer, began),
        ))  # fmt: skip

    def moved(self, consumer: ConsumerThread, queue: str, cause: str) -> None:
        """See ConsumerOwner."""
        self._resources.counters.rejected += 1
        self._parts.events.add(f'a message was moved to the back-out queue {queue}', cause)

    def give_up(self, consumer: ConsumerThread, message: GotMessage, cause: str) -> None:
        """See ConsumerOwner."""
        self._resources.counters.rejected += 1
        letters = self._parts.context.dead_letters if self.value.dead_letter else None
        self._parts.events.add('a message was given up', cause)
        if letters is None:
            consumer.settle(Settlement(decision=Decision.COMMIT))
            return
        raw = DecodedMessage(body=message.data, is_text=False, descriptor=message.descriptor,
                             format=message.descriptor.format)  # fmt: skip
        letter = DeadLetter(message=self._message(raw), history=DeliveryHistory().failed(time.time(), cause),
                            id=id_text(message.descriptor.message_id))  # fmt: skip
        Deferred.fromCoroutine(self._store(consumer, letters, letter))

    def reply_failed(self, consumer: ConsumerThread, reply: ReplyMessage, cause: str) -> None:
        """See ConsumerOwner."""
        self._resources.counters.failed_replies += 1
        self._parts.events.add(f'a reply could not be put on {reply.queue}',
                               f'the reply to {id_text(reply.descriptor.correlation_id)} {cause}')  # fmt: skip

    # Deliveries

    def _message(self, decoded: DecodedMessage) -> Message:
        deadline = self._reactor.seconds() + self.value.timeout
        return Message(new_cid(), self._spec, self._spec.service, JmsHeaders(decoded), decoded.body, deadline)

    def _processed(self, consumer: ConsumerThread, message: DecodedMessage, began: float, reply: Reply | None) -> None:
        self._count(2, began)
        answer = self._reply(message, reply)
        consumer.settle(COMMITTED if answer is None else Settlement(decision=Decision.COMMIT, reply=answer))

    def _failed(self, consumer: ConsumerThread, began: float, reply: Reply | None, *, requeue: bool) -> None:
        self._count(0 if reply is None else reply.status // 100, began)
        if reply is None or requeue:  # the channel stops, or what keeps processed keys or dead letters is away
            decision = Decision.HOLD
        elif self.value.on_error != BACK_OUT:
            decision = Decision.COMMIT  # it is a dead letter already
        elif isinstance(reply.error, NoSuchService):
            decision = Decision.HOLD
        else:
            decision = Decision.REJECT if is_permanent_failure(reply.status) else Decision.BACK_OUT
        self._resources.counters.backed_out += decision is Decision.BACK_OUT
        cause = '' if reply is None else f'its service failed: {reply.error}'
        consumer.settle(Settlement(decision=decision, cause=cause))

    def _reply(self, message: DecodedMessage, reply: Reply | None) -> ReplyMessage | None:
        """The reply to a request that names a queue for it, as text in UTF-8."""
        request = message.descriptor
        if reply is None or request.message_type != REQUEST or not request.reply_to_queue:
            return None
        return ReplyMessage(
            queue=request.reply_to_queue, queue_manager=request.reply_to_queue_manager,
            descriptor=reply_descriptor(request, ccsid=UTF_8, format=STRING_FORMAT), data=reply.body,
        )  # fmt: skip

    async def _store(self, consumer: ConsumerThread, letters: IDeadLetterSink, letter: DeadLetter) -> None:
        decision = Decision.COMMIT
        try:
            await letters.store(letter)
        except Exception as error:
            self._parts.events.add('a dead letter cannot be stored, so the message stays on its queue', str(error),
                                   failure=None if isinstance(error, ServiceError) else Failure())  # fmt: skip
            decision = Decision.BACK_OUT
        consumer.settle(Settlement(decision=decision))

    def _count(self, status_class: int, began: float) -> None:
        self._parts.meter.observe_response(status_class, self._reactor.seconds() - began)

    # The end

    def _cancel(self) -> None:
        if self._delivery is not None:
            self._delivery.cancel()

    def _abandon(self) -> None:
        for slot in self._slots:
            slot.abandon()

    def _check_calls(self) -> None:
        self._check_timer = self._reactor.callLater(CHECK_INTERVAL, self._check_calls)
        for slot in self._slots:
            slot.check_call(time.monotonic() - STUCK_AFTER - WAIT)

    def connection_lost(self) -> None:
        """A consumer has lost its connection."""
        self._resources.counters.lost_connections += 1


class _Slot:
    """One of the consumers of a channel, through all its connections."""

    def __init__(self, channel: ReceivingChannel, title: str, reactor: Any, failures: FailureLog) -> None:
        self._channel, self._reactor = channel, reactor
        self.consumer: ConsumerThread | None = None
        self._connecting: Deferred[None] | None = None
        self._stopping: Deferred[None] | None = None
        self._attempted: Deferred[None] | None = None
        self._supervisor: ConnectionSupervisor[ConsumerThread] = ConnectionSupervisor(
            title, self._connect, self._close, clock=reactor, up=_ignore, down=_ignore, failures=failures
        )

    @property
    def is_up(self) -> bool:
        """Whether the consumer is connected."""
        return self._supervisor.state is ConnectionState.UP

    @property
    def cause(self) -> str:
        """Why the consumer is not connected; '' while it is."""
        return '' if self.is_up else self._supervisor.failures.cause

    def start(self) -> Deferred[None]:
        """Fires when the first attempt to connect has ended."""
        attempted = self._attempted = Deferred()
        self._supervisor.start()
        return attempted

    def stop(self) -> Deferred[None]:
        """Fires when the thread has ended, or was given up."""
        return self._supervisor.stop()

    def abandon(self) -> None:
        """Give the consumer up if it has not ended."""
        consumer = self.consumer
        if consumer is not None:
            self.consumer = None
            self._channel.abandon(consumer)
            self._ended()

    def check_call(self, latest: float) -> None:
        """Give the consumer up if its call began before `latest`, on the monotonic clock."""
        consumer = self.consumer
        began = None if consumer is None else consumer.call_began
        if began is not None and began < latest and self.is_up:
            self._channel.connection_lost()
            self.abandon()
            self._supervisor.lost(f'a call of the client library has not returned for {STUCK_AFTER + WAIT:g} s')

    def consumer_up(self, consumer: ConsumerThread) -> None:
        """A consumer is connected, which may be another slot's."""
        if consumer is self.consumer and self._connecting is not None:
            connecting, self._connecting = self._connecting, None
            connecting.callback(None)

    def consumer_ended(self, consumer: ConsumerThread, error: Exception | None) -> None:
        """The thread of a consumer has ended, which may be another slot's."""
        if consumer is not self.consumer:
            return
        self.consumer = None
        reason = _sentence(error)
        if self._connecting is not None:
            connecting, self._connecting = self._connecting, None
            connecting.errback(RuntimeError(reason))
        elif self._stopping is None:
            self._channel.connection_lost()
            self._supervisor.lost(reason)
        self._ended()

    async def _connect(self) -> ConsumerThread:
        try:
            consumer = self._channel.make_consumer()
            self.consumer, self._connecting = consumer, Deferred()
            consumer.start()
            try:
                await self._connecting
            except CancelledError:  # it takes too long, or the channel stops
                self._connecting = None
                self.abandon()
                raise
            return consumer
        finally:
            attempted, self._attempted = self._attempted, None
            if attempted is not None:
                self._reactor.callLater(0, attempted.callback, None)  # when the supervisor knows the result

    async def _close(self, consumer: ConsumerThread) -> None:
        if self.consumer is consumer:
            self._stopping = Deferred()
            consumer.stop()
            await self._stopping

    def _ended(self) -> None:
        stopping, self._stopping = self._stopping, None
        if stopping is not None:
            stopping.callback(None)


@define(eq=False)
class ConsumerResources:
    """The resources that the channels of a process share."""

    connect: Connect
    counters: MqCounters = field(factory=MqCounters)
    stuck: AbandonedThreads = field(factory=AbandonedThreads)
    channels: dict[str, ReceivingChannel] = field(factory=dict)  # those that run


class MqChannels(Channels):
    """The IBM MQ channels of a node."""

    def __init__(self, context: ChannelContext, connect: Connect = connect) -> None:
        self.resources = ConsumerResources(connect)
        super().__init__(context, [
            ChannelType(object_type='channel_ibm_mq', kind=KIND, build=self._build_channel,
                        references=refers_to_definition(DEFINITION.key), nodes=configured_nodes,
                        placement=configured_placement),
        ])  # fmt: skip

    def metrics(self) -> Iterator[MetricRow]:
        """The figures of the metrics that the kind declares."""
        figures = {name: channel.figures() for name, channel in self.resources.channels.items()}
        return self.resources.counters.rows(len(self.resources.stuck), figures)

    def _build_channel(self, stored: StoredObject, sources: Sources, parts: ChannelParts) -> ReceivingChannel:
        return ReceivingChannel(stored.value, require_active(sources[0]), parts, self.resources)


def make_channel(context: ChannelContext) -> IChannel:
    """Create the IBM MQ channels of a node (ConnectorKind.channel)."""
    channel: IChannel = MqChannels(context)
    return channel


def _sentence(error: Exception | None) -> str:
    if isinstance(error, MqiError | DriverUnavailable):
        return f'it {error}'
    return 'its thread has ended' if error is None else f'its thread has failed: {type(error).__name__}'


def _ignore(*args: object) -> None:
    """Nothing is to be done when a consumer connects or is lost."""
