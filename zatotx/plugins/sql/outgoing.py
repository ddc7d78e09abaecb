"""The SQL connections of a node. SQLAlchemy is imported when the first connection is configured."""

from __future__ import annotations

from typing import Any

from zatotx.connectors.lazy_imports import LazyNamespace
from zatotx.connectors.outgoing_connections import ConnectionType, OutgoingConnections, Sources
from zatotx.interfaces.connector_kind import OutgoingContext
from zatotx.interfaces.outgoing import IOutgoingKind
from zatotx.schema.snapshot import StoredObject


def make_outgoing(context: OutgoingContext) -> IOutgoingKind:
    """Create the SQL connections of a node (ConnectorKind.outgoing)."""

    def build(stored: StoredObject, references: Sources, title: str, meter: Any) -> Any:
        from zatotx.plugins.sql.connection import SqlConnection

        return SqlConnection(stored.value, title, context, meter)

    namespace = LazyNamespace('zatotx.plugins.sql.facade:SqlNamespace')
    connections: IOutgoingKind = OutgoingConnections(context, [
        ConnectionType(object_type='sql', kind='sql', names=('sql',), namespace=namespace, build=build,
                       modules=(namespace.module,)),
    ])  # fmt: skip
    return connections
