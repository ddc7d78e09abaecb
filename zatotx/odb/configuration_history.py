"""The audit history of configuration changes. Entries are written in the transaction of each change, with secrets
masked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

from attrs import evolve, frozen
from sqlalchemy import Connection, insert, or_, select

from zatotx.interfaces.config import HistoryRow
from zatotx.odb.struct_conversion import decode_document, encode_document
from zatotx.odb.tables import history, object_version
from zatotx.odb.transaction import CHUNK_SIZE, ClusterContext, Transaction, split_into_chunks

_MAX_ADDRESS = 255  # characters of an address that are stored

_h = history.c


@frozen(kw_only=True)
class HistoryEntry:
    """One entry of the history, which describes a change of an object and its author."""

    action: str  # 'create', 'edit', 'delete', 'deploy', 'activate'
    type: str
    name: str
    old: Mapping[str, Any]
    new: Mapping[str, Any]
    object_id: int = 0


@frozen(kw_only=True)
class HistoryFilter:
    """Criteria that select entries of the history."""

    type: str = ''  # a type of objects, or 'file'
    name: str = ''  # a present or former name of the object
    since: int = 0  # only entries after that revision
    revision: int = 0  # only entries of that revision
    limit: int = 100
    has_values: bool = True  # whether the entries have old and new values, which are most of their size


def record_history(t: Transaction, entries: Iterable[HistoryEntry], at: float = 0.0) -> None:
    """Write entries to the history. `at` is the Unix time of the change that they describe; 0 stands for the current
    time."""
    common = {
        'cluster_id': t.cluster.id,
        'revision': t.revision,
        'at': at or t.cluster.now(),
        'who': t.actor.username,
        'source': t.actor.source,
        'cid': t.actor.cid,
        'address': t.actor.address[:_MAX_ADDRESS],
    }
    rows = []
    for e in entries:
        rows.append({
            **common,
            'action': e.action,
            'type': e.type,
            'name': e.name,
            'old': encode_document(e.old),
            'new': encode_document(e.new),
            'object_id': e.object_id,
        })
        t.report_progress()
    for chunk in split_into_chunks(rows):
        t.connection.execute(insert(history), list(chunk))
        t.report_progress()


def record_event(t: Transaction, entry: HistoryEntry) -> None:
    """Write a history entry for an event that creates no new revision. The time of the entry is the time of the actor,
    if it is known."""
    record_history(evolve(t, revision=t.revision - 1), [entry], t.actor.at)


def newest_entries(connection: Connection, cluster: ClusterContext, filter_: HistoryFilter) -> list[HistoryRow]:
    """Return the most recent entries that match the filter, newest first."""
    columns = [column for column in _h if filter_.has_values or column not in (_h.old, _h.new)]
    query = select(*columns).where(_h.cluster_id == cluster.id)
    if filter_.type:
        query = query.where(_h.type == filter_.type)
    if filter_.since:
        query = query.where(_h.revision > filter_.since)
    if filter_.revision:
        query = query.where(_h.revision == filter_.revision)
    query = query.order_by(_h.revision.desc(), _h.id.desc())  # the order of the index: no entries are sorted
    if not filter_.name:
        return [_row(row, has_values=filter_.has_values) for row in connection.execute(query.limit(filter_.limit))]
    ids = _ids_with_name(connection, cluster, filter_.name)
    rows = connection.execute(query.where(or_(_h.name == filter_.name, _h.object_id.in_(ids))))
    exact = (row for row in rows if row.name == filter_.name or row.object_id in ids)
    return [_row(row, has_values=filter_.has_values) for row in islice(exact, filter_.limit)]


def _ids_with_name(connection: Connection, cluster: ClusterContext, name: str) -> set[int]:
    """Return the ids of objects that have or had the name. The names are compared again in Python, because MySQL
    ignores trailing spaces."""
    v = object_version.c
    rows = connection.execute(
        select(v.object_id, v.name).where(v.cluster_id == cluster.id, v.name == name).distinct().limit(CHUNK_SIZE)
    )
    return {row.object_id for row in rows if row.name == name}


def _row(row: Any, *, has_values: bool) -> HistoryRow:
    return HistoryRow(
        revision=row.revision,
        at=row.at,
        who=row.who,
        source=row.source,
        address=row.address,
        cid=row.cid,
        action=row.action,
        type=row.type,
        name=row.name,
        old=decode_document(row.old) if has_values else {},
        new=decode_document(row.new) if has_values else {},
    )
