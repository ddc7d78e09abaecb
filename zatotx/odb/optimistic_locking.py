"""Optimistic locking: editing an object that was changed meanwhile fails, with a message about who changed what.

An operation may carry the object's revision as its editor saw it. The comparison happens under the cluster's lock, so
the object cannot change between the comparison and the commit.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select

from zatotx.model.errors import Conflict
from zatotx.odb.documents import Document, decode_document
from zatotx.odb.tables import history, tombstone
from zatotx.odb.transaction import Transaction
from zatotx.schema.snapshot import Operation

_MAX_LISTED = 5  # fields listed in one message
_MAX_VALUE = 60  # characters of a value in a message


def require_unchanged(t: Transaction, operation: Operation, row: Any) -> None:
    """Raise Conflict if the object is not at the revision that its editor saw."""
    if operation.revision is not None and operation.revision != row.revision:
        title = t.cluster.types[operation.type].title or operation.type
        raise Conflict(
            None,
            f'{title} {row.name!r} is at revision {row.revision} now, not {operation.revision}: '
            f'{_describe_change(t, row.id, row.revision)}',
        )


def require_not_deleted(t: Transaction, operation: Operation, object_id: int) -> None:
    """Raise Conflict if the object that the editor saw was deleted."""
    if operation.revision is None:
        return
    deleted = t.connection.execute(
        select(tombstone.c.revision).where(tombstone.c.cluster_id == t.cluster.id, tombstone.c.object_id == object_id)
    ).scalar_one_or_none()
    if deleted is not None:
        title = t.cluster.types[operation.type].title or operation.type
        raise Conflict(None, f'this {title} was deleted: {_describe_change(t, object_id, deleted)}')


def _describe_change(t: Transaction, object_id: int, revision: int) -> str:
    """Describe who changed what and when. Renaming an object also changes the objects that refer to it."""
    h = history.c
    rows = t.connection.execute(
        select(history).where(h.cluster_id == t.cluster.id, h.revision == revision).order_by(h.object_id != object_id)
    )
    row = rows.first()
    if row is None:
        return 'the change is older than the history'
    at = datetime.fromtimestamp(row.at, UTC).strftime('%Y-%m-%d %H:%M:%S UTC')
    origin = ', '.join(part for part in (row.source, row.address) if part)
    verb = {'create': 'created', 'edit': 'changed', 'delete': 'deleted'}.get(row.action, row.action)
    message = f'{row.who or "somebody"} {verb} {row.type} {row.name!r} on {at}'
    if origin:
        message += f' ({origin})'
    return message + (
        _describe_differences(decode_document(row.old), decode_document(row.new)) if row.action == 'edit' else ''
    )


def _describe_differences(old: Document, new: Document) -> str:
    fields = sorted(new)
    listed = [f'{name} {_shorten(old.get(name))} -> {_shorten(new[name])}' for name in fields[:_MAX_LISTED]]
    rest = [f'and {len(fields) - _MAX_LISTED} more'] if len(fields) > _MAX_LISTED else []
    return f': {", ".join(listed + rest)}' if listed else ''


def _shorten(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _MAX_VALUE else f'{text[:_MAX_VALUE]}…'
