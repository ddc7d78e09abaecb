"""The implementation of IConfigStore on the ODB: methods return Deferreds, statements run in threads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import frozen
from twisted.internet.defer import Deferred
from zope.interface import implementer

from zatotx.interfaces.config import HistoryRow, IConfigStore
from zatotx.odb import history
from zatotx.odb.calls import CodeStore, NodeStore
from zatotx.odb.database import AsyncDatabase, Database
from zatotx.odb.engines.dialect import MAX_READERS
from zatotx.odb.executor import DatabaseExecutor
from zatotx.odb.queries import changes_since
from zatotx.odb.revisions import snapshot_at
from zatotx.odb.secrets import Secrets
from zatotx.odb.transaction import revision_of
from zatotx.odb.urls import mask_password
from zatotx.schema.snapshot import Actor, ChangeSet, Operation, Snapshot
from zatotx.schema.type_registry import ObjectTypeRegistry


def open_store(url: str, key: str | Secrets, *, reactor: Any, cluster: str, types: ObjectTypeRegistry) -> ConfigStore:
    """Open the ODB at an absolute URL (see urls.resolve). Nothing is connected to before the first call. Raises
    ValueError for an unusable URL or key."""
    masked_url = mask_password(url)
    async_database = AsyncDatabase(
        database=Database(url=url, cluster=cluster, types=types, secrets=Secrets.of(key)),
        hash_executor=DatabaseExecutor(reactor, threads=1, name='odb-hash', database_name=masked_url),
        read_executor=DatabaseExecutor(reactor, threads=MAX_READERS, name='odb-read', database_name=masked_url),
        write_executor=DatabaseExecutor(reactor, threads=1, name='odb-write', database_name=masked_url),
    )
    return ConfigStore(odb=async_database)


@implementer(IConfigStore)
@frozen(kw_only=True)
class ConfigStore(CodeStore, NodeStore):
    """Implements IConfigStore; see the interface for each method."""

    _odb: AsyncDatabase

    def revision(self) -> Deferred[int]:
        return self._odb.read(lambda connection, cluster: revision_of(connection, cluster.id))

    def changes(self, since: int) -> Deferred[ChangeSet]:
        return self._odb.read_with_progress(
            lambda connection, cluster, report_progress: changes_since(connection, cluster, since, report_progress)
        )

    def write(self, operations: Sequence[Operation], actor: Actor) -> Deferred[int]:
        return Deferred.fromCoroutine(self._odb.apply_operations(operations, actor))

    def history(self, limit: int = 100, **filters: Any) -> Deferred[list[HistoryRow]]:
        filter_ = history.HistoryFilter(limit=limit, **filters)
        return self._odb.read(lambda connection, cluster: history.newest_entries(connection, cluster, filter_))

    def snapshot_at(self, revision: int) -> Deferred[Snapshot]:
        return self._odb.read(lambda connection, cluster: snapshot_at(connection, cluster, revision))

    def close(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._odb.close())


def set_call_meter(store: ConfigStore, meter: Any) -> ConfigStore:
    """Count the store's calls with an ICallMeter from now on; returns the store."""
    store._odb.read_executor.meter = store._odb.write_executor.meter = meter
    return store
