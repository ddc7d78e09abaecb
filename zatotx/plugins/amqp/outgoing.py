"""The outgoing AMQP connections of a node. The library pika is imported when the first connection is configured."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from zatotx.connectors.connection_definitions import refers_to_definition, require_active
from zatotx.connectors.connection_registry import ConnectionRegistry
from zatotx.connectors.guaranteed_delivery import StoredCall
from zatotx.connectors.outgoing_connections import ConnectionType, OutgoingConnections, Sources
from zatotx.interfaces.connector_kind import OutgoingContext
from zatotx.interfaces.meters import MetricRow
from zatotx.interfaces.outgoing import IOutgoingKind, IServiceCall
from zatotx.plugins.amqp.metrics import ConnectionMetrics
from zatotx.plugins.amqp.schema.definition_amqp import DEFINITION_AMQP, AmqpDefinition
from zatotx.schema.snapshot import StoredObject

KIND = 'amqp'
SENDS = ('send', 'send_many')


class _NoConnection:
    """`self.out.amqp` of a node without connections."""

    def __init__(self, registry: ConnectionRegistry[Any], call: IServiceCall) -> None:
        self._registry, self._call = registry, call

    def __getitem__(self, name: str) -> Any:
        return self._registry.find(name, self._call.cid)  # raises the error

    get = __getitem__

    def send(self, msg: Any, out_name: str, *args: Any, **options: Any) -> Any:
        """Raise the error that there is no such connection."""
        return self[out_name]


class AmqpOutgoingConnections(OutgoingConnections):
    """The outgoing AMQP connections of a node, and their metrics."""

    def __init__(self, context: OutgoingContext) -> None:
        self._context = context
        self.counters = ConnectionMetrics()
        super().__init__(context, [
            ConnectionType(
                object_type='outgoing_amqp', kind=KIND, names=('amqp',), namespace=_namespace,
                build=self._build_connection, references=refers_to_definition(DEFINITION_AMQP.key), sends=SENDS,
                prepare_stored=_prepare_stored,
                modules=('zatotx.plugins.amqp.facade', 'zatotx.plugins.amqp.stored_messages'),
            ),
        ])  # fmt: skip

    def metrics(self) -> Iterator[MetricRow]:
        """The figures of the metrics that the kind declares."""
        registry = self.registries['outgoing_amqp']
        return self.counters.rows({name: connection.is_blocked for name, connection in registry.connections.items()})

    def _build_connection(self, stored: StoredObject, references: Sources, title: str, meter: Any) -> Any:
        from zatotx.plugins.amqp.connection import AmqpConnection

        definition: AmqpDefinition = require_active(references[0])
        return AmqpConnection(stored.value, definition, title, self._context, meter, self.counters.get(stored.name))


def _namespace(registry: ConnectionRegistry[Any], call: IServiceCall) -> Any:
    if not registry.connections:
        return _NoConnection(registry, call)
    from zatotx.plugins.amqp.facade import AmqpNamespace

    return AmqpNamespace(registry, call)


def _prepare_stored(value: Any, call: StoredCall, message_id: str) -> StoredCall:
    """Return the form in which a call is stored. See stored_messages."""
    from zatotx.plugins.amqp.stored_messages import prepare_stored  # loaded with the first connection

    return prepare_stored(value, call, message_id)


def make_outgoing(context: OutgoingContext) -> IOutgoingKind:
    """Create the outgoing AMQP connections of a node (ConnectorKind.outgoing)."""
    connections: IOutgoingKind = AmqpOutgoingConnections(context)
    return connections
