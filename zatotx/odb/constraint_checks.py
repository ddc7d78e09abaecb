"""Checks the names, unique texts and references of a change before anything is written.

They run under the cluster's lock, so their results hold until the commit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from attrs import Factory, define
from sqlalchemy import select

from zatotx.model.errors import BadInput, Conflict
from zatotx.odb.struct_conversion import Document
from zatotx.odb.tables import config_object, hash_name
from zatotx.odb.transaction import Transaction, split_into_chunks
from zatotx.schema.meta import ObjectType, iter_references, reference_fields
from zatotx.schema.references import missing_object_error
from zatotx.schema.type_registry import namespace_of

_MAX_LISTED = 20  # violations listed in one message


@define(kw_only=True)
class ObjectChange:
    """The change of one object: its state before and after the change."""

    action: str
    object_type: ObjectType
    id: int
    value: Any  # the Struct after the change, or before a deletion
    old_fields: Document  # the fields before, with references as names; {} for a creation
    document: Document = Factory(dict)  # the document to store; for a deletion, the last one

    @property
    def name(self) -> str:
        """The object's name after the change."""
        name: str = self.value.name
        return name

    @property
    def qualified_name(self) -> tuple[str, str]:
        """The namespace and the name that identify the object."""
        return namespace_of(self.object_type), self.name

    @property
    def unique_text(self) -> str:
        """The text that no other object of its type may have, or ''."""
        return '' if self.object_type.unique_text is None else self.object_type.unique_text(self.value)

    @property
    def title(self) -> str:
        """The type's title, for messages."""
        return self.object_type.title or self.object_type.key


def check_constraints(t: Transaction, changes: Sequence[ObjectChange]) -> None:
    """Check that the names and unique texts of created and edited objects are not in use. Raises Conflict, whose
    message lists all texts that are in use."""
    own_ids = frozenset(target.id for target in changes)
    taken = [*_find_taken_names(t, changes, own_ids), *_find_taken_texts(t, changes, own_ids)]
    if taken:
        rest = [f'and {len(taken) - _MAX_LISTED} more'] if len(taken) > _MAX_LISTED else []
        raise Conflict(None, '; '.join(taken[:_MAX_LISTED] + rest))


def _find_taken_names(t: Transaction, written: Sequence[ObjectChange], own_ids: frozenset[int]) -> Iterator[str]:
    ids_by_name: dict[tuple[str, str], int] = {}
    for row in _rows(t, config_object.c.name_key, [hash_name(target.name) for target in written]):
        if row.id not in own_ids:
            ids_by_name[row.space, row.name] = row.id
    for target in written:
        if ids_by_name.setdefault(target.qualified_name, target.id) != target.id:
            yield f'{target.title} {target.name!r} exists already{_namespace_hint(t, target)}'


def _namespace_hint(t: Transaction, target: ObjectChange) -> str:
    """Return the namespace to mention, because all types of a section share it."""
    others = t.cluster.types.in_namespace(namespace_of(target.object_type))
    return f' among {namespace_of(target.object_type)} objects' if len(others) > 1 else ''


def _find_taken_texts(t: Transaction, written: Sequence[ObjectChange], own_ids: frozenset[int]) -> Iterator[str]:
    unique = [(target, target.unique_text) for target in written if target.unique_text]
    holders: dict[tuple[str, str], str] = {}
    for row in _rows(t, config_object.c.unique_key, [hash_name(text) for _, text in unique]):
        if row.id not in own_ids:
            holders[row.type, row.unique_key] = row.name
    for target, text in unique:
        holder = holders.setdefault((target.object_type.key, hash_name(text)), target.name)
        if holder != target.name:
            yield (
                f'{target.title} {target.name!r} cannot have the {target.object_type.unique_label} {text!r}: '
                f'{holder!r} has it already'
            )


def resolve_references(t: Transaction, changes: Sequence[ObjectChange]) -> dict[tuple[str, str], int]:
    """Return a mapping from (namespace, name) to the ID of every object to which the written objects refer. Raises
    BadInput, which lists the missing objects."""
    own_ids = frozenset(target.id for target in changes)
    ids = {target.qualified_name: target.id for target in changes}
    needed = {target_key for _, __, target_key in _references(changes)}
    for row in _rows(t, config_object.c.name_key, sorted({hash_name(name) for _, name in needed - ids.keys()})):
        if row.id not in own_ids:
            ids.setdefault((row.space, row.name), row.id)
    errors = [
        (
            field if len(changes) == 1 else f'{target.object_type.key} {target.name!r}: {field}',
            missing_object_error(*target_key),
        )
        for target, field, target_key in _references(changes)
        if target_key not in ids
    ]
    if errors:
        raise BadInput(errors)
    return ids


def _references(written: Iterable[ObjectChange]) -> Iterator[tuple[ObjectChange, str, tuple[str, str]]]:
    for target in written:
        for info in reference_fields(target.object_type):
            for path, name in iter_references(info, getattr(target.value, info.name)):
                yield target, path, (info.ref, name)


def _rows(t: Transaction, column: Any, keys: Sequence[str]) -> Iterator[Any]:
    """Yield the cluster's objects that have one of these keys."""
    c = config_object.c
    for chunk in split_into_chunks(keys):
        yield from t.connection.execute(
            select(c.id, c.type, c.space, c.name, c.unique_key).where(c.cluster_id == t.cluster.id, column.in_(chunk))
        )
        t.report_progress()
