"""The outgoing FTP connections of a node. The FTP client is imported when the first connection is configured."""

from __future__ import annotations

from typing import Any

from zatotx.connectors.connection_registry import ConnectionRegistry
from zatotx.connectors.guaranteed_delivery import StoredCall
from zatotx.connectors.outgoing_connections import ConnectionType, OutgoingConnections, Sources
from zatotx.interfaces.connector_kind import OutgoingContext
from zatotx.interfaces.outgoing import IOutgoingKind, IServiceCall
from zatotx.schema.snapshot import StoredObject

KIND = 'ftp'
OBJECT_TYPE = 'outgoing_ftp'
# Methods that `delivery: guaranteed` stores: those of stored_files.METHODS.
SENDS = ('setcontents', 'appendcontents', 'remove', 'rename', 'makedir', 'removedir')


class FtpNamespace:
    """The object `self.out.ftp`, which is created for each service invocation."""

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


class StoredFtpNamespace(FtpNamespace):
    """The object `self.out.ftp` of the internal service that executes stored operations."""

    __slots__ = ()

    def __getitem__(self, name: str) -> Any:
        """Return what does the stored operations of the connection of that name. Raises as FtpNamespace does."""
        files = super().__getitem__(name)
        from zatotx.connectors.guaranteed_file_operations import StoredFileOperations
        from zatotx.plugins.ftp.error_mapping import is_final

        return StoredFileOperations(files, self._call, is_final)


def _prepare_stored(value: Any, call: StoredCall, message_id: str) -> StoredCall | None:
    """See ConnectionType.prepare_stored."""
    from zatotx.connectors.guaranteed_file_operations import prepare_file_operation_for_storage
    from zatotx.plugins.ftp.wire import path_error

    return prepare_file_operation_for_storage(call, f'{KIND}:{value.name}', path_error)


def make_outgoing(context: OutgoingContext) -> IOutgoingKind:
    """Create the outgoing FTP connections of a node (ConnectorKind.outgoing)."""

    def build(stored: StoredObject, references: Sources, title: str, meter: Any) -> Any:
        from zatotx.plugins.ftp.connection import FtpConnection

        return FtpConnection(stored.value, title, context, meter)

    connections: IOutgoingKind = OutgoingConnections(
        context,
        [
            ConnectionType(
                object_type=OBJECT_TYPE,
                kind=KIND,
                names=(KIND,),
                namespace=FtpNamespace,
                build=build,
                modules=('zatotx.plugins.ftp.connection', 'zatotx.connectors.guaranteed_file_operations'),
                sends=SENDS,
                prepare_stored=_prepare_stored,
                delivery_namespace=StoredFtpNamespace,
            ),
        ],
    )
    return connections
