"""An AMQP channel, which consumes a queue on a dedicated connection and delivers the messages to a service.

A message is acknowledged after its service has succeeded, and after the reply to a request was confirmed. What the
process has not acknowledged when it ends, or loses its connection, the broker delivers again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import msgspec
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import LoopingCall

from zatotx.connectors.channels import (
    ChannelParts,
    Channels,
    ChannelType,
    configured_nodes,
    configured_placement,
    make_channel_delivery,
)
from zatotx.connectors.connection_definitions import refers_to_definition, require_active
from zatotx.connectors.outgoing_connections import Sources
from zatotx.connectors.tls_settings import parse_tls_settings
from zatotx.interfaces.connector_kind import ChannelContext, IChannel
from zatotx.interfaces.meters import MetricRow
from zatotx.interfaces.pipeline import IDispatcher
from zatotx.model.cid import new_cid
from zatotx.plugins.amqp.metrics import ChannelMetrics, QueueCounters
from zatotx.plugins.amqp.schema.channel_amqp import DEAD_LETTER, REJECT, REQUEUE, AmqpChannel
from zatotx.plugins.amqp.schema.definition_amqp import DEFINITION_AMQP, AmqpDefinition, tls_settings
from zatotx.schema.delivery_fields import DeliveryRetry
from zatotx.schema.snapshot import StoredObject

KIND = 'amqp'
GRACE = 10.0  # seconds that messages under way get to finish
COUNT_INTERVAL = 15.0  # seconds between two counts of the messages that wait in the queue


class QueueChannel:
    """Implements InboundChannel for one configured AMQP channel, which consumes one queue."""

    def __init__(self, value: AmqpChannel, definition: AmqpDefinition, parts: ChannelParts, counters: QueueCounters,
                 grace: float) -> None:
        self.value, self._definition, self._parts, self._grace = value, definition, parts, grace
        self._counters = counters
        self._reactor: Any = parts.context.reactor
        self._consumer: Any = None  # QueueConsumer, while it runs
        self._counting: LoopingCall | None = None

    async def start(self, dispatcher: IDispatcher, lost: Callable[[str], None]) -> None:
        """See InboundChannel. Raises NotConnected, ChannelClosed and ConnectionLost."""
        await self._parts.context.run_in_thread(_import_driver)
        from zatotx.plugins.amqp.consumer import QueueConsumer

        delivery = make_channel_delivery(self._parts, dispatcher, delivery_keys(self.value))
        consumer = QueueConsumer(self.value, self._definition, self._parts, delivery, self._counters)
        await consumer.start(self._tag(), partial(self._consumer_lost, lost))
        self._consumer = consumer
        self._counting = LoopingCall(self._count_waiting)
        self._counting.clock = self._reactor
        self._counting.start(COUNT_INTERVAL)

    def stop(self) -> Deferred[None]:
        """See InboundChannel."""
        consumer, self._consumer = self._consumer, None
        self._stop_counting()
        return succeed(None) if consumer is None else Deferred.fromCoroutine(consumer.stop(self._grace))

    def findings(self) -> Iterator[str]:
        """See InboundChannel."""
        if self._consumer is not None:
            yield from self._consumer.findings()

    def _consumer_lost(self, lost: Callable[[str], None], reason: str) -> None:
        self._consumer = None
        self._stop_counting()
        lost(reason)

    def _stop_counting(self) -> None:
        self._counters.waiting = None
        counting, self._counting = self._counting, None
        if counting is not None and counting.running:
            counting.stop()

    def _tag(self) -> str:
        return f'{self.value.consumer_tag_prefix}:{os.uname().nodename}:{os.getpid()}:{new_cid()[:8]}'

    async def _count_waiting(self) -> None:
        consumer = self._consumer
        waiting = None if consumer is None else await consumer.count_waiting()
        if self._consumer is consumer:
            self._counters.waiting = waiting


def _import_driver() -> None:
    import zatotx.plugins.amqp.consumer  # noqa: F401 - takes long: it is imported in a thread


def delivery_keys(value: AmqpChannel) -> AmqpChannel:
    """Return the channel configuration with its delivery fields set according to the field `on_error`."""
    if value.on_error == REJECT:
        return _replace(value, dead_letter=False)
    if value.on_error == REQUEUE and value.retry is None:
        return _replace(value, retry=DeliveryRetry())
    if value.on_error == DEAD_LETTER:
        return _replace(value, retry=None)
    return value


def _replace(value: AmqpChannel, **fields: Any) -> AmqpChannel:
    return msgspec.structs.replace(value, **fields)


class AmqpChannels(Channels):
    """The AMQP channels of a node, and their counters."""

    def __init__(self, context: ChannelContext) -> None:
        self.counters = ChannelMetrics()
        self._grace = float(context.settings.get('grace', GRACE))
        super().__init__(context, [
            ChannelType(object_type='channel_amqp', kind=KIND, build=self._build_channel,
                        references=refers_to_definition(DEFINITION_AMQP.key), nodes=configured_nodes,
                        placement=configured_placement),
        ])  # fmt: skip

    def metrics(self) -> Iterator[MetricRow]:
        """The figures of the metrics that the kind declares."""
        return self.counters.rows()

    def _build_channel(self, stored: StoredObject, sources: Sources, parts: ChannelParts) -> QueueChannel:
        definition: AmqpDefinition = require_active(sources[0])
        parse_tls_settings(tls_settings(definition))
        return QueueChannel(stored.value, definition, parts, self.counters.get(stored.name), self._grace)


def make_channel(context: ChannelContext) -> IChannel:
    """Create the AMQP channels of a node (ConnectorKind.channel)."""
    channel: IChannel = AmqpChannels(context)
    return channel
