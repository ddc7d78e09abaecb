"""The SQL connections of a node. SQLAlchemy is imported when the first connection is configured."""

from __future__ import annotations

from typing import Any

from zatotx.connectors.connection_registry import ConnectionRegistry
from zatotx.connectors.outgoing_connections import ConnectionType, OutgoingConnections, Sources
from zatotx.interfaces.connector_kind import OutgoingContext
from zatotx.interfaces.outgoing import IOutgoingKind, IServiceCall
from zatotx.schema.snapshot import StoredObject


class _NoConnection:
    """`self.out.sql` of a node without connections."""

    def __init__(self, registry: ConnectionRegistry[Any], call: IServiceCall) -> None:
        self._registry, self._call = registry, call

    def __getitem__(self, name: str) -> Any:
        return self._registry.find(name, self._call.cid)  # raises the error

    get = __getitem__


def make_outgoing(context: OutgoingContext) -> IOutgoingKind:
    """See ConnectorKind.outgoing."""

    def build(stored: StoredObject, references: Sources, title: str, meter: Any) -> Any:
        from zatotx.plugins.sql.connection import SqlConnection

        return SqlConnection(stored.value, title, context, meter)

    def namespace(registry: ConnectionRegistry[Any], call: IServiceCall) -> Any:
        if not registry.connections:
            return _NoConnection(registry, call)
        from zatotx.plugins.sql.facade import SqlNamespace

        return SqlNamespace(registry, call)

    connections: IOutgoingKind = OutgoingConnections(context, [
        ConnectionType(object_type='sql', kind='sql', names=('sql',), namespace=namespace, build=build,
                       modules=('zatotx.plugins.sql.facade',)),
    ])  # fmt: skip
    return connections
