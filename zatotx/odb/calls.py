"""The parts of IConfigStore that deal with deployed code and with nodes; see the interface for each method."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import Deferred

from zatotx.interfaces.config import FileVersion, NodeRow
from zatotx.odb import code_versions as versions
from zatotx.odb import nodes
from zatotx.odb.database import AsyncDatabase
from zatotx.odb.sequences import next_epoch
from zatotx.schema.snapshot import Actor


class CodeStore:
    """Stores versions of deployed files."""

    __slots__ = ()
    _odb: AsyncDatabase

    def add_version(
        self, file: str, form: str, content: bytes, services: Sequence[str], actor: Actor
    ) -> Deferred[FileVersion]:
        new = versions.NewFileVersion(file=file, form=form, content=content, services=services)
        return self._odb.transact(actor, lambda t: versions.add_version(t, new))

    def activate_version(self, file: str, number: int | None, actor: Actor) -> Deferred[FileVersion]:
        return self._odb.transact(actor, lambda t: versions.activate_version(t, file, number))

    def versions(self, file: str | None = None) -> Deferred[list[FileVersion]]:
        return self._odb.read(lambda connection, cluster: versions.list_versions(connection, cluster, file))

    def version_content(self, version_id: int) -> Deferred[bytes]:
        return self._odb.read(lambda connection, cluster: versions.version_content(connection, cluster, version_id))


class NodeStore:
    """Stores servers, their workers, their deployment results, and sequences."""

    __slots__ = ()
    _odb: AsyncDatabase

    def register_node(self, name: str, host: str, port: int, pid: int, worker: int = 0) -> Deferred[NodeRow]:
        address = nodes.NodeAddress(name=name, host=host, port=port, pid=pid, worker=worker)
        return self._odb.write(lambda connection, cluster: nodes.register_node(connection, cluster, address))

    def record_heartbeat(self, node_id: int, applied_revision: int, version_results: dict[int, str]) -> Deferred[int]:
        return self._odb.write(
            lambda connection, cluster: nodes.record_heartbeat(
                connection, cluster, node_id, applied_revision, version_results
            )
        )

    def mark_node_stopped(self, node_id: int) -> Deferred[None]:
        return self._odb.write(lambda connection, cluster: nodes.mark_stopped(connection, node_id))

    def remove_node(self, node_id: int) -> Deferred[None]:
        return self._odb.write(lambda connection, cluster: nodes.remove_nodes(connection, cluster, node_id))

    def nodes(self) -> Deferred[list[NodeRow]]:
        return self._odb.read(nodes.list_nodes)

    def version_results(self, version_id: int) -> Deferred[dict[str, str]]:
        return self._odb.read(lambda connection, cluster: nodes.version_results(connection, cluster, version_id))

    def next_epoch(self, name: str) -> Deferred[int]:
        return self._odb.write(lambda connection, cluster: next_epoch(connection, cluster, name))
