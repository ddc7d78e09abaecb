"""The object type of outgoing AMQP connections."""

from __future__ import annotations

from typing import Annotated

import msgspec

from zatotx.schema.circuit_breaker_settings import CircuitBreakerSettings
from zatotx.schema.delivery_fields import OutgoingDelivery
from zatotx.schema.meta import ObjectType, ZatoApi, field

MEBIBYTE = 1024 * 1024
_MODES = {'non-persistent': 1, 'persistent': 2}


class AmqpRetry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The retry settings for messages that were not sent. Retries end when `timeout` expires. A message that may have
    been sent is not sent again."""

    attempts: Annotated[int, field('Maximum number of attempts, including the first', ge=1, le=20)] = 3
    backoff: Annotated[
        float, field('Maximum pause in seconds before the second attempt, doubled for each further one', ge=0, le=60)
    ] = 0.2


class AmqpOutgoing(OutgoingDelivery, frozen=True, kw_only=True):
    """An outgoing AMQP connection, with which services send messages: `self.out.amqp[name].send(message)`. The fields
    after `timeout` are the defaults of the messages that it sends."""

    name: Annotated[str, field('Name of the connection', min_length=1, max_length=200)]
    is_active: Annotated[bool, field('Whether services may use the connection')] = True
    definition: Annotated[str, field('Definition of the broker', ref='definition_amqp', min_length=1)]
    timeout: Annotated[
        float, field('Seconds for a message, including connecting and the confirmation of the broker', gt=0, le=86_400)
    ] = 10.0
    exchange: Annotated[str, field("Exchange; empty = the broker's default one, whose routing keys are queues",
                                   max_length=255)] = ''
    routing_key: Annotated[str, field('Routing key', max_length=255)] = ''
    mandatory: Annotated[
        bool, field('Whether a message that no queue gets is an error; false = the broker drops it')
    ] = True
    delivery_mode: Annotated[
        int, field('1 = not persistent; 2 = persistent: durable queues keep it over a restart of the broker', ge=1,
                   le=2, aliases=_MODES)
    ] = 2
    priority: Annotated[int, field('Priority of the messages', ge=0, le=9)] = 5
    content_type: Annotated[
        str, field('Content type; empty = that of what is sent: JSON, text or bytes', max_length=255)
    ] = ''
    content_encoding: Annotated[
        str, field('Content encoding; with gzip, text and JSON are compressed, bytes are sent as they are',
                   max_length=255)
    ] = ''
    expiration: Annotated[
        int, field('Milliseconds after which the broker drops a message that nobody has taken; none = never', ge=0,
                   le=2**32 - 1)
    ] | None = None
    user_id: Annotated[str, field('User id; the broker accepts only that of the account', max_length=255)] = ''
    app_id: Annotated[str, field('Id of the application that sends', max_length=255)] = ''
    max_in_flight: Annotated[
        int, field('Messages that wait for their confirmation at once; further ones wait', ge=1, le=100_000)
    ] = 1000
    max_in_flight_bytes: Annotated[
        int, field('Bytes of all messages that wait for their confirmation; further ones wait', ge=65_536, le=2**34)
    ] = 64 * MEBIBYTE
    max_size: Annotated[
        int, field("Bytes of the largest body; the broker's own limit is usually 16 MiB", ge=1024, le=512 * MEBIBYTE)
    ] = 16 * MEBIBYTE
    retry: Annotated[AmqpRetry, field('Repeats what was not sent; none = no retries')] | None = None
    circuit_breaker: (
        Annotated[CircuitBreakerSettings, field('Suspends sending to a failing broker; none = never')] | None
    ) = None


OUTGOING_AMQP = ObjectType(
    key='outgoing_amqp', struct=AmqpOutgoing, section='outgoing_amqp', title='Outgoing AMQP connection',
    zato=ZatoApi(prefix='outgoing.amqp', actions=('create', 'edit', 'delete', 'get-list', 'ping'),
                 zato_names={'definition': 'def_id'}),
)  # fmt: skip
