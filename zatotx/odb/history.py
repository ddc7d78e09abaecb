"""Who changed what, when: written in the transaction of the change itself, secrets masked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from attrs import frozen
from sqlalchemy import Connection, insert, select

from zatotx.interfaces.config import HistoryRow
from zatotx.odb.context import Cluster, Transaction
from zatotx.odb.documents import decode, encode
from zatotx.odb.tables import history


@frozen(kw_only=True)
class Entry:
    """One change, as the history keeps it."""

    action: str  # 'create', 'edit', 'delete', 'deploy', 'activate'
    type: str
    name: str
    old: Mapping[str, Any]
    new: Mapping[str, Any]


def record(t: Transaction, entries: Iterable[Entry]) -> None:
    """Write the entries."""
    common = {
        'cluster_id': t.cluster.id,
        'revision': t.revision,
        'at': t.cluster.now(),
        'who': t.actor.who,
        'source': t.actor.source,
        'cid': t.actor.cid,
    }
    rows = [
        {**common, 'action': e.action, 'type': e.type, 'name': e.name, 'old': encode(e.old), 'new': encode(e.new)}
        for e in entries
    ]
    if rows:
        t.connection.execute(insert(history), rows)


def newest(connection: Connection, cluster: Cluster, limit: int) -> list[HistoryRow]:
    """The last changes, newest first."""
    rows = connection.execute(
        select(history).where(history.c.cluster_id == cluster.id).order_by(history.c.id.desc()).limit(limit)
    )
    return [
        HistoryRow(
            revision=row.revision,
            at=row.at,
            who=row.who,
            source=row.source,
            action=row.action,
            type=row.type,
            name=row.name,
            old=decode(row.old),
            new=decode(row.new),
        )
        for row in rows
    ]
