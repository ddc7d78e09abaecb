"""The outgoing IBM MQ connections of a node: `self.out.ibm_mq[name]`, and Zato's `self.outgoing.jms_wmq`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import msgspec

from zatotx.connectors.connection_definitions import refers_to_definition, require_active
from zatotx.connectors.connection_registry import ConnectionRegistry
from zatotx.connectors.outgoing_connections import ConnectionType, OutgoingConnections, Sources
from zatotx.interfaces.connector_kind import OutgoingContext
from zatotx.interfaces.meters import MetricRow
from zatotx.interfaces.outgoing import IOutgoingKind, IServiceCall
from zatotx.model.errors import BadRequest
from zatotx.schema.snapshot import StoredObject

from .connection import MqConnection
from .schema import DEFINITION
from .wire.jms import NONPERSISTENT_DELIVERY, PERSISTENT_DELIVERY, MessageToSend
from .wire.mqrfh2 import PropertyValue

KIND, OBJECT_TYPE = 'ibm_mq', 'outgoing_ibm_mq'


class MqNamespace:
    """The object `self.out.ibm_mq`, which is created for each service invocation."""

    __slots__ = ('_call', '_registry')

    def __init__(self, registry: ConnectionRegistry[MqConnection], call: IServiceCall) -> None:
        self._registry, self._call = registry, call

    def __getitem__(self, name: str) -> MqFacade:
        """Return the connection of that name. Raises NotFound, Inactive and ServiceUnavailable."""
        return MqFacade(self._registry.find(name, self._call.cid), self._call)

    def get(self, name: str) -> MqFacade:
        """The same as `[name]`."""
        return self[name]

    def send(self, msg: Any, out_name: str, *args: Any, **named: Any) -> Any:
        """Zato's form of `[out_name].send(msg, …)`."""
        return self[out_name].send(msg, *args, **named)


class MqFacade:
    """An outgoing IBM MQ connection, `self.out.ibm_mq[name]`, as seen by one service invocation."""

    def __init__(self, connection: MqConnection, call: IServiceCall) -> None:
        self._connection, self._call = connection, call

    def send(
        self,
        message: Any,
        queue: str = '',
        delivery_mode: int | None = None,
        expiration: int | None = None,
        priority: int | None = None,
        max_chars_printed: int | None = None,
        *,
        reply_to: str = '',
        correlation_id: str = '',
        properties: Mapping[str, PropertyValue] | None = None,
    ) -> Any:
        """Send a message: text, bytes, or a value that is sent as JSON. Gives its identifier, 'ID:' and 48 digits.

        `queue`: a name, or `queue://QUEUE_MANAGER/QUEUE`; '' = that of the connection. `delivery_mode`: 1 = not
        persistent, 2 = persistent. `expiration`: milliseconds, 0 = never. `reply_to`: the queue of the reply, which
        makes the message a request. None = as the connection is configured.
        `max_chars_printed` is accepted for services of Zato; bodies of messages are never logged.
        """
        value, cid = self._connection.value, self._call.cid
        delivery_mode = value.delivery_mode if delivery_mode is None else delivery_mode
        priority = value.priority if priority is None else priority
        expiration = (value.expiration or 0) if expiration is None else expiration
        self._check(cid, delivery_mode, priority, expiration)
        to_send = MessageToSend(
            body=_to_body(message, cid), queue=queue or value.queue, delivery_mode=delivery_mode, priority=priority,
            expiration=expiration, reply_to=reply_to, correlation_id=correlation_id, properties=properties or {},
            ccsid=value.ccsid,
        )  # fmt: skip
        return self._call.run(partial(self._connection.send, to_send, self._call))

    def ping(self) -> Any:
        """Ask the queue manager for its name. Gives its answer, for people."""
        return self._call.run(partial(self._connection.ping, self._call))

    def _check(self, cid: str, delivery_mode: int, priority: int, expiration: int) -> None:
        errors = []
        if delivery_mode not in (NONPERSISTENT_DELIVERY, PERSISTENT_DELIVERY):
            errors.append(f'delivery_mode must be 1 or 2, not {delivery_mode!r}')
        if not isinstance(priority, int) or not 0 <= priority <= 9:
            errors.append(f'priority must be 0-9, not {priority!r}')
        if not isinstance(expiration, int) or not 0 <= expiration < 2**31:
            errors.append(f'expiration must be milliseconds from 0 on, not {expiration!r}')
        if errors:
            raise BadRequest(cid, f'{self._connection.title}: {"; ".join(errors)}')


def _to_body(message: Any, cid: str) -> str | bytes:
    if isinstance(message, str | bytes):
        return message
    try:
        return msgspec.json.encode(message).decode()
    except (TypeError, ValueError) as error:
        raise BadRequest(cid, f'The message cannot be sent as JSON: {error}') from None


class MqOutgoingConnections(OutgoingConnections):
    """The outgoing IBM MQ connections of a node, and their metrics."""

    def __init__(self, context: OutgoingContext) -> None:
        self._context = context
        super().__init__(context, [
            ConnectionType(object_type=OBJECT_TYPE, kind=KIND, names=(KIND, 'jms_wmq'), namespace=MqNamespace,
                           build=self._build_connection, references=refers_to_definition(DEFINITION.key),
                           sends=('send',)),
        ])  # fmt: skip

    def metrics(self) -> Iterator[MetricRow]:
        """The figures of the metrics that the kind declares."""
        connections: Iterable[MqConnection] = self.registries[OBJECT_TYPE]
        yield 'zatotx_ibm_mq_stuck_calls', (), sum(connection.stuck_threads for connection in connections)

    def _build_connection(self, stored: StoredObject, references: Sources, title: str, meter: Any) -> MqConnection:
        return MqConnection(stored.value, require_active(references[0]), title, self._context, meter)


def make_outgoing(context: OutgoingContext) -> IOutgoingKind:
    """Create the outgoing IBM MQ connections of a node (ConnectorKind.outgoing)."""
    connections: IOutgoingKind = MqOutgoingConnections(context)
    return connections
