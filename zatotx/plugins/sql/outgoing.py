"""The SQL connections of a node. SQLAlchemy is imported when the first connection is configured."""

from __future__ import annotations

from typing import Any

from zatotx.connectors.guaranteed_delivery import StoredCall
from zatotx.connectors.lazy_modules import LazyNamespace
from zatotx.connectors.outgoing_connections import ConnectionType, OutgoingConnections, Sources
from zatotx.interfaces.connector_kind import OutgoingContext
from zatotx.interfaces.outgoing import IOutgoingKind
from zatotx.schema.snapshot import StoredObject

_STORED = 'zatotx.plugins.sql.stored_statements'
SENDS = ('execute', 'execute_many')  # those that return no rows


def make_outgoing(context: OutgoingContext) -> IOutgoingKind:
    """Create the SQL connections of a node (ConnectorKind.outgoing)."""

    def build(stored: StoredObject, references: Sources, title: str, meter: Any) -> Any:
        from zatotx.plugins.sql.connection import SqlConnection

        return SqlConnection(stored.value, title, context, meter)

    namespace = LazyNamespace('zatotx.plugins.sql.facade:SqlNamespace')
    delivery_namespace = LazyNamespace(f'{_STORED}:StoredStatements')
    connections: IOutgoingKind = OutgoingConnections(context, [
        ConnectionType(object_type='sql', kind='sql', names=('sql',), namespace=namespace, build=build,
                       modules=(namespace.module, _STORED), sends=SENDS, prepare_stored=_prepare_stored,
                       delivery_namespace=delivery_namespace),
    ])  # fmt: skip
    return connections


def _prepare_stored(value: Any, call: StoredCall, message_id: str) -> StoredCall | None:
    """See ConnectionType.prepare_stored."""
    from zatotx.plugins.sql.stored_statements import prepare_stored

    return prepare_stored(value, call, message_id)
