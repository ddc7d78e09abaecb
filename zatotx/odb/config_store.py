"""Implements IConfigStore in the ODB. The methods return Deferreds, and the statements run in threads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import frozen
from sqlalchemy import Connection, insert, select, update
from twisted.internet.defer import Deferred
from zope.interface import implementer

from zatotx.interfaces.config import NO_LOAD, FileVersion, HistoryRow, IConfigStore, NodeLoad, NodeRow
from zatotx.interfaces.dead_letters import DeadLetterFilter, IDeadLetterStore
from zatotx.interfaces.meters import ICallMeter
from zatotx.interfaces.scheduler import ILeaderStore, LeaderRecord
from zatotx.model.work_message import WorkMessage
from zatotx.odb import code_versions as versions
from zatotx.odb import configuration_history, dead_letters, nodes, scheduler_leader
from zatotx.odb.database import AsyncDatabase, Database
from zatotx.odb.database_executor import DatabaseExecutor
from zatotx.odb.engines.dialect import MAX_READERS
from zatotx.odb.revisions import changes_since, snapshot_at
from zatotx.odb.secrets import Secrets
from zatotx.odb.tables import cluster as cluster_table
from zatotx.odb.tables import counter, hash_name
from zatotx.odb.transaction import ClusterContext, current_revision
from zatotx.schema.snapshot import Actor, ChangeSet, Operation, Snapshot
from zatotx.schema.type_registry import ObjectTypeRegistry
from zatotx.system.thread_pool import IThreadReactor
from zatotx.wire.url_masking import mask_url


def next_epoch(connection: Connection, cluster: ClusterContext, name: str) -> int:
    """Return the next number of the cluster's sequence `name`, starting at 1."""
    _lock_cluster(connection, cluster)
    is_sequence = counter.c.name == _counter_name(cluster, name)
    last = connection.execute(select(counter.c.value).where(is_sequence)).scalar_one_or_none()
    if last is None:
        connection.execute(insert(counter).values(name=_counter_name(cluster, name), value=1))
        return 1
    connection.execute(update(counter).where(is_sequence).values(value=last + 1))
    return int(last) + 1


def _lock_cluster(connection: Connection, cluster: ClusterContext) -> None:
    """Serialize callers, including the first one of a sequence, which has no row to lock yet."""
    connection.execute(select(cluster_table.c.id).where(cluster_table.c.id == cluster.id).with_for_update())


def _counter_name(cluster: ClusterContext, name: str) -> str:
    """Return a counter name that fits its column and differs for different names."""
    return f'epoch:{hash_name(f"{cluster.id}:{name}")[:56]}'


def open_store(
    url: str, key: str | Secrets, *, reactor: IThreadReactor, cluster: str, types: ObjectTypeRegistry
) -> ConfigStore:
    """Open the ODB at an absolute URL (see odb.odb_urls.make_url_absolute). The connection is opened by the first call.
    Raises ValueError for an unusable URL or key."""
    masked_url = mask_url(url)
    async_database = AsyncDatabase(
        database=Database(url=url, cluster=cluster, types=types, secrets=Secrets.of(key)),
        hash_executor=DatabaseExecutor(reactor, threads=1, name='odb-hash', database_name=masked_url),
        read_executor=DatabaseExecutor(reactor, threads=MAX_READERS, name='odb-read', database_name=masked_url),
        write_executor=DatabaseExecutor(reactor, threads=1, name='odb-write', database_name=masked_url),
    )
    return ConfigStore(odb=async_database)


@implementer(IConfigStore, IDeadLetterStore, ILeaderStore)
@frozen(kw_only=True)
class ConfigStore:
    """Implements IConfigStore, IDeadLetterStore and ILeaderStore in the ODB."""

    _odb: AsyncDatabase

    def revision(self) -> Deferred[int]:
        return self._odb.read(lambda connection, cluster: current_revision(connection, cluster.id))

    def changes(self, since: int) -> Deferred[ChangeSet]:
        return self._odb.read_with_progress(
            lambda connection, cluster, report_progress: changes_since(connection, cluster, since, report_progress)
        )

    def write(self, operations: Sequence[Operation], actor: Actor) -> Deferred[int]:
        return Deferred.fromCoroutine(self._odb.apply_operations(operations, actor))

    def history(self, limit: int = 100, **filters: Any) -> Deferred[list[HistoryRow]]:
        filter_ = configuration_history.HistoryFilter(limit=limit, **filters)
        return self._odb.read(
            lambda connection, cluster: configuration_history.newest_entries(connection, cluster, filter_)
        )

    def record_event(self, action: str, type: str, name: str, actor: Actor) -> Deferred[None]:
        entry = configuration_history.HistoryEntry(action=action, type=type, name=name, old={}, new={})
        return self._odb.transact(actor, lambda t: configuration_history.record_event(t, entry))

    def snapshot_at(self, revision: int) -> Deferred[Snapshot]:
        return self._odb.read(lambda connection, cluster: snapshot_at(connection, cluster, revision))

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

    def version_contents(self, version_ids: Sequence[int]) -> Deferred[Mapping[int, bytes]]:
        return self._odb.read(lambda connection, cluster: versions.version_contents(connection, cluster, version_ids))

    def register_node(self, name: str, host: str, port: int, pid: int, worker: int = 0) -> Deferred[NodeRow]:
        address = nodes.NodeAddress(name=name, host=host, port=port, pid=pid, worker=worker)
        return self._odb.write(lambda connection, cluster: nodes.register_node(connection, cluster, address))

    def record_heartbeat(
        self, node_id: int, applied_revision: int, version_results: dict[int, str], load: NodeLoad = NO_LOAD
    ) -> Deferred[int]:
        return self._odb.write(
            lambda connection, cluster: nodes.record_heartbeat(
                connection, cluster, node_id, applied_revision, verdicts=version_results, load=load
            )
        )

    def mark_node_stopped(self, node_id: int) -> Deferred[None]:
        return self._odb.write(lambda connection, cluster: nodes.mark_stopped(connection, node_id))

    def rename_node(self, name: str, new_name: str) -> Deferred[None]:
        return self._odb.write(lambda connection, cluster: nodes.rename_nodes(connection, cluster, name, new_name))

    def remove_node(self, node_id: int) -> Deferred[None]:
        return self._odb.write(lambda connection, cluster: nodes.remove_nodes(connection, cluster, node_id))

    def nodes(self) -> Deferred[list[NodeRow]]:
        return self._odb.read(nodes.list_nodes)

    def version_results(self, version_id: int) -> Deferred[dict[str, str]]:
        return self._odb.read(
            lambda connection, cluster: nodes.deployment_results_by_server(connection, cluster, version_id)
        )

    def next_epoch(self, name: str) -> Deferred[int]:
        return self._odb.write(lambda connection, cluster: next_epoch(connection, cluster, name))

    def store_dead_letter(self, message: WorkMessage) -> Deferred[None]:
        return self._odb.write(lambda connection, cluster: dead_letters.store_dead_letter(connection, cluster, message))

    def dead_letters(self, which: DeadLetterFilter) -> Deferred[list[WorkMessage]]:
        return self._odb.read(lambda connection, cluster: dead_letters.list_dead_letters(connection, cluster, which))

    def edit_dead_letter(self, message: WorkMessage) -> Deferred[None]:
        return self._odb.write(lambda connection, cluster: dead_letters.edit_dead_letter(connection, cluster, message))

    def remove_dead_letters(self, messages: Sequence[WorkMessage]) -> Deferred[int]:
        return self._odb.write(
            lambda connection, cluster: dead_letters.remove_dead_letters(connection, cluster, messages)
        )

    def count_dead_letters(self) -> Deferred[int]:
        return self._odb.read(dead_letters.count_dead_letters)

    def leader(self) -> Deferred[LeaderRecord]:
        return self._odb.read(scheduler_leader.read_leader)

    def claim_leadership(self, expected_epoch: int, lease_token: int, node: str, node_id: int) -> Deferred[int]:
        return self._odb.write(
            lambda connection, cluster: scheduler_leader.claim_leadership(
                connection, cluster, expected_epoch, lease_token, node=node, node_id=node_id
            )
        )

    def confirm_leadership(self, epoch: int, written_until: float) -> Deferred[bool]:
        return self._odb.write(
            lambda connection, cluster: scheduler_leader.confirm_leadership(connection, cluster, epoch, written_until)
        )

    def resign_leadership(self, epoch: int, written_until: float) -> Deferred[None]:
        return self._odb.write(
            lambda connection, cluster: scheduler_leader.resign_leadership(connection, cluster, epoch, written_until)
        )

    def close(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._odb.close())


def set_call_meter(store: ConfigStore, meter: ICallMeter) -> ConfigStore:
    """Set the meter that counts the store's calls, and return the store."""
    store._odb.read_executor.meter = store._odb.write_executor.meter = meter
    return store
