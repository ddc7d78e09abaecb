"""Applies changes of configuration objects. Several changes are made in one transaction, and take effect together or
not at all.

The order matters: old references are deleted first, then objects (which must not be referenced any more); then names
are checked (so that objects can swap theirs), objects and references are written, and the history is recorded.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from math import inf
from typing import Any

import msgspec
from sqlalchemy import bindparam, delete, insert, select, update

from zatotx.model.errors import BadInput, Conflict, NotFound
from zatotx.odb.configuration_history import HistoryEntry, record_history
from zatotx.odb.constraint_checks import ObjectChange, check_constraints, resolve_references
from zatotx.odb.revisions import store_object_versions
from zatotx.odb.struct_conversion import (
    Document,
    decode_document,
    encode_document,
    fields_to_struct,
    names_by_id,
    referenced_ids,
    replace_ids_with_names,
    struct_to_document,
)
from zatotx.odb.tables import config_object, counter, hash_name, history, reference, tombstone
from zatotx.odb.transaction import Transaction, increment_revision, split_into_chunks
from zatotx.schema.meta import secret_fields
from zatotx.schema.secrets import mask_secrets
from zatotx.schema.snapshot import Operation
from zatotx.schema.type_registry import namespace_of

# Optimistic locking: editing an object that was changed meanwhile fails, with a message about who changed what.
#
# An operation may carry the object's revision as its editor saw it. The comparison happens under the cluster's lock,
# so the object cannot change between the comparison and the commit.

_MAX_CONFLICTS = 5  # fields listed in one message
_MAX_VALUE = 60  # characters of a value in a message


def require_unchanged(t: Transaction, operation: Operation, row: Any) -> None:
    """Raise Conflict if the object has changed since its editor loaded it."""
    if operation.revision is not None and operation.revision != row.revision:
        title = t.cluster.types[operation.type].title or operation.type
        raise Conflict(
            None,
            f'{title} {row.name!r} is at revision {row.revision} now, not {operation.revision}: '
            f'{_describe_change(t, row.id, row.revision)}',
        )


def require_not_deleted(t: Transaction, operation: Operation, object_id: int) -> None:
    """Raise Conflict if the object has been deleted since its editor loaded it."""
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
    listed = [f'{name} {_shorten(old.get(name))} -> {_shorten(new[name])}' for name in fields[:_MAX_CONFLICTS]]
    rest = [f'and {len(fields) - _MAX_CONFLICTS} more'] if len(fields) > _MAX_CONFLICTS else []
    return f': {", ".join(listed + rest)}' if listed else ''


def _shorten(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _MAX_VALUE else f'{text[:_MAX_VALUE]}…'


_MAX_LISTED = 10  # users of an object listed in one message
OBJECT_ID_COUNTER = 'config_object'  # the row of `counter` that provides object ids


def apply_operations(t: Transaction, operations: Sequence[Operation]) -> int:
    """Apply the operations of a change, and return the revision of the transaction.

    Raises Conflict for a name that is taken, an object that is still referenced or was changed since its editor read
    it, NotFound for an unknown id, BadInput for a reference to a missing object.
    """
    increment_revision(t)
    changed = [*_load_changed(t, operations), *_make_created(t, operations)]
    deleted = [target for target in changed if target.action == 'delete']
    written = [target for target in changed if target.action != 'delete']
    _reject_unstorable(written)
    _delete_references(t, changed)
    _delete_objects(t, deleted)
    check_constraints(t, written)
    ids = resolve_references(t, written)
    for target in written:
        target.document = struct_to_document(target.object_type, target.value, ids)
        t.report_progress()
    _renew_secrets(t, written)
    _insert_objects(t, [target for target in written if target.action == 'create'])
    _update_objects(t, [target for target in written if target.action == 'edit'])
    _insert_references(t, written)
    record_history(t, map(_history_entry, changed))
    store_object_versions(t, changed)
    return t.revision


def _renew_secrets(t: Transaction, written: Sequence[ObjectChange]) -> None:
    """Re-encrypt secrets with the first key. They were encrypted before this transaction, and a key rotation may have
    started since; after that, nothing may be stored with the old key."""
    encrypted = [
        (target, name)
        for target in written
        for name, kind in secret_fields(target.object_type).items()
        if kind in ('encrypted', 'both') and target.document.get(name)
    ]
    if encrypted:
        t.cluster.secrets.refresh()
    for target, name in encrypted:
        target.document[name] = t.cluster.secrets.reencrypt(target.document[name])


def _reject_unstorable(written: Sequence[ObjectChange]) -> None:
    """Raise BadInput for names with NUL characters, which PostgreSQL cannot store. In documents, JSON escapes them."""
    errors = [(f'{target.object_type.key} {target.name!r}: name', 'must not have the character U+0000')
             for target in written if '\0' in target.name]  # fmt: skip
    if errors:
        raise BadInput(errors)


def _make_created(t: Transaction, operations: Sequence[Operation]) -> list[ObjectChange]:
    creations = [o for o in operations if o.action == 'create']
    first = _new_ids(t, len(creations))
    changes = []
    for object_id, operation in enumerate(creations, first):
        object_type = t.cluster.types[operation.type]
        value = fields_to_struct(object_type, operation.fields)
        changes.append(ObjectChange(action='create', object_type=object_type, id=object_id, value=value, old_fields={}))
        t.report_progress()
    return changes


def _new_ids(t: Transaction, count: int) -> int:
    """Reserve `count` new ids, which were never used before; returns the first."""
    if not count:
        return 0
    is_object_ids = counter.c.name == OBJECT_ID_COUNTER
    first: int = t.connection.execute(select(counter.c.value).where(is_object_ids).with_for_update()).scalar_one()
    t.connection.execute(update(counter).where(is_object_ids).values(value=first + count))
    return first


def _load_changed(t: Transaction, operations: Sequence[Operation]) -> list[ObjectChange]:
    """Return the changed objects of all edits and deletions; several steps on one object become one change."""
    steps = [(o, _id_of(t, o)) for o in operations if o.action != 'create']
    rows = _load_rows(t, {object_id for _, object_id in steps})
    documents = {row.id: decode_document(row.document) for row in rows.values()}
    names = names_by_id(
        t.connection,
        [x for i, d in documents.items() for x in referenced_ids(t.cluster.types[rows[i].type], d).values()],
    )
    changes_by_id: dict[int, ObjectChange] = {}
    for operation, object_id in steps:
        object_type = t.cluster.types[operation.type]
        row = rows.get(object_id)
        if row is None or row.type != operation.type:
            require_not_deleted(t, operation, object_id)
            raise NotFound(None, f'there is no {object_type.title or object_type.key} with the id {object_id}')
        require_unchanged(t, operation, row)
        target = changes_by_id.get(object_id)
        if target is None:
            old = replace_ids_with_names(object_type, documents[object_id], names)
            value = fields_to_struct(object_type, old)
            target = ObjectChange(action='edit', object_type=object_type, id=object_id, value=value, old_fields=old)
            target.document = documents[object_id]
            changes_by_id[object_id] = target
        _apply_step(target, operation)
    return list(changes_by_id.values())


def _apply_step(target: ObjectChange, operation: Operation) -> None:
    if operation.action == 'delete':
        target.action = 'delete'
    else:
        fields = {**msgspec.to_builtins(target.value), **operation.fields}
        target.value = fields_to_struct(target.object_type, fields)


def _id_of(t: Transaction, operation: Operation) -> int:
    if operation.id is not None:
        return operation.id
    object_type = t.cluster.types[operation.type]
    c = config_object.c
    found = t.connection.execute(
        select(c.id).where(
            c.cluster_id == t.cluster.id, c.space == namespace_of(object_type), c.name_key == hash_name(operation.name)
        )
    ).scalar_one_or_none()
    if found is None:
        raise NotFound(None, f'there is no {object_type.title or object_type.key} called {operation.name!r}')
    object_id: int = found
    return object_id


def _load_rows(t: Transaction, object_ids: Iterable[int]) -> dict[int, Any]:
    c = config_object.c
    rows: dict[int, Any] = {}
    for chunk in split_into_chunks(sorted(object_ids)):
        found = t.connection.execute(
            select(c.id, c.type, c.name, c.revision, c.document).where(
                c.cluster_id == t.cluster.id, c.id.in_(chunk)
            )
        )
        rows.update((row.id, row) for row in found if row.type in t.cluster.types)
        t.report_progress()
    return rows


def _delete_references(t: Transaction, changed: Sequence[ObjectChange]) -> None:
    """Delete the references of changed objects; those that remain are inserted again later."""
    for chunk in split_into_chunks([target.id for target in changed if target.action != 'create']):
        t.connection.execute(delete(reference).where(reference.c.source_id.in_(chunk)))
        t.report_progress()


def _delete_objects(t: Transaction, deleted: Sequence[ObjectChange]) -> None:
    by_id = {target.id: target for target in deleted}
    for chunk in split_into_chunks(sorted(by_id)):
        _reject_if_referenced(t, by_id, chunk)
        t.connection.execute(delete(config_object).where(config_object.c.id.in_(chunk)))
        t.connection.execute(
            insert(tombstone),
            [{'object_id': i, 'cluster_id': t.cluster.id, 'revision': t.revision} for i in chunk],
        )
        t.report_progress()


def _reject_if_referenced(t: Transaction, deleted: dict[int, ObjectChange], ids: Sequence[int]) -> None:
    c = config_object.c
    rows = t.connection.execute(
        select(reference.c.target_id, c.type, c.name)
        .join(config_object, c.id == reference.c.source_id)
        .where(reference.c.target_id.in_(ids))
        .order_by(reference.c.target_id, c.name)
        .limit(_MAX_LISTED + 1)
    ).all()
    if rows:
        target = deleted[rows[0].target_id]
        users = ', '.join(f'{row.type} {row.name!r}' for row in rows[:_MAX_LISTED] if row.target_id == target.id)
        users += ' and others' if len(rows) > _MAX_LISTED else ''
        raise Conflict(None, f'{target.title} {target.name!r} cannot be deleted: it is used by {users}')


def _insert_objects(t: Transaction, created: Sequence[ObjectChange]) -> None:
    for chunk in split_into_chunks(created):
        t.connection.execute(insert(config_object), [_row(t, target) for target in chunk])
        t.report_progress()


def _row(t: Transaction, target: ObjectChange) -> dict[str, Any]:
    return {
        'id': target.id,
        'cluster_id': t.cluster.id,
        'type': target.object_type.key,
        'space': namespace_of(target.object_type),
        **_changing_columns(t, target),
    }


def _changing_columns(t: Transaction, target: ObjectChange) -> dict[str, Any]:
    return {
        'name': target.name,
        'name_key': hash_name(target.name),
        'unique_key': hash_name(target.unique_text) if target.unique_text else None,
        'document': encode_document(target.document),
        'revision': t.revision,
        'changed_at': min(t.cluster.now(), t.actor.at or inf),
    }


def _update_objects(t: Transaction, edited: Sequence[ObjectChange]) -> None:
    """Update edited objects. Names and unique texts are cleared before new ones are set, so that objects can swap
    them."""
    is_target = config_object.c.id == bindparam('target_id')
    if len(edited) > 1:
        clear_names = update(config_object).where(is_target).values(name_key=bindparam('nobody'), unique_key=None)
        t.connection.execute(clear_names, [{'target_id': e.id, 'nobody': f'vacated {e.id}'} for e in edited])
    for chunk in split_into_chunks(edited):
        rows = [{'target_id': e.id, **{f'new_{k}': v for k, v in _changing_columns(t, e).items()}} for e in chunk]
        columns: dict[str, Any] = {name: bindparam(f'new_{name}') for name in _changing_columns(t, chunk[0])}
        t.connection.execute(update(config_object).where(is_target).values(columns), rows)
        t.report_progress()
    _touch_referrers(t, [e.id for e in edited if e.old_fields['name'] != e.name])


def _touch_referrers(t: Transaction, renamed: Sequence[int]) -> None:
    """Update the revision of objects that refer to renamed ones, since their Structs contain the name."""
    for chunk in split_into_chunks(renamed):
        sources = select(reference.c.source_id).where(reference.c.target_id.in_(chunk))
        t.connection.execute(
            update(config_object).where(config_object.c.id.in_(sources)).values(revision=t.revision)
        )


def _insert_references(t: Transaction, written: Sequence[ObjectChange]) -> None:
    rows = [
        {'source_id': target.id, 'field': name, 'target_id': target_id}
        for target in written
        for name, target_id in referenced_ids(target.object_type, target.document).items()
    ]
    for chunk in split_into_chunks(rows):
        t.connection.execute(insert(reference), list(chunk))
        t.report_progress()


def _history_entry(target: ObjectChange) -> HistoryEntry:
    """Return the history entry of a change; for an edit, only what differs."""
    # normalized like `old`: tuples become lists
    new = {} if target.action == 'delete' else decode_document(encode_document(target.value))
    old = target.old_fields
    if target.action == 'edit':
        differing = {name for name, value in new.items() if old.get(name) != value}
        old = {name: old[name] for name in differing if name in old}
        new = {name: value for name, value in new.items() if name in differing}
    struct = target.object_type.struct
    return HistoryEntry(
        action=target.action,
        type=target.object_type.key,
        name=target.name,
        old=mask_secrets(struct, old),
        new=mask_secrets(struct, new),
        object_id=target.id,
    )
