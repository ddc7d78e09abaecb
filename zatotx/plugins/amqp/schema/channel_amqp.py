"""The object type of AMQP channels, which deliver the messages of a queue to a service."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from zatotx.schema.meta import ObjectType, ZatoApi, field
from zatotx.schema.placement_fields import PlacedChannelBase

MEBIBYTE = 1024 * 1024
QUORUM, CLASSIC = 'quorum', 'classic'
REQUEUE, REJECT, DEAD_LETTER = 'requeue', 'reject', 'dead_letter'
DEFAULT_PREFETCH = 50
_ZATO_NAMES = {'prefetch_count': 'prefetch', 'pool_size': 'consumers'}


class AmqpBinding(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A binding of a declared queue to an exchange."""

    exchange: Annotated[str, field('Name of the exchange', min_length=1, max_length=255)]
    routing_key: Annotated[str, field('Routing key, or pattern of a topic exchange', max_length=255)] = ''
    arguments: Annotated[dict[str, Any], field('Arguments of the binding, e.g. of a headers exchange')] = {}
    exchange_type: Annotated[
        str, field('Declares the exchange with this type, durable; empty = it exists',
                   choices=('', 'direct', 'fanout', 'topic', 'headers'))
    ] = ''


class AmqpQueue(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The declaration of a channel's queue."""

    type: Annotated[str, field('Type of the queue', choices=(QUORUM, CLASSIC))] = QUORUM
    durable: Annotated[bool, field('Whether the queue survives a restart of the broker')] = True
    auto_delete: Annotated[bool, field('Whether the broker deletes the queue when its last consumer is gone')] = False
    bindings: Annotated[list[AmqpBinding], field('Exchanges that route messages to the queue', max_length=100)] = []
    arguments: Annotated[
        dict[str, Any], field('Arguments of the queue, such as x-dead-letter-exchange, x-max-priority or '
                              'x-single-active-consumer')
    ] = {}  # fmt: skip


class AmqpChannel(PlacedChannelBase, frozen=True, kw_only=True):
    """An AMQP channel, which delivers the messages of a queue to a service. A message is acknowledged after its service
    has succeeded."""

    name: Annotated[str, field('Name of the channel', min_length=1, max_length=200)]
    is_active: Annotated[bool, field('Whether messages are consumed')] = True
    definition: Annotated[str, field('Definition of the broker', ref='definition_amqp', min_length=1)]
    queue: Annotated[str, field('Name of the queue', min_length=1, max_length=255)]
    service: Annotated[str, field('Service that gets the messages', ref='service', min_length=1)]
    consumer_tag_prefix: Annotated[str, field('What the consumer tags begin with', max_length=100)] = 'zatotx'
    data_format: Annotated[
        str, field('Format of the bodies; empty = the service gets the bytes', choices=('', 'json', 'xml', 'form'))
    ] = ''
    prefetch: Annotated[
        int, field('Messages of one consumer that may be in progress at once; 0 = 50', ge=0, le=65_535)
    ] = 0
    consumers: Annotated[int, field('Consumers of one node', ge=1, le=100)] = 1
    exclusive: Annotated[
        bool, field('Whether no other consumer of the queue is allowed, which keeps the order')
    ] = False
    consumer_priority: Annotated[
        int, field('The broker prefers consumers with a higher number', ge=-1000, le=1000)
    ] = 0
    timeout: Annotated[float, field('Seconds that the service may take for a message', gt=0, le=86_400)] = 60.0
    on_error: Annotated[
        str, field('What becomes of a message whose service fails. requeue: it is retried as `retry` says, by default '
                   'three times, and then becomes a dead letter here; dead_letter: it becomes one at once; reject: '
                   'the broker drops it, or routes it to the dead letter exchange of the queue',
                   choices=(REQUEUE, REJECT, DEAD_LETTER))
    ] = REQUEUE  # fmt: skip
    max_size: Annotated[
        int, field('Bytes of the largest body, as received and as decompressed; larger messages become dead letters',
                   ge=1024, le=256 * MEBIBYTE)
    ] = 8 * MEBIBYTE
    max_in_flight_bytes: Annotated[
        int, field('Bytes of all bodies that are in progress; above it the node reads no further from the broker',
                   ge=65_536, le=2**34)
    ] = 64 * MEBIBYTE
    max_deliveries: Annotated[
        int, field('Deliveries of one message, as counted by a quorum queue, after which it becomes a dead letter '
                   'without its service: it may be what ends the process; 0 = no limit', ge=0, le=1_000_000)
    ] = 20
    key_group: Annotated[
        str, field('Messages of one group are processed one after another, in their order: routing_key, or '
                   'header:NAME; empty = all at the same time', max_length=300,
                   pattern=r'^(|routing_key|header:.*\S.*)$')
    ] = ''  # fmt: skip
    declare: Annotated[AmqpQueue | None, field('Declares the queue; none = it must exist')] = None

    @property
    def prefetch_count(self) -> int:
        """Messages of one consumer that may be in progress at once."""
        return self.prefetch or DEFAULT_PREFETCH


def flag_errors(value: AmqpChannel) -> list[tuple[str, str]]:
    """Return the validation errors that involve several fields of a channel."""
    errors = []
    if value.on_error == DEAD_LETTER and not value.dead_letter:
        errors.append(('dead_letter', 'must be true where on_error is dead_letter'))
    if value.exclusive and value.consumers > 1:
        errors.append(('consumers', 'must be 1 where the consumer is exclusive'))
    if value.max_in_flight_bytes < value.max_size:
        errors.append(('max_in_flight_bytes', 'must not be below max_size'))
    if value.declare is not None:
        errors += [(f'declare.{name}', text) for name, text in _queue_errors(value.declare)]
    return errors


def _queue_errors(queue: AmqpQueue) -> list[tuple[str, str]]:
    errors = []
    if queue.type == QUORUM and not queue.durable:
        errors.append(('durable', 'must be true: quorum queues are durable'))
    if queue.type == QUORUM and queue.auto_delete:
        errors.append(('auto_delete', 'must be false: quorum queues are not deleted automatically'))
    if 'x-queue-type' in queue.arguments:
        errors.append(('arguments', 'must not have x-queue-type, which `type` says'))
    return errors


def arguments_of(queue: AmqpQueue) -> Mapping[str, Any]:
    """Return the arguments with which a queue is declared. For a quorum queue they disable the delivery limit, because
    RabbitMQ 4 otherwise drops a message after 20 deliveries."""
    own = {'x-queue-type': QUORUM, 'x-delivery-limit': -1} if queue.type == QUORUM else {'x-queue-type': CLASSIC}
    return {**own, **queue.arguments}


def _normalize(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """Accept the names of Zato 3: prefetch_count, pool_size and ack_mode."""
    changed = {_ZATO_NAMES.get(name, name): value for name, value in fields.items() if name != 'ack_mode'}
    if fields.get('ack_mode') == REJECT:
        changed.setdefault('on_error', REJECT)
    return changed


CHANNEL_AMQP = ObjectType(
    key='channel_amqp', struct=AmqpChannel, section='channel_amqp', title='AMQP channel',
    zato=ZatoApi(prefix='channel.amqp', zato_names={'definition': 'def_id'}),
    validate=flag_errors, normalize=_normalize,
)  # fmt: skip
