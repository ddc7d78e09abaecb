"""Queries for the objects changed since a revision."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, select

from zatotx.odb.documents import Document, decode_document, from_document, names_by_id, referenced_ids
from zatotx.odb.tables import config_object, tombstone
from zatotx.odb.transaction import Cluster, revision_of
from zatotx.schema.meta import ObjectType
from zatotx.schema.snapshot import ChangeSet, StoredObject

_Row = tuple[Any, ObjectType, Document]  # a row, its type, its document


def changes_since(
    connection: Connection, cluster: Cluster, since: int, report_progress: Callable[[], None]
) -> ChangeSet:
    """Return the objects changed after a revision, and the ids of deleted ones. Objects of unknown types (of plugins
    that are not installed) are omitted. `report_progress` reports progress with each object, since thousands of them
    take time."""
    rows = list(_report_progress(_changed_rows(connection, cluster, since), report_progress))
    names = {row.id: row.name for row, _, __ in rows}
    names |= names_by_id(connection, _missing_names(rows, names))
    return ChangeSet(
        revision=revision_of(connection, cluster.id),
        changed=tuple(
            StoredObject(
                row.id, object_type.key, from_document(object_type, document, names, cluster.secrets), row.revision
            )
            for row, object_type, document in _report_progress(rows, report_progress)
        ),
        deleted=_deleted_ids(connection, cluster, since) if since else (),
    )


def _changed_rows(connection: Connection, cluster: Cluster, since: int) -> Iterable[_Row]:
    columns = config_object.c
    rows = connection.execute(
        select(columns.id, columns.type, columns.name, columns.document, columns.revision).where(
            columns.cluster_id == cluster.id, columns.revision > since
        )
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


def _deleted_ids(connection: Connection, cluster: Cluster, since: int) -> tuple[int, ...]:
    rows = connection.execute(
        select(tombstone.c.object_id).where(tombstone.c.cluster_id == cluster.id, tombstone.c.revision > since)
    )
    return tuple(rows.scalars())
