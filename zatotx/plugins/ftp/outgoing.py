"""The outgoing FTP connections of a node. The client is loaded when the first connection is configured."""

from __future__ import annotations

from typing import Any

from zatotx.connectors.connection_registry import ConnectionRegistry
from zatotx.connectors.outgoing_connections import ConnectionType, OutgoingConnections, Sources
from zatotx.interfaces.connector_kind import OutgoingContext
from zatotx.interfaces.outgoing import IOutgoingKind, IServiceCall
from zatotx.schema.snapshot import StoredObject

KIND = 'ftp'
OBJECT_TYPE = 'outgoing_ftp'


class FtpNamespace:
    """The object `self.out.ftp` of one service invocation."""

    __slots__ = ('_call', '_registry')

    def __init__(self, registry: ConnectionRegistry[Any], call: IServiceCall) -> None:
        self._registry, self._call = registry, call

    def __getitem__(self, name: str) -> Any:
        """Return the files of the connection of that name, a RemoteFileSystem. Raises NotFound, Inactive and
        ServiceUnavailable."""
        connection = self._registry.find(name, self._call.cid)
        from zatotx.connectors.remote_files import RemoteFileSystem  # it is loaded: there is a connection

        return RemoteFileSystem(connection, self._call)

    def get(self, name: str) -> Any:
        """Zato's form of `[name]`."""
        return self[name]


def make_outgoing(context: OutgoingContext) -> IOutgoingKind:
    """Create the outgoing FTP connections of a node (ConnectorKind.outgoing)."""

    def build(stored: StoredObject, references: Sources, title: str, meter: Any) -> Any:
        from zatotx.plugins.ftp.connection import FtpConnection

        return FtpConnection(stored.value, title, context, meter)

    connections: IOutgoingKind = OutgoingConnections(context, [
        ConnectionType(object_type=OBJECT_TYPE, kind=KIND, names=(KIND,), namespace=FtpNamespace, build=build,
                       modules=('zatotx.plugins.ftp.connection',)),
    ])  # fmt: skip
    return connections
