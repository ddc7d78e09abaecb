"""Two administrators at once: who edits what somebody else has changed meanwhile is told so, and by whom.

An operation may carry the revision of the object that its editor saw. It is compared under the cluster's lock, so
between the comparison and the commit nobody can change the object any more.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select

from zatotx.model.errors import Conflict
from zatotx.odb.documents import Document, decode
from zatotx.odb.statement_context import Transaction
from zatotx.odb.tables import history, tombstone
from zatotx.schema.snapshot import Operation

_SHOWN = 5  # fields that one sentence names
_LONG = 60  # characters of a value that are shown


def refuse_if_changed(t: Transaction, operation: Operation, row: Any) -> None:
    """Raises Conflict where the object is not at the revision that its editor saw."""
    if operation.revision is not None and operation.revision != row.revision:
        title = t.cluster.types[operation.type].title or operation.type
        raise Conflict(
            None,
            f'{title} {row.name!r} is at revision {row.revision} now, not {operation.revision}: '
            f'{_what_happened(t, row.id, row.revision)}',
        )


def refuse_if_deleted(t: Transaction, operation: Operation, object_id: int) -> None:
    """Raises Conflict where the object that the editor saw was deleted."""
    if operation.revision is None:
        return
    deleted = t.connection.execute(
        select(tombstone.c.revision).where(tombstone.c.cluster_id == t.cluster.id, tombstone.c.object_id == object_id)
    ).scalar_one_or_none()
    if deleted is not None:
        title = t.cluster.types[operation.type].title or operation.type
        raise Conflict(None, f'this {title} is gone: {_what_happened(t, object_id, deleted)}')


def _what_happened(t: Transaction, object_id: int, revision: int) -> str:
    """Who did what when. A renaming is a change of those too that refer to what is renamed."""
    h = history.c
    rows = t.connection.execute(
        select(history).where(h.cluster_id == t.cluster.id, h.revision == revision).order_by(h.object_id != object_id)
    )
    row = rows.first()
    if row is None:
        return 'it was changed longer ago than the history goes back'
    at = datetime.fromtimestamp(row.at, UTC).strftime('%Y-%m-%d %H:%M:%S UTC')
    where = ', '.join(part for part in (row.source, row.address) if part)
    done = {'create': 'created', 'edit': 'changed', 'delete': 'deleted'}.get(row.action, row.action)
    said = f'{row.who or "somebody"} {done} {row.type} {row.name!r} on {at}'
    if where:
        said += f' ({where})'
    return said + (_differences(decode(row.old), decode(row.new)) if row.action == 'edit' else '')


def _differences(old: Document, new: Document) -> str:
    fields = sorted(new)
    shown = [f'{name} {_short(old.get(name))} -> {_short(new[name])}' for name in fields[:_SHOWN]]
    more = [f'and {len(fields) - _SHOWN} more'] if len(fields) > _SHOWN else []
    return f': {", ".join(shown + more)}' if shown else ''


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _LONG else f'{text[:_LONG]}…'
