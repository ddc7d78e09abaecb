"""The configuration at any revision: every state that an object ever had, kept until the history ends there.

Written in the transaction of the change. A reference is an id here too, so a rename makes no new state of the objects
that refer to the renamed one: their references are read with the names of that revision.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, and_, delete, func, insert, or_, select, update

from zatotx.model.errors import NotFound
from zatotx.odb.constraints import ObjectChange
from zatotx.odb.documents import decode, encode, from_document
from zatotx.odb.statement_context import Cluster, Transaction, chunks
from zatotx.odb.tables import cluster as cluster_table
from zatotx.odb.tables import history, object_version
from zatotx.schema.snapshot import Snapshot, Stored

KEPT = 100_000  # changes of a cluster in its history; older revisions go, whole
LOOK_EVERY = 64  # revisions between two looks at how much there is
MANY = 1000  # changes at once after which it is looked at in any case

_v = object_version.c


def store_states(t: Transaction, changed: Sequence[ObjectChange]) -> None:
    """What became of the objects in this transaction."""
    rows = [
        {
            'object_id': target.id,
            'revision': t.revision,
            'cluster_id': t.cluster.id,
            'type': target.object_type.key,
            'name': target.name,
            'document': encode(target.document),
            'deleted': target.action == 'delete',
        }
        for target in changed
    ]
    for some in chunks(rows):
        t.connection.execute(insert(object_version), list(some))
        t.moved()
    if len(rows) >= MANY or t.revision % LOOK_EVERY == 0:
        _prune(t)


def state_at(connection: Connection, cluster: Cluster, revision: int) -> Snapshot:
    """All objects as they were after that revision. Raises NotFound naming the revisions that there are."""
    _require_kept(connection, cluster, revision)
    last = _last_until(cluster.id, revision)
    rows = connection.execute(
        select(object_version)
        .join(last, and_(_v.object_id == last.c.object_id, _v.revision == last.c.revision))
        .where(_v.deleted.is_(False))
    ).all()
    names = {row.object_id: row.name for row in rows}
    return Snapshot(revision, (_stored(row, names, cluster) for row in rows if row.type in cluster.types))


def _stored(row: Any, names: dict[int, str], cluster: Cluster) -> Stored:
    value = from_document(cluster.types[row.type], decode(row.document), names, cluster.secrets)
    return Stored(row.object_id, row.type, value, row.revision)


def _last_until(cluster_id: int, revision: int) -> Any:
    """The last state of each object up to that revision."""
    return (
        select(_v.object_id, func.max(_v.revision).label('revision'))
        .where(_v.cluster_id == cluster_id, _v.revision <= revision)
        .group_by(_v.object_id)
        .subquery()
    )


def _require_kept(connection: Connection, cluster: Cluster, revision: int) -> None:
    c = cluster_table.c
    first, now = connection.execute(select(c.kept_since, c.revision).where(c.id == cluster.id)).one()
    if not max(first, 1) <= revision <= now:
        raise NotFound(None, f'revision {revision} is not kept: there are {max(first, 1)} to {now}')


def _prune(t: Transaction) -> None:
    """Forget the oldest revisions where there are more than KEPT changes. The states that the first revision that stays
    is made of stay with it."""
    mine = history.c.cluster_id == t.cluster.id
    newest = select(history.c.revision).where(mine).order_by(history.c.id.desc())
    # The revision of the first change that is too many goes whole, with all before it.
    too_old = t.connection.execute(newest.offset(KEPT).limit(1)).scalar_one_or_none()
    if too_old is None or too_old >= t.revision:
        return
    t.connection.execute(delete(history).where(mine, history.c.revision <= too_old))
    t.moved()
    first = too_old + 1
    _forget_before(t, first)
    c = cluster_table.c
    t.connection.execute(update(cluster_table).where(c.id == t.cluster.id).values(kept_since=first))


def _forget_before(t: Transaction, first: int) -> None:
    """The states that no revision from that one on is made of: superseded by then, or of an object deleted by then."""
    last = _last_until(t.cluster.id, first)
    gone = (
        select(_v.revision, _v.object_id)
        .join(last, _v.object_id == last.c.object_id)
        .where(_v.revision <= last.c.revision, or_(_v.revision < last.c.revision, _v.deleted.is_(True)))
    )
    by_revision: dict[int, list[int]] = {}
    for revision, object_id in t.connection.execute(gone):
        by_revision.setdefault(revision, []).append(object_id)
    for revision, ids in by_revision.items():
        for some in chunks(ids):
            t.connection.execute(delete(object_version).where(_v.revision == revision, _v.object_id.in_(some)))
            t.moved()
