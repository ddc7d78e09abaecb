"""Changes to objects: many at once, all of them or none, in a transaction.

The order inside matters: old references go first, then deleted objects (nothing may still lead to them), then names
are claimed (so that objects can swap theirs), then objects and references are written, then the history.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from sqlalchemy import bindparam, delete, insert, select, update

from zatotx.model.errors import BadInput, Conflict, NotFound
from zatotx.odb.constraints import ObjectChange, check_constraints, resolve_references
from zatotx.odb.documents import decode, encode, find_named, names_of, referenced_objects, to_document, to_struct
from zatotx.odb.history import Entry, record
from zatotx.odb.optimistic_locking import refuse_if_changed, refuse_if_deleted
from zatotx.odb.revisions import store_states
from zatotx.odb.statement_context import Transaction, chunks, next_revision
from zatotx.odb.tables import config_object, counter, key_of, reference, tombstone
from zatotx.schema.fields import secrets_of
from zatotx.schema.masking import mask_secrets
from zatotx.schema.snapshot import Operation
from zatotx.schema.type_registry import namespace_of

_SHOWN = 10  # users of an object that one sentence names
OBJECT_IDS = 'config_object'  # the row of `counter` that gives them


def apply_operations(t: Transaction, operations: Sequence[Operation]) -> int:
    """Do it; gives the transaction's revision.

    Raises Conflict for a name that is taken, an object still referred to or changed since its editor saw it, NotFound
    for an unknown id, BadInput for a reference to nothing."""
    next_revision(t)
    changed = [*_existing(t, operations), *_created(t, operations)]
    deleted = [target for target in changed if target.action == 'delete']
    written = [target for target in changed if target.action != 'delete']
    _refuse_unstorable(written)
    _release(t, changed)
    _delete(t, deleted)
    check_constraints(t, written)
    ids = resolve_references(t, written)
    for target in written:
        target.document = to_document(target.object_type, target.value, ids)
    _by_the_first_key(t, written)
    _insert(t, [target for target in written if target.action == 'create'])
    _update(t, [target for target in written if target.action == 'edit'])
    _refer(t, written)
    record(t, map(_entry, changed))
    store_states(t, changed)
    return t.revision


def _by_the_first_key(t: Transaction, written: Sequence[ObjectChange]) -> None:
    """Secrets were encrypted before this transaction: a rotation may have brought a new key since, and from then on
    nothing may be stored with the old one."""
    encrypted = [
        (target, name)
        for target in written
        for name, kind in secrets_of(target.object_type).items()
        if kind in ('encrypted', 'both') and target.document.get(name)
    ]
    if encrypted:
        t.cluster.secrets.refresh()
    for target, name in encrypted:
        target.document[name] = t.cluster.secrets.renewed(target.document[name])


def _refuse_unstorable(written: Sequence[ObjectChange]) -> None:
    """PostgreSQL has no zero characters in text. Documents are JSON, which has another way of writing them."""
    wrong = [(f'{target.object_type.key} {target.name!r}: name', 'must not have the character U+0000')
             for target in written if '\0' in target.name]  # fmt: skip
    if wrong:
        raise BadInput(wrong)


def _created(t: Transaction, operations: Sequence[Operation]) -> list[ObjectChange]:
    creations = [o for o in operations if o.action == 'create']
    first = _new_ids(t, len(creations))
    found = []
    for object_id, operation in enumerate(creations, first):
        object_type = t.cluster.types[operation.type]
        value = to_struct(object_type, operation.fields)
        found.append(ObjectChange(action='create', object_type=object_type, id=object_id, value=value, old={}))
    return found


def _new_ids(t: Transaction, count: int) -> int:
    """The first of `count` ids that nobody had before."""
    if not count:
        return 0
    mine = counter.c.name == OBJECT_IDS
    first: int = t.connection.execute(select(counter.c.value).where(mine).with_for_update()).scalar_one()
    t.connection.execute(update(counter).where(mine).values(value=first + count))
    return first


def _existing(t: Transaction, operations: Sequence[Operation]) -> list[ObjectChange]:
    """Targets of all edits and deletions: several steps on one object become one."""
    steps = [(o, _id_of(t, o)) for o in operations if o.action != 'create']
    rows = _load(t, {object_id for _, object_id in steps})
    documents = {row.id: decode(row.document) for row in rows.values()}
    names = names_of(
        t.connection,
        [x for i, d in documents.items() for x in referenced_objects(t.cluster.types[rows[i].type], d).values()],
    )
    found: dict[int, ObjectChange] = {}
    for operation, object_id in steps:
        object_type = t.cluster.types[operation.type]
        row = rows.get(object_id)
        if row is None or row.type != operation.type:
            refuse_if_deleted(t, operation, object_id)
            raise NotFound(None, f'there is no {object_type.title or object_type.key} with the id {object_id}')
        refuse_if_changed(t, operation, row)
        target = found.get(object_id)
        if target is None:
            old = find_named(object_type, documents[object_id], names)
            value = to_struct(object_type, old)
            target = ObjectChange(action='edit', object_type=object_type, id=object_id, value=value, old=old)
            target.document = documents[object_id]
            found[object_id] = target
        _step(target, operation)
    return list(found.values())


def _step(target: ObjectChange, operation: Operation) -> None:
    if operation.action == 'delete':
        target.action = 'delete'
    else:
        fields = {**msgspec.to_builtins(target.value), **operation.fields}
        target.value = to_struct(target.object_type, fields)


def _id_of(t: Transaction, operation: Operation) -> int:
    if operation.id is not None:
        return operation.id
    object_type = t.cluster.types[operation.type]
    c = config_object.c
    found = t.connection.execute(
        select(c.id).where(
            c.cluster_id == t.cluster.id, c.space == namespace_of(object_type), c.name_key == key_of(operation.name)
        )
    ).scalar_one_or_none()
    if found is None:
        raise NotFound(None, f'there is no {object_type.title or object_type.key} called {operation.name!r}')
    object_id: int = found
    return object_id


def _load(t: Transaction, object_ids: Iterable[int]) -> dict[int, Any]:
    c = config_object.c
    rows: dict[int, Any] = {}
    for some in chunks(sorted(object_ids)):
        found = t.connection.execute(
            select(c.id, c.type, c.name, c.revision, c.document).where(
                c.cluster_id == t.cluster.id, c.id.in_(some)
            )
        )
        rows.update((row.id, row) for row in found if row.type in t.cluster.types)
        t.moved()
    return rows


def _release(t: Transaction, changed: Sequence[ObjectChange]) -> None:
    """Forget what the objects referred to: written anew for those that stay."""
    for some in chunks([target.id for target in changed if target.action != 'create']):
        t.connection.execute(delete(reference).where(reference.c.source_id.in_(some)))
        t.moved()


def _delete(t: Transaction, deleted: Sequence[ObjectChange]) -> None:
    by_id = {target.id: target for target in deleted}
    for some in chunks(sorted(by_id)):
        _refuse_if_referred(t, by_id, some)
        t.connection.execute(delete(config_object).where(config_object.c.id.in_(some)))
        t.connection.execute(
            insert(tombstone),
            [{'object_id': i, 'cluster_id': t.cluster.id, 'revision': t.revision} for i in some],
        )
        t.moved()


def _refuse_if_referred(t: Transaction, deleted: dict[int, ObjectChange], ids: Sequence[int]) -> None:
    c = config_object.c
    rows = t.connection.execute(
        select(reference.c.target_id, c.type, c.name)
        .join(config_object, c.id == reference.c.source_id)
        .where(reference.c.target_id.in_(ids))
        .order_by(reference.c.target_id, c.name)
        .limit(_SHOWN + 1)
    ).all()
    if rows:
        target = deleted[rows[0].target_id]
        users = ', '.join(f'{row.type} {row.name!r}' for row in rows[:_SHOWN] if row.target_id == target.id)
        users += ' and others' if len(rows) > _SHOWN else ''
        raise Conflict(None, f'{target.title} {target.name!r} cannot be deleted: it is used by {users}')


def _insert(t: Transaction, created: Sequence[ObjectChange]) -> None:
    for some in chunks(created):
        t.connection.execute(insert(config_object), [_row(t, target) for target in some])
        t.moved()


def _row(t: Transaction, target: ObjectChange) -> dict[str, Any]:
    return {
        'id': target.id,
        'cluster_id': t.cluster.id,
        'type': target.object_type.key,
        'space': namespace_of(target.object_type),
        **_changing(t, target),
    }


def _changing(t: Transaction, target: ObjectChange) -> dict[str, Any]:
    return {
        'name': target.name,
        'name_key': key_of(target.name),
        'unique_key': key_of(target.unique) if target.unique else None,
        'document': encode(target.document),
        'revision': t.revision,
    }


def _update(t: Transaction, edited: Sequence[ObjectChange]) -> None:
    """Names and unique texts are vacated before they are taken, so that objects can swap them."""
    mine = config_object.c.id == bindparam('target_id')
    if len(edited) > 1:
        vacated = update(config_object).where(mine).values(name_key=bindparam('nobody'), unique_key=None)
        t.connection.execute(vacated, [{'target_id': e.id, 'nobody': f'vacated {e.id}'} for e in edited])
    for some in chunks(edited):
        rows = [{'target_id': e.id, **{f'new_{k}': v for k, v in _changing(t, e).items()}} for e in some]
        columns: dict[str, Any] = {name: bindparam(f'new_{name}') for name in _changing(t, some[0])}
        t.connection.execute(update(config_object).where(mine).values(columns), rows)
        t.moved()
    _touch_referrers(t, [e.id for e in edited if e.old['name'] != e.name])


def _touch_referrers(t: Transaction, renamed: Sequence[int]) -> None:
    """Objects that refer to a renamed one changed too, as everybody sees them."""
    for some in chunks(renamed):
        sources = select(reference.c.source_id).where(reference.c.target_id.in_(some))
        t.connection.execute(
            update(config_object).where(config_object.c.id.in_(sources)).values(revision=t.revision)
        )


def _refer(t: Transaction, written: Sequence[ObjectChange]) -> None:
    rows = [
        {'source_id': target.id, 'field': name, 'target_id': target_id}
        for target in written
        for name, target_id in referenced_objects(target.object_type, target.document).items()
    ]
    for some in chunks(rows):
        t.connection.execute(insert(reference), list(some))
        t.moved()


def _entry(target: ObjectChange) -> Entry:
    """Of an edit only what changed."""
    new = {} if target.action == 'delete' else decode(encode(target.value))  # as `old` is: a tuple is a list
    old = target.old
    if target.action == 'edit':
        differing = {name for name, value in new.items() if old.get(name) != value}
        old = {name: old[name] for name in differing if name in old}
        new = {name: value for name, value in new.items() if name in differing}
    struct = target.object_type.struct
    return Entry(
        action=target.action,
        type=target.object_type.key,
        name=target.name,
        old=mask_secrets(struct, old),
        new=mask_secrets(struct, new),
        object_id=target.id,
    )
