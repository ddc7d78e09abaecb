"""Reads the configuration as of any revision. Every version of each object is stored, and is kept as long as the change
history.

States are written in the transaction of a change. References are ids, so renaming an object adds no state of the
objects that refer to it: their references are resolved with the names at that revision.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, and_, delete, func, insert, or_, select, update

from zatotx.model.errors import NotFound
from zatotx.odb.constraint_checks import ObjectChange
from zatotx.odb.struct_conversion import (
    Document,
    decode_document,
    document_to_struct,
    encode_document,
    names_by_id,
    referenced_ids,
)
from zatotx.odb.tables import cluster as cluster_table
from zatotx.odb.tables import config_object, history, object_version, tombstone
from zatotx.odb.transaction import ClusterContext, Transaction, current_revision, split_into_chunks
from zatotx.schema.meta import ObjectType
from zatotx.schema.snapshot import ChangeSet, Snapshot, StoredObject

MAX_HISTORY = 100_000  # changes kept in the history of a cluster; older revisions are removed as a whole
PRUNE_INTERVAL = 64  # revisions between two checks of the history's size
PRUNE_THRESHOLD = 1000  # number of changes in one transaction that causes a check in any case

_v = object_version.c


def store_object_versions(t: Transaction, changes: Sequence[ObjectChange]) -> None:
    """Store the states of changed objects at the new revision."""
    rows = [
        {
            'object_id': target.id,
            'revision': t.revision,
            'cluster_id': t.cluster.id,
            'type': target.object_type.key,
            'name': target.name,
            'document': encode_document(target.document),
            'deleted': target.action == 'delete',
        }
        for target in changes
    ]
    for chunk in split_into_chunks(rows):
        t.connection.execute(insert(object_version), list(chunk))
        t.report_progress()
    if len(rows) >= PRUNE_THRESHOLD or t.revision % PRUNE_INTERVAL == 0:
        _prune(t)


def snapshot_at(connection: Connection, cluster: ClusterContext, revision: int) -> Snapshot:
    """Return all objects at a revision. Raises NotFound, whose message contains the stored revisions."""
    _require_kept(connection, cluster, revision)
    latest = _latest_states(cluster.id, revision)
    rows = connection.execute(
        select(object_version)
        .join(latest, and_(_v.object_id == latest.c.object_id, _v.revision == latest.c.revision))
        .where(_v.deleted.is_(False))
    ).all()
    names = {row.object_id: row.name for row in rows}
    return Snapshot(revision, (_to_stored(row, names, cluster) for row in rows if row.type in cluster.types))


def _to_stored(row: Any, names: dict[int, str], cluster: ClusterContext) -> StoredObject:
    value = document_to_struct(cluster.types[row.type], decode_document(row.document), names, cluster.secrets)
    return StoredObject(row.object_id, row.type, value, row.revision)


def _latest_states(cluster_id: int, revision: int) -> Any:
    """Query the last state of each object up to a revision."""
    return (
        select(_v.object_id, func.max(_v.revision).label('revision'))
        .where(_v.cluster_id == cluster_id, _v.revision <= revision)
        .group_by(_v.object_id)
        .subquery()
    )


def _require_kept(connection: Connection, cluster: ClusterContext, revision: int) -> None:
    c = cluster_table.c
    first, current = connection.execute(select(c.kept_since, c.revision).where(c.id == cluster.id)).one()
    if not max(first, 1) <= revision <= current:
        raise NotFound(None, f'revision {revision} is not kept: the kept ones are {max(first, 1)} to {current}')


def _prune(t: Transaction) -> None:
    """Delete the oldest revisions beyond KEPT changes. States that the first remaining revision consists of are
    kept."""
    of_cluster = history.c.cluster_id == t.cluster.id
    newest = select(history.c.revision).where(of_cluster).order_by(history.c.id.desc())
    # The revision of the first change beyond the limit is removed completely, with all earlier ones.
    too_old = t.connection.execute(newest.offset(MAX_HISTORY).limit(1)).scalar_one_or_none()
    if too_old is None or too_old >= t.revision:
        return
    t.connection.execute(delete(history).where(of_cluster, history.c.revision <= too_old))
    t.report_progress()
    first = too_old + 1
    _delete_superseded(t, first)
    c = cluster_table.c
    t.connection.execute(update(cluster_table).where(c.id == t.cluster.id).values(kept_since=first))


def _delete_superseded(t: Transaction, first: int) -> None:
    """Delete the states that no revision from `first` on contains: they are superseded by then, or their object is
    deleted by then."""
    latest = _latest_states(t.cluster.id, first)
    superseded = (
        select(_v.revision, _v.object_id)
        .join(latest, _v.object_id == latest.c.object_id)
        .where(_v.revision <= latest.c.revision, or_(_v.revision < latest.c.revision, _v.deleted.is_(True)))
    )
    by_revision: dict[int, list[int]] = {}
    for revision, object_id in t.connection.execute(superseded):
        by_revision.setdefault(revision, []).append(object_id)
    for revision, ids in by_revision.items():
        for chunk in split_into_chunks(ids):
            t.connection.execute(delete(object_version).where(_v.revision == revision, _v.object_id.in_(chunk)))
            t.report_progress()


_Row = tuple[Any, ObjectType, Document]  # a row, its type, its document


def changes_since(
    connection: Connection, cluster: ClusterContext, since: int, report_progress: Callable[[], None]
) -> ChangeSet:
    """Return the objects changed after a revision, and the IDs of deleted ones. Objects of unknown types (of plugins
    that are not installed) are omitted. `report_progress` is called for each object, because reading thousands of
    objects takes time."""
    rows = list(_report_progress(_changed_rows(connection, cluster, since), report_progress))
    names = {row.id: row.name for row, _, __ in rows}
    names |= names_by_id(connection, _missing_names(rows, names))
    return ChangeSet(
        revision=current_revision(connection, cluster.id),
        changed=tuple(
            StoredObject(
                row.id,
                object_type.key,
                document_to_struct(object_type, document, names, cluster.secrets),
                row.revision,
                row.changed_at,
            )
            for row, object_type, document in _report_progress(rows, report_progress)
        ),
        deleted=_deleted_ids(connection, cluster, since) if since else (),
    )


def _changed_rows(connection: Connection, cluster: ClusterContext, since: int) -> Iterable[_Row]:
    columns = config_object.c
    rows = connection.execute(
        select(
            columns.id, columns.type, columns.name, columns.document, columns.revision, columns.changed_at
        ).where(columns.cluster_id == cluster.id, columns.revision > since)
    )
    for row in rows:
        object_type = cluster.types.get(row.type)
        if object_type is not None:
            yield row, object_type, decode_document(row.document)


def _report_progress(rows: Iterable[_Row], report_progress: Callable[[], None]) -> Iterable[_Row]:
    for row in rows:
        report_progress()
        yield row


def _missing_names(rows: Sequence[_Row], names: dict[int, str]) -> set[int]:
    """Return the ids of referenced objects that are not among the changed ones."""
    return {
        target
        for _, object_type, document in rows
        for target in referenced_ids(object_type, document).values()
        if target not in names
    }


def _deleted_ids(connection: Connection, cluster: ClusterContext, since: int) -> tuple[int, ...]:
    rows = connection.execute(
        select(tombstone.c.object_id).where(tombstone.c.cluster_id == cluster.id, tombstone.c.revision > since)
    )
    return tuple(rows.scalars())
