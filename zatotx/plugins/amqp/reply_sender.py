"""Sends the replies of services to the requests that a channel received.

Replies go over a connection of their own: a broker that is short of memory blocks connections that publish, and would
block the acknowledgments with them.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from twisted.internet.defer import CancelledError

from zatotx.connectors.channels import ChannelParts
from zatotx.connectors.ping import PingCall
from zatotx.interfaces.connector_kind import OutgoingContext
from zatotx.interfaces.meters import NullMeter
from zatotx.model.cid import new_cid
from zatotx.model.errors import BadRequest, ContentTooLarge, ServiceError
from zatotx.model.message import Reply
from zatotx.plugins.amqp.connection import AmqpConnection
from zatotx.plugins.amqp.message_builder import SendRequest
from zatotx.plugins.amqp.message_properties import STATUS_HEADER
from zatotx.plugins.amqp.metrics import ConnectionCounters
from zatotx.plugins.amqp.schema.definition_amqp import AmqpDefinition
from zatotx.plugins.amqp.schema.outgoing_amqp import AmqpOutgoing

TIMEOUT = 30.0  # seconds for a reply, including connecting


class ReplySender:
    """Sends the replies of one channel. Its connection is opened when the first reply is sent."""

    def __init__(self, parts: ChannelParts, definition: AmqpDefinition) -> None:
        context, self._events = parts.context, parts.events
        outgoing = OutgoingContext(reactor=context.reactor, settings={}, run_in_thread=context.run_in_thread)
        # RabbitMQ returns mandatory replies to its direct reply-to even where it delivers them.
        value = AmqpOutgoing(name='replies', definition=definition.name, timeout=TIMEOUT, delivery_mode=1,
                             mandatory=False)  # fmt: skip
        meter: Any = NullMeter()
        self._make = partial(AmqpConnection, value, definition, f'{parts.title}, its replies', outgoing, meter,
                             ConnectionCounters())  # fmt: skip
        self._connection: AmqpConnection | None = None

    async def send(self, request: Any, reply: Reply) -> bool:
        """Send a reply. `request`: the properties of the request. Returns False if it could not be sent, and the
        request should be processed again. Never raises."""
        if self._connection is None:
            self._connection = self._make()
        properties = {'content_type': reply.content_type.decode('latin-1') or None, 'priority': request.priority,
                      'correlation_id': request.correlation_id}  # fmt: skip
        message = SendRequest(message=reply.body, exchange='', routing_key=request.reply_to, properties=properties,
                              headers={STATUS_HEADER: reply.status})  # fmt: skip
        try:
            await self._connection.send(message, PingCall(new_cid()))
        except (BadRequest, ContentTooLarge) as error:  # it cannot be sent, however often it is tried
            self._events.add('a reply cannot be sent', error.msg)
        except CancelledError:
            return False
        except ServiceError as error:
            self._events.add('a reply is sent later', error.msg)
            return False
        return True

    async def stop(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            await self._connection.end()

    def findings(self) -> Iterator[str]:
        """Yield what keeps replies from being sent now."""
        if self._connection is not None:
            yield from self._connection.findings()
