"""What changed since a revision, as objects."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, select

from zatotx.odb.documents import Document, decode, from_document, names_of, referenced_objects
from zatotx.odb.statement_context import Cluster, revision_of
from zatotx.odb.tables import config_object, tombstone
from zatotx.schema.meta import ObjectType
from zatotx.schema.snapshot import Changes, Stored

_Found = tuple[Any, ObjectType, Document]  # row, its type, its document


def changes(connection: Connection, cluster: Cluster, since: int, moved: Callable[[], None]) -> Changes:
    """Objects changed after that revision, and the ids of those deleted. Objects of a type nobody knows here (a kind
    that is not installed) are left out and left alone. `moved` is called with each object: thousands take their time
    on a slow machine."""
    found = list(_moving(_changed(connection, cluster, since), moved))
    names = {row.id: row.name for row, _, __ in found}
    names |= names_of(connection, _missing(found, names))
    return Changes(
        revision=revision_of(connection, cluster.id),
        changed=tuple(
            Stored(row.id, object_type.key, from_document(object_type, document, names, cluster.secrets), row.revision)
            for row, object_type, document in _moving(found, moved)
        ),
        deleted=_deleted(connection, cluster, since) if since else (),
    )


def _changed(connection: Connection, cluster: Cluster, since: int) -> Iterable[_Found]:
    columns = config_object.c
    rows = connection.execute(
        select(columns.id, columns.type, columns.name, columns.document, columns.revision).where(
            columns.cluster_id == cluster.id, columns.revision > since
        )
    )
    for row in rows:
        object_type = cluster.types.get(row.type)
        if object_type is not None:
            yield row, object_type, decode(row.document)


def _moving(found: Iterable[_Found], moved: Callable[[], None]) -> Iterable[_Found]:
    for one in found:
        moved()
        yield one


def _missing(found: Sequence[_Found], names: dict[int, str]) -> set[int]:
    """What the documents refer to and is not among the changed itself."""
    return {
        target
        for _, object_type, document in found
        for target in referenced_objects(object_type, document).values()
        if target not in names
    }


def _deleted(connection: Connection, cluster: Cluster, since: int) -> tuple[int, ...]:
    rows = connection.execute(
        select(tombstone.c.object_id).where(tombstone.c.cluster_id == cluster.id, tombstone.c.revision > since)
    )
    return tuple(rows.scalars())
