"""Declares the queue, exchanges and bindings that are configured for an AMQP channel."""

from __future__ import annotations

from zatotx.plugins.amqp.driver import BrokerChannel, BrokerConnection
from zatotx.plugins.amqp.errors import NOT_FOUND, PRECONDITION_FAILED, ChannelClosed
from zatotx.plugins.amqp.schema.channel_amqp import QUORUM, AmqpChannel, arguments_of


async def declare(connection: BrokerConnection, value: AmqpChannel) -> None:
    """Declare the queue and its bindings, or check that the queue exists. Raises ConnectionLost, and ChannelClosed,
    whose message says which part of the configuration is wrong."""
    channel = await connection.open_channel()
    try:
        await _declare(channel, value)
    except ChannelClosed as error:
        raise ChannelClosed(_explain(error, value), error.code) from error
    finally:
        channel.close()


async def drops_messages(connection: BrokerConnection, queue: str) -> bool:
    """Return whether an existing queue drops messages after several deliveries. This is the case for a quorum queue
    with a delivery limit, which RabbitMQ 4 sets by default, and without a dead letter exchange. Returns False if the
    answer cannot be determined, for example because of policies.

    The broker compares a declaration with the queue, and names the first attribute that differs; it looks at the dead
    letter exchange before the limit. Raises ConnectionLost.
    """
    channel = await connection.open_channel()
    try:
        await channel.declare_queue(queue, arguments={'x-queue-type': QUORUM, 'x-delivery-limit': -1})
    except ChannelClosed as error:
        return error.code == PRECONDITION_FAILED and "'x-delivery-limit'" in str(error)
    finally:
        channel.close()
    return False


async def _declare(channel: BrokerChannel, value: AmqpChannel) -> None:
    queue = value.declare
    if queue is None:
        await channel.declare_queue(value.queue, passive=True)
        return
    await channel.declare_queue(value.queue, durable=queue.durable, auto_delete=queue.auto_delete,
                                arguments=arguments_of(queue))  # fmt: skip
    for binding in queue.bindings:
        if binding.exchange_type:
            await channel.declare_exchange(binding.exchange, binding.exchange_type)
        await channel.bind_queue(value.queue, binding.exchange, binding.routing_key, binding.arguments)


def _explain(error: ChannelClosed, value: AmqpChannel) -> str:
    if error.code == NOT_FOUND and value.declare is None:
        return f'the queue does not exist: declare it at the broker, or by `declare` of the channel ({error})'
    if error.code == PRECONDITION_FAILED and 'inequivalent' in str(error):
        return f'the broker has it with other attributes than `declare` says: make both the same ({error})'
    return str(error)
